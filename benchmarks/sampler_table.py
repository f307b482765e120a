"""What every policy of the sampler does to a tree, with a scripted engine.

    python -m benchmarks.sampler_table

A segment of 16 tokens ends the answer with some probability, and then is boxed with another; or it repeats itself.
Depth 7. Every cell is a mean over the same prompts. Columns, per prompt: trajectories (traj), their windows (depth) and
tokens (length), segments decoded (segm), tokens decoded (tokens), fallbacks (fallb) and the most trajectories that
share a first segment (largest); then tokens decoded over tokens in trajectories (gen/own), tokens per trajectory
over that of independent samples (gen/ind), and the length of a trajectory over that of independent samples (infl).
"""

import argparse
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from treepo.config import TreePOConfig, load_config
from treepo.rollout import grow_at_once
from treepo.tree import Segment, SegmentRequest, Tree, TreeSampler

EOS, BOX, LOOP, FIRST_WORD = 0, 1, 2, 3
SEGMENT, DEPTH = 16, 7
STEP_SEGMENTS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """How a model behaves in one segment."""

    ends: float
    boxed: float
    repeats: float


TASKS = (
    Task(ends=0.35, boxed=0.8, repeats=0.0),
    Task(ends=0.12, boxed=0.8, repeats=0.02),
    Task(ends=0.02, boxed=0.5, repeats=0.05),
)
INDEPENDENT = "independent samples"


def policies(width: int, prompts: int) -> dict[str, dict[str, Any]]:
    """Options by the name of the row.

    Where forks come late, as in the ramp, allocation and fallback have most to decide; so their rows build on it.
    """
    step_tokens = STEP_SEGMENTS * SEGMENT * prompts
    token_budget = {"total": "response_tokens", "response_tokens": 32 * width, "min_width": 4}
    rows: dict[str, dict[str, Any]] = {
        INDEPENDENT: {"max_divergence": 1, "initial_divergence": [width, width]},
        "fixed": {},
        "fixed, divergence 3": {"max_divergence": 3},
        "start 2 to 8": {"initial_divergence": [2, 8]},
        "without transfer": {"divergence": {"transfer": False}},
        "random 1 to 4": {"divergence": {"budget": "random", "random_range": [1, 4]}},
        f"step tokens, {STEP_SEGMENTS} segments": {"divergence": {"budget": "step_tokens", "step_tokens": step_tokens}},
        "answer boxed": {"termination": {"answer": "boxed"}},
        "repetition last": {"termination": {"repetition": {"priority": "last"}}},
        "repetition off": {"termination": {"repetition": {"enabled": False}}},
        "32 x width tokens": {"budget": token_budget},
        "at least 16 tokens": {"min_trajectory_length": 16},
        "ramp": {"divergence": {"budget": "ramp"}},
        "ramp to depth 4": {"divergence": {"budget": "ramp", "ramp_depth": 4}},
    }
    for score in ("sum", "mean", "last_segment"):
        for prefer in ("low", "high"):
            allocation = {"allocation": "logprob", "logprob": {"score": score, "prefer": prefer}}
            rows[f"ramp, log-prob {score} {prefer}"] = {"divergence": {"budget": "ramp", **allocation}}
    fallbacks: dict[str, dict[str, Any]] = {
        "any": {"candidates": "any"},
        "by_reason": {"candidates": "by_reason"},
        "by_reason_soft": {"candidates": "by_reason_soft"},
        "longer_first": {"candidates": "longer_first"},
        "answered, 2 segments": {"candidates": "answered_min_windows", "min_windows": 2},
        "cut 1 back": {"max_back": 1},
        "cut window 5": {"window": 5},
        "cut lowest_logprob": {"cut": "lowest_logprob"},
        "cut block 8 low": {"cut": "block", "block_size": 8},
        "cut block 8 high": {"cut": "block", "block_size": 8, "block_prefer": "high"},
        "cut from_start": {"cut": "from_start"},
        "cut none": {"cut": "none"},
    }
    for name, options in fallbacks.items():
        rows[f"ramp, {name}"] = {"divergence": {"budget": "ramp"}, "fallback": options}
    return rows


