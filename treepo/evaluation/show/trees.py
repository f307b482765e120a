"""The trees of an evaluation as the viewer shows them.

A question's independent samples are shown as one tree that forks at its prompt and nowhere else.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from pydantic import JsonValue

from treepo.evaluation.keep.records import Sample
from treepo.evaluation.keep.store import StoredRun
from treepo.viewer import ShownNode, ShownTrajectory, ShownTree

_Kept = tuple[Sample, np.ndarray | None]
"""A sample without its log-probs, and those packed: they are most of a run."""
_Trees = dict[tuple[int, str], list[_Kept]]
"""By number of the tree and question."""


def shown_trees(run: StoredRun) -> Iterator[ShownTree]:
    """The trees of a run, by benchmark, sampling, number of the tree and question.

    Raises:
        ConfigError: A line of the run is damaged.
    """
    for benchmark in run.plan.benchmarks:
        grown: dict[str, _Trees] = {label: defaultdict(list) for label in run.plan.samplings}
        for sample in run.samples(benchmark, log_probs=True):
            packed = None if sample.log_probs is None else np.array(sample.log_probs, dtype=np.float32)
            grown[sample.sampling][sample.tree, sample.question].append((replace(sample, log_probs=None), packed))
        for label, trees in grown.items():
            for (number, question), samples in sorted(trees.items(), key=lambda one: (one[0][0], _counted(one[0][1]))):
                # A question has a tree per seed.
                several = run.plan.seeds > 1 and samples[0][0].path is not None
                group = f"{benchmark}, {label}, tree {number}" if several else f"{benchmark}, {label}"
                yield _tree(group, question, sorted(samples, key=lambda one: one[0].index))


def _counted(question: str) -> list[str | int]:
    """Sorts ids as people count: q9 before q10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", question)]


def _tree(group: str, uid: str, samples: Sequence[_Kept]) -> ShownTree:
    nodes: list[ShownNode] = []
    places: dict[int, int] = {}
    trajectories: list[ShownTrajectory] = []
    for sample, log_probs in samples:
        leaf = None
        for node in _nodes(sample, log_probs):
            # Without a path a sample is a node of its own.
            if sample.path is None or node.id not in places:
                places[node.id] = len(nodes)
                nodes.append(replace(node, parent=leaf))
            leaf = places[node.id]
        assert leaf is not None, "a response has a node"
        trajectories.append(_trajectory(sample, leaf))
    first = samples[0][0]
    truths: list[JsonValue] = [*first.truths]
    return ShownTree(
        group=group,
        uid=uid,
        prompt=first.prompt,
        ground_truth=truths[0] if len(truths) == 1 else truths,
        nodes=nodes,
        trajectories=trajectories,
    )


def _nodes(sample: Sample, log_probs: np.ndarray | None) -> Iterator[ShownNode]:
    """The nodes of a sample, without their parents."""
    if sample.path is None:
        spans, ends = [(sample.index + 1, slice(0, sample.tokens))], (len(sample.response),)
    else:
        spans, ends = list(sample.path.spans()), sample.node_ends
    texts = [None] * len(spans) if ends is None else [sample.response[a:b] for a, b in pairwise((0, *ends))]
    for (node, place), text in zip(spans, texts, strict=True):
        yield ShownNode(
            id=node,
            parent=None,
            length=place.stop - place.start,
            text=text,
            log_probs=None if log_probs is None else log_probs[place].tolist(),
        )


def _trajectory(sample: Sample, leaf: int) -> ShownTrajectory:
    return ShownTrajectory(
        leaf=leaf,
        reason=sample.finish.value,
        from_fallback=sample.from_fallback,
        accuracy=float(sample.correct),
        # Seeds are wider than a number of the page's script.
        fields={
            "answer": sample.answer,
            "decided by": sample.verdict,
            "sample": sample.index,
            "seed": str(sample.seed),
        },
        text=sample.response if sample.path is not None and sample.node_ends is None else None,
    )
