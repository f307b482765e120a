"""Small evaluation runs, made sample by sample."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from treepo.evaluation import INDEPENDENT, BenchmarkPlan, Call, RunPlan, RunWriter, Sample, StoredRun
from treepo.tree import FinishReason, NodePath


def sample(question: str = "q0", index: int = 0, **fields: Any) -> Sample:
    """A right answer of four tokens to a question of ``sums``, or what the fields say."""
    correct = fields.get("correct", True)
    filled: dict[str, Any] = {
        "benchmark": "sums",
        "sampling": INDEPENDENT,
        "model": "tiny",
        "seed": 1,
        "prompt": f"prompt of {question}",
        "response": f"response {index} to {question}",
        "tokens": 4,
        "finish": FinishReason.EOS,
        "truths": ("2",),
        "answer": "2" if correct else "3",
        "correct": True,
        "verdict": "exact",
        "repetition": False,
    }
    return Sample(question=question, index=index, **{**filled, **fields})


def tree_sample(index: int, nodes: Sequence[tuple[int, int]], question: str = "q0", **fields: Any) -> Sample:
    """A sample of a tree; nodes are ids and lengths, and the text is the last one's where the fields do not say it."""
    ids, lengths = tuple(node for node, _ in nodes), tuple(length for _, length in nodes)
    path = NodePath(node_ids=ids, node_lengths=lengths)
    response = fields.get("response", f"response {index} to {question}")
    filled = {
        "sampling": "tree d=2",
        "tokens": sum(lengths),
        "path": path,
        "response": response,
        "node_ends": (*(0 for _ in ids[1:]), len(response)),
    }
    return sample(question, index, **{**filled, **fields})


def graded(question: str, marks: str, **fields: Any) -> list[Sample]:
    """A sample per mark: ``+`` right, ``-`` wrong, ``?`` without an answer; any other letter is a wrong answer."""
    return [
        sample(
            question,
            index,
            **{"correct": mark == "+", "answer": {"+": "2", "-": "3", "?": None}.get(mark, mark), **fields},
        )
        for index, mark in enumerate(marks)
    ]


def plan(**fields: Any) -> RunPlan:
    """Two questions of ``sums``, two samples each, independent, or what the fields say."""
    filled: dict[str, Any] = {
        "model": "tiny",
        "samples": 2,
        "samplings": (INDEPENDENT,),
        "benchmarks": {"sums": BenchmarkPlan(questions=2, weight=2)},
        "options": {"temperature": 0.6, "lengths": {"prompt": 64, "response": 128}},
    }
    return RunPlan(**{**filled, **fields})


def call(**fields: Any) -> Call:
    """A call of one second on one accelerator that gave one trajectory of four tokens."""
    filled: dict[str, Any] = {
        "benchmark": "sums",
        "sampling": INDEPENDENT,
        "started": 100.0,
        "seconds": 1.0,
        "accelerator_seconds": 1.0,
        "trajectories": 1,
        "tokens_generated": 4,
    }
    return Call(**{**filled, **fields})


def write_run(folder: Path, plan: RunPlan, samples: Iterable[Sample], calls: Iterable[Call] = ()) -> StoredRun:
    """Writes a run, every sample as a batch of its own."""
    with RunWriter(folder, plan) as writer:
        for one in samples:
            writer.append([one])
        for took in calls:
            writer.append_call(took)
    return StoredRun(folder)