class ScriptedModel:
    """Answers by a task's probabilities; the answer follows from the request's seed alone."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def answer(self, request: SegmentRequest) -> Segment:
        """Decodes one segment."""
        draw = random.Random(request.seed)
        ends, loops = draw.random() < self._task.ends, draw.random() < self._task.repeats
        length = draw.randint(1, request.max_tokens) if ends else request.max_tokens
        tokens = [draw.randrange(FIRST_WORD, 30_000) for _ in range(length)]
        if loops:
            tokens[0] = LOOP
        if ends:
            tokens[-1] = EOS
            if draw.random() < self._task.boxed:
                tokens[-2:] = [BOX, EOS][-length:]
        return Segment(
            request_id=request.id,
            tokens=tokens,
            log_probs=[-draw.expovariate(2.0) for _ in range(length)],
            stopped=ends,
        )

    @staticmethod
    def decode(tokens: Sequence[int]) -> str:
        """Text of some tokens: a box, a loop, and words that do not repeat."""
        special = {EOS: "", BOX: r" \boxed{1}", LOOP: "and so on and so forth, over and " * 8}
        return "".join(special.get(token, f" {token:x}") for token in tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Means per prompt of one policy on one task."""

    trajectories: float
    depth: float
    length: float
    segments: float
    tokens: float
    fallbacks: float
    largest: float
    shared: float

    @property
    def tokens_per_trajectory(self) -> float:
        """Tokens decoded for each trajectory."""
        return self.tokens / self.trajectories


def grow(config: TreePOConfig, model: ScriptedModel, prompt: int, prompts: int) -> Tree:
    """Grows one prompt's tree."""
    sampler = TreeSampler(
        prompt_id=str(prompt),
        prompt_tokens=[1, 2, 3],
        config=config,
        max_response_length=SEGMENT * DEPTH,
        eos_token_ids=frozenset({EOS}),
        decode=model.decode,
        active_prompts=lambda: prompts,
    )
    return grow_at_once(sampler, model.answer)


def measure(task: Task, width: int, options: dict[str, Any], prompts: int) -> Cell:
    """Grows all prompts under one policy."""
    config = load_config({"width": width, "segment_length": SEGMENT, "max_depth": DEPTH, **options})
    model = ScriptedModel(task)
    trees = [grow(config, model, prompt, prompts) for prompt in range(prompts)]
    finished = [trajectory for tree in trees for trajectory in tree.trajectories]
    return Cell(
        trajectories=len(finished) / prompts,
        depth=fmean(math.ceil(trajectory.length / SEGMENT) for trajectory in finished),
        length=fmean(trajectory.length for trajectory in finished),
        segments=fmean(tree.stats.segments for tree in trees),
        tokens=fmean(tree.stats.tokens_generated for tree in trees),
        fallbacks=fmean(tree.stats.fallbacks for tree in trees),
        largest=fmean(max(Counter(leaf.path.node_ids[0] for leaf in tree.trajectories).values()) for tree in trees),
        shared=sum(tree.stats.tokens_generated for tree in trees)
        / sum(tree.stats.tokens_in_trajectories for tree in trees),
    )


def print_table(task: Task, width: int, prompts: int) -> None:
    """Prints all policies on one task."""
    print(
        f"\nwidth {width}; a segment ends with {task.ends}, boxed with {task.boxed}, repeats with {task.repeats}\n\n"
        f"{'policy':<32}{'traj':>7}{'depth':>7}{'length':>8}{'segm':>7}{'tokens':>8}{'fallb':>7}{'largest':>9}"
        f"{'gen/own':>9}{'gen/ind':>9}{'infl':>6}"
    )
    rows = policies(width, prompts)
    independent = measure(task, width, rows[INDEPENDENT], prompts)
    for name, options in rows.items():
        cell = independent if name == INDEPENDENT else measure(task, width, options, prompts)
        print(
            f"{name:<32}{cell.trajectories:7.2f}{cell.depth:7.2f}{cell.length:8.1f}{cell.segments:7.1f}"
            f"{cell.tokens:8.1f}{cell.fallbacks:7.2f}{cell.largest:9.2f}{cell.shared:9.3f}"
            f"{cell.tokens_per_trajectory / independent.tokens_per_trajectory:9.3f}"
            f"{cell.length / independent.length:6.2f}",
            flush=True,
        )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=480)
    parser.add_argument("--width", type=int, nargs="*", default=[8, 16])
    args = parser.parse_args()
    for width in args.width:
        for task in TASKS:
            print_table(task, width, args.prompts)


if __name__ == "__main__":
    main()
