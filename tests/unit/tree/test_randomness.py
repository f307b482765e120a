"""Random streams are the same in every process, and apart from each other."""

from treepo.tree.randomness import prompt_stream, request_seed


def test_streams_are_the_same_in_every_process():
    # Numbers written down: Python's own `hash` would give others in the next process.
    stream = prompt_stream(0, "p")
    assert [stream.randrange(1000) for _ in range(4)] == [43, 926, 59, 402]
    assert request_seed(0, "p", 0) == 2302970571367013371


def test_seed_prompt_and_request_each_give_another_stream():
    draws = {prompt_stream(seed, prompt).random() for seed in (0, 1) for prompt in ("p", "q", "p1")}
    assert len(draws) == 6
    seeds = {
        request_seed(seed, prompt, request) for seed in (0, 1, 11) for prompt in ("p", "1:p") for request in (0, 1)
    }
    assert len(seeds) == 12
    assert all(0 <= seed < 2**63 for seed in seeds)
