"""How long the estimators take on a batch of the published size: `python -m benchmarks.advantage`.

Against them stand a plain loop over rows, tokens and prefixes, and the floor: writing one tensor of the output's shape.
All contenders run in turn, round after round, so that a slow moment of the machine meets all of them.
"""

import argparse
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from treepo.advantage import ESTIMATORS, TreeRow, subgroup_share
from treepo.config import AdvantageConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Token-level rewards and response mask, shape (batch, response_length), and the path of every row."""

    rewards: Tensor
    mask: Tensor
    rows: Sequence[TreeRow]


def make_batch(*, prompts: int, width: int, depth: int, segment_length: int, seed: int) -> Batch:
    """Trees that double at every boundary up to the width, leaves of unequal depth, all full segments but the last."""
    rng = random.Random(seed)
    rows: list[TreeRow] = []
    for prompt in range(prompts):
        fresh = iter(range(2 * width * depth))
        active: list[tuple[int, ...]] = [()]
        finished: list[tuple[int, ...]] = []
        for level in range(depth):
            room = width - len(active) - len(finished)
            forks = min(room, len(active))
            active = [(*path, next(fresh)) for i, path in enumerate(active) for _ in range(2 if i < forks else 1)]
            ended = [path for path in active if level > 0 and rng.random() < 0.05]
            finished += ended
            active = [path for path in active if path not in ended]
        # The width is filled up with fresh starts.
        paths = active + finished
        paths += [(next(fresh),) for _ in range(width - len(paths))]
        for path in paths:
            lengths = (segment_length,) * (len(path) - 1) + (rng.randint(1, segment_length),)
            rows.append(TreeRow(prompt_id=f"prompt-{prompt}", node_ids=path, node_lengths=lengths))
    rng.shuffle(rows)
    tokens = torch.tensor([sum(row.node_lengths) for row in rows])
    rewards = torch.zeros(len(rows), depth * segment_length)
    rewards[torch.arange(len(rows)), tokens - 1] = torch.tensor([rng.choice([-1.0, 1.0]) for _ in rows])
    mask = (torch.arange(depth * segment_length) < tokens[:, None]).long()
    return Batch(rewards=rewards, mask=mask, rows=rows)


def plain_treepo(batch: Batch) -> Tensor:
    """`treepo` with its defaults, row by row."""
    scores = batch.rewards.sum(-1)
    groups: dict[tuple, list[int]] = defaultdict(list)
    for i, row in enumerate(batch.rows):
        for depth in range(len(row.node_ids) + 1):
            groups[row.prompt_id, row.node_ids[:depth]].append(i)
    advantages = torch.zeros_like(batch.rewards)
    for i, row in enumerate(batch.rows):
        terms = []
        for depth in range(len(row.node_ids)):
            group = groups[row.prompt_id, row.node_ids[:depth]]
            if depth == 0 or len(group) > 1:
                terms.append(scores[i] - (scores[group].mean() if len(group) > 1 else 0.0))
        advantages[i] = torch.stack(terms).mean()
    return _whiten_tokens(advantages, batch.mask)


def plain_segment(batch: Batch) -> Tensor:
    """`treepo_segment` with its defaults, row by row."""
    scores = batch.rewards.sum(-1).tolist()
    groups: dict[tuple, list[int]] = defaultdict(list)
    children: dict[tuple, set[tuple]] = defaultdict(set)
    for i, row in enumerate(batch.rows):
        for depth in range(len(row.node_ids) + 1):
            groups[row.prompt_id, row.node_ids[:depth]].append(i)
            if depth:
                children[row.prompt_id, row.node_ids[: depth - 1]].add((row.prompt_id, row.node_ids[:depth]))
    means = {prefix: statistics.fmean(scores[i] for i in group) for prefix, group in groups.items()}
    values: dict[tuple, float] = {}
    for i, row in enumerate(batch.rows):
        own = [(row.prompt_id, row.node_ids[:depth]) for depth in range(len(row.node_ids) + 1)]
        sizes = [len(groups[prefix]) for prefix in own]
        weighted = sum((scores[i] - means[prefix]) * size for prefix, size in zip(own, sizes, strict=True))
        values[own[-1]] = weighted / sum(sizes)
    for prefix in sorted(children, key=lambda prefix: -len(prefix[1])):
        values[prefix] = statistics.fmean(values[child] for child in children[prefix])
    advantages = torch.zeros_like(batch.rewards)
    for i, row in enumerate(batch.rows):
        start, parent = 0, 0.0
        for depth, length in enumerate(row.node_lengths, start=1):
            value = values[row.prompt_id, row.node_ids[:depth]]
            advantages[i, start : start + length] = value - parent
            start, parent = start + length, value
    return _whiten_tokens(advantages, batch.mask)


def _whiten_tokens(values: Tensor, mask: Tensor) -> Tensor:
    tokens = mask.sum()
    mean = (values * mask).sum() / tokens
    variance = ((values - mean).square() * mask).sum() / (tokens - 1)
    return (values - mean) * torch.rsqrt(variance + 1e-8) * mask


def contenders(batch: Batch) -> dict[str, Callable[[], object]]:
    """Every function to time, by name; the floor first."""
    shape = tuple(batch.rewards.shape)

    def run(name: str, **options: Any) -> Callable[[], Tensor]:
        return lambda: ESTIMATORS[name](
            rewards=batch.rewards, response_mask=batch.mask, rows=batch.rows, options=AdvantageConfig(**options)
        )

    return {
        "floor: one tensor, torch": lambda: torch.ones(shape),
        "floor: one tensor, numpy": lambda: np.empty(shape, dtype=np.float32).fill(1.0),
        "treepo": run("treepo"),
        "treepo, branch_weights": run("treepo", branch_weights=True),
        "treepo, shared_tokens=once": run("treepo", shared_tokens="once"),
        "treepo_branch, shrink=auto": run("treepo_branch", shrink="auto"),
        "treepo_branch, scale=prompt": run("treepo_branch", scale="prompt"),
        **{name: run(name) for name in ESTIMATORS if name != "treepo"},
        "subgroup_share, a metric of every step": lambda: subgroup_share(batch.rows, batch.rewards.sum(-1).tolist()),
        "plain loop, treepo": lambda: plain_treepo(batch),
        "plain loop, treepo_segment": lambda: plain_segment(batch),
    }


def main() -> None:
    """Checks the fast functions against the loops, times all in turn and prints a Markdown table of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--depth", type=int, default=14)
    parser.add_argument("--segment-length", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    batch = make_batch(
        prompts=args.prompts, width=args.width, depth=args.depth, segment_length=args.segment_length, seed=args.seed
    )
    deepest = max(len(row.node_ids) for row in batch.rows)
    print(
        f"{len(batch.rows)} trajectories, {batch.mask.shape[1]} response tokens, depth {deepest}, {args.rounds} rounds"
    )
    functions = contenders(batch)
    for name in ("treepo", "treepo_segment"):
        torch.testing.assert_close(functions[name](), functions[f"plain loop, {name}"](), atol=1e-4, rtol=0)

    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(args.rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    floor = medians["floor: one tensor, torch"]
    print("\n| | median ms | min ms | x floor |\n| --- | ---: | ---: | ---: |")
    for name, median in medians.items():
        print(f"| {name} | {median * 1e3:.0f} | {min(seconds[name]) * 1e3:.0f} | {median / floor:.2f} |")


if __name__ == "__main__":
    main()
