"""The rows of some prompts, grown by the sampler itself with drawn lengths, and what decoding them takes."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.rollout.cell import Cell, Grown, mean_context
from benchmarks.rollout.lengths import LengthLaw
from treepo.config import load_config
from treepo.packing import Rows, walk_trees
from treepo.tree import Segment, SegmentRequest, TreeSampler


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """The rollout of some prompts.

    Attributes:
        rows: Their trajectories.
        generated: Tokens decoded; shared ones once.
        requests: Requests in the engine; a path that continues keeps its own.
        segments: Segments decoded, each a request under the portable backend.
        computed: Prompt tokens of the requests that the prefix cache does not hold.
        cached: Those that it holds.
        context: Tokens that all decoded tokens attend to, themselves included.
        blocks: KV blocks of all that the trajectories hold, shared ones once.
        longest: Tokens of the longest response.
    """

    rows: Rows
    generated: int
    requests: int
    segments: int
    computed: int
    cached: int
    context: int
    blocks: int
    longest: int


def grow_trees(cell: Cell, law: LengthLaw, prompt_lengths: Sequence[int], *, seed: str, block: int) -> Sampled:
    """Grows one tree per prompt, as the in-engine backend does.

    Args:
        cell: The tree's options.
        law: The law of response lengths; a length is drawn when a request opens.
        prompt_lengths: Tokens of each prompt.
        seed: Names the prompts' random streams: prompt i is named ``seed i``.
        block: Tokens of a KV block.
    """
    grown: list[Grown] = []
    prefixes: list[list[int]] = []
    heads: list[list[int]] = []
    tails: list[list[int]] = []
    options = load_config(cell.tree_options)
    for index, length in enumerate(prompt_lengths):
        # A prompt of its own, and tokens that tell every request apart: what is equal is what is shared.
        prompt = [-1 - index] * length
        sampler = TreeSampler(
            prompt_id=f"{seed} {index}",
            prompt_tokens=prompt,
            config=options,
            max_response_length=cell.longest,
            eos_token_ids=frozenset(),
            decode=lambda tokens: "",
            training_progress=0.0,
            active_prompts=lambda: len(prompt_lengths),
        )
        engine = _Engine(law, prompt_length=length)
        requests = sampler.start()
        while requests:
            requests = [more for request in requests for more in sampler.receive(engine.answer(request))]
        tree = sampler.tree()
        grown.append(Grown.of_tree(tree))
        prefixes.append(engine.opened)
        heads += [prompt] * len(tree.trajectories)
        tails += [[token for node in trajectory.nodes for token in node.tokens] for trajectory in tree.trajectories]
    return _count(Rows.of(heads, tails), grown, prefixes, block)


def sample_independently(
    cell: Cell, law: LengthLaw, prompt_lengths: Sequence[int], *, seed: str, block: int
) -> Sampled:
    """Draws as many independent trajectories per prompt; arguments as of `grow_trees`."""
    every = [(prompt, length) for prompt, length in enumerate(prompt_lengths) for _ in range(cell.width)]
    rooms = [min(cell.longest, law.draw(0, random.Random(f"{seed} {index}"))) for index in range(len(every))]
    rows = Rows.of(
        [[-1 - prompt] * length for prompt, length in every],
        [[1 + index] * room for index, room in enumerate(rooms)],
    )
    grown = [
        Grown(prompt_length=length, lengths=[room], spans=[(0, room)], stats=None)
        for (_, length), room in zip(every, rooms, strict=True)
    ]
    return _count(rows, grown, [[length] * cell.width for length in prompt_lengths], block)


class _Engine:
    """Answers with as many tokens as the law has left for a path; the id of its request is each token."""

    def __init__(self, law: LengthLaw, *, prompt_length: int) -> None:
        self._law, self._prompt_length = law, prompt_length
        self._lengths: dict[int, int] = {}
        self.opened: list[int] = []

    def answer(self, request: SegmentRequest) -> Segment:
        """Decodes one segment."""
        decoded = sum(node.length for node in request.nodes)
        if request.continues:
            assert request.parent_request is not None
            length = self._lengths[request.parent_request]
        else:
            length = self._law.draw(decoded, random.Random(request.seed))
            self.opened.append(self._prompt_length + decoded)
        self._lengths[request.id] = length
        tokens = min(request.max_tokens, length - decoded)
        # The first token differs from what any other request continues with.
        return Segment(
            request_id=request.id,
            tokens=[request.id + 1, *[0] * (tokens - 1)],
            log_probs=[0.0] * tokens,
            # A length that is longer than all that is left is not reached.
            stopped=length - decoded <= request.max_tokens and length - decoded <= request.reach,
        )


def _count(rows: Rows, grown: Sequence[Grown], prefixes: Sequence[Sequence[int]], block: int) -> Sampled:
    generated = sum(length for each in grown for _, length in each.spans)
    computed = sum(
        sum(_fresh(prefix, block, first=not place) for place, prefix in enumerate(each)) for each in prefixes
    )
    asked = sum(sum(each) for each in prefixes)
    return Sampled(
        rows=rows,
        generated=generated,
        requests=sum(len(each) for each in prefixes),
        segments=sum(each.stats.segments if each.stats else 1 for each in grown),
        computed=computed,
        cached=asked - computed,
        context=round((mean_context(grown) + 1) * generated),
        blocks=kv_blocks(rows, block),
        longest=max(length for each in grown for length in each.lengths),
    )


def _fresh(prefix: int, block: int, *, first: bool) -> int:
    """Prompt tokens that a request computes: vLLM caches whole blocks, and computes one token at least."""
    return prefix if first else prefix - (prefix - 1) // block * block


def kv_blocks(rows: Rows, block: int) -> int:
    """KV blocks that hold all rows at once; a block is shared by rows whose tokens are the same up to its end.

    Args:
        rows: The trajectories.
        block: Tokens of a block.
    """
    return sum(
        -(-length // block) - shared // block
        for walk in walk_trees(rows)
        for length, shared in zip(walk.lengths, walk.shared, strict=True)
    )


def scaled(found: Sampled, factor: float) -> Sampled:
    """The same with every sum so many times as large; the rows are those of the sample."""
    sums = ("generated", "requests", "segments", "computed", "cached", "context", "blocks")
    return replace(found, **{name: round(getattr(found, name) * factor) for name in sums})
