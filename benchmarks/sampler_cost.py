"""What the sampler costs: microseconds per decoded segment and peak memory, with a scripted engine.

    python -m benchmarks.sampler_cost

All prompts grow at once, as they do in a rollout. Only the sampler's own calls are timed, by processor time, not the
engine; decoding tokens into text is the tokenizer's cost and left out (the script knows the text of its segments).
"""

import argparse
import multiprocessing
import random
import resource
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from treepo.config import load_config
from treepo.tree import Segment, SegmentRequest, Tree, TreeSampler

EOS = 0
BYTES_PER_TOKEN = 8


@dataclass(frozen=True, slots=True)
class Line:
    """One way of measuring."""

    name: str
    text: bool
    ends: float


LINES = (
    Line("sampler alone, no path ends early", text=False, ends=0.0),
    Line("sampler alone, a tenth of the segments end", text=False, ends=0.1),
    Line("with answer and repetition checks, no path ends early", text=True, ends=0.0),
    Line("with answer and repetition checks, a tenth of the segments end", text=True, ends=0.1),
)


class ScriptedEngine:
    """Answers from a pool of ready segments; the first token of each tells which one it is."""

    def __init__(self, *, segment_length: int, ends: float, pool: int = 256, seed: int = 0) -> None:
        self._draw = random.Random(seed)
        self._ends = ends
        words = ["".join(self._draw.choices("etaoinshrdlu", k=self._draw.randint(1, 9))) for _ in range(3000)]
        weights = [1 / rank for rank in range(1, len(words) + 1)]
        self._texts = {EOS: ""}
        self._words = words
        self._tokens: list[list[int]] = []
        for index in range(1, pool + 1):
            tokens = [index, *self._draw.choices(range(pool + 1, pool + len(words) + 1), weights, k=segment_length - 1)]
            self._tokens.append(tokens)
            self._texts[index] = " ".join(words[token - pool - 1] for token in tokens[1:])
        self._log_probs = [-self._draw.expovariate(2.0) for _ in range(segment_length)]

    def answer(self, request: SegmentRequest) -> Segment:
        """Decodes one segment."""
        tokens = list(self._draw.choice(self._tokens)[: request.max_tokens])
        stopped = self._draw.random() < self._ends
        if stopped:
            tokens[-1] = EOS
        return Segment(request_id=request.id, tokens=tokens, log_probs=self._log_probs[: len(tokens)], stopped=stopped)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of a segment, by its first token; behind a cut any text of that length is as good."""
        return self._texts.get(tokens[0], self._texts[1][: 4 * len(tokens)])


def grow_all(line: Line, *, prompts: int, width: int, depth: int, segment_length: int) -> tuple[list[Tree], float]:
    """Grows all prompts step by step; returns the trees and the seconds spent in the samplers."""
    engine = ScriptedEngine(segment_length=segment_length, ends=line.ends)
    config = load_config({"width": width, "max_depth": depth, "segment_length": segment_length, "max_divergence": 2})
    seconds = 0.0
    waiting: list[tuple[TreeSampler, list[SegmentRequest]]] = []
    samplers: list[TreeSampler] = []
    for prompt in range(prompts):
        began = time.process_time()
        sampler = TreeSampler(
            prompt_id=f"prompt {prompt}",
            prompt_tokens=array("i", range(100)),
            config=config,
            max_response_length=depth * segment_length,
            eos_token_ids=frozenset({EOS}),
            decode=engine.decode if line.text else lambda tokens: "",
        )
        waiting.append((sampler, sampler.start()))
        seconds += time.process_time() - began
        samplers.append(sampler)
    while waiting:
        still_waiting: list[tuple[TreeSampler, list[SegmentRequest]]] = []
        for sampler, requests in waiting:
            answers = [engine.answer(request) for request in requests]
            began = time.process_time()
            following = [request for answer in answers for request in sampler.receive(answer)]
            seconds += time.process_time() - began
            if following:
                still_waiting.append((sampler, following))
        waiting = still_waiting
    return [sampler.tree() for sampler in samplers], seconds


def measure(line: Line, args: argparse.Namespace) -> None:
    """Measures one line in this process and prints it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    trees, seconds = grow_all(
        line, prompts=args.prompts, width=args.width, depth=args.depth, segment_length=args.segment_length
    )
    peak = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    segments = sum(tree.stats.segments for tree in trees)
    distinct = BYTES_PER_TOKEN * sum(tree.stats.tokens_generated for tree in trees)
    fallbacks = sum(tree.stats.fallbacks for tree in trees)
    print(
        f"{line.name:<62} {1e6 * seconds / segments:6.1f} us a segment   {segments:7d} segments   "
        f"{fallbacks:5d} fallbacks   peak {peak / 2**20:6.0f} MiB = {peak / distinct:4.2f} x the distinct tokens"
    )


def main() -> None:
    """Measures every line in a process of its own, so that each has its own peak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--depth", type=int, default=14)
    parser.add_argument("--segment-length", type=int, default=512)
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for line in LINES:
        process = context.Process(target=measure, args=(line, args))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
