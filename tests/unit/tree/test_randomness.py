"""Random streams are the same in every process, and apart from each other."""

from treepo.tree.randomness import RequestSeeds, prompt_stream


def test_streams_are_the_same_in_every_process():
    # Numbers written down: Python's own `hash` would give others in the next process.
    stream = prompt_stream(0, "p")
    assert [stream.randrange(1000) for _ in range(4)] == [43, 926, 59, 402]
    seeds = RequestSeeds(0, "p")
    assert [seeds(request) for request in range(3)] == [6136166794354009718, 4503410583244983772, 1865101338521485968]


def test_seed_prompt_and_request_each_give_another_stream():
    draws = {prompt_stream(seed, prompt).random() for seed in (0, 1) for prompt in ("p", "q", "p1")}
    assert len(draws) == 6
    seeds = {
        RequestSeeds(seed, prompt)(request) for seed in (0, 1, 11) for prompt in ("p", "1:p") for request in range(1000)
    }
    assert len(seeds) == 6000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_request_seeds_are_those_of_the_published_generator():
    # SplitMix64 started at 0.
    seeds = RequestSeeds(0, "p")
    seeds._start = 0
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [seeds(request) for request in (1, 2, 3)] == [number >> 1 for number in published]
