"""Grown trees to dump."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from treepo.config import load_config
from treepo.rollout import grow_at_once
from treepo.tree import Segment, SegmentRequest, Tree, TreeSampler
from treepo.viewer import Scores, TreeRecord, tree_record

EOS = 0


def grow_tree(seed: int = 0, **options: Any) -> Tree:
    """A tree that grows by cuts, which split nodes, with log-probs that are no round numbers."""
    draw = random.Random(seed)
    fallback = {"window": 3, "candidates": "any"}
    config = {
        "width": 6,
        "segment_length": 4,
        "max_depth": 4,
        "max_divergence": 1,
        "initial_divergence": [1, 3],
        "fallback": fallback,
        "seed": seed,
        **options,
    }
    sampler = TreeSampler(
        prompt_id=f"uid-{seed}",
        prompt_tokens=[7, 8, 9],
        config=load_config(config),
        max_response_length=14,
        eos_token_ids=frozenset({EOS}),
        decode=letters,
    )

    def answer(request: SegmentRequest) -> Segment:
        length = draw.randint(1, request.max_tokens) if draw.random() < 0.4 else request.max_tokens
        tokens = [draw.randint(1, 26) for _ in range(length)]
        if length < request.max_tokens:
            tokens[-1] = EOS
        return Segment(
            request_id=request.id,
            tokens=tokens,
            log_probs=[-draw.expovariate(1.0) for _ in tokens],
            stopped=tokens[-1] == EOS,
            weight_versions=(4, 5),
        )

    return grow_at_once(sampler, answer)


def letters(tokens: Any) -> str:
    return "".join("$" if token == EOS else chr(96 + token) for token in tokens)


def record_of(tree: Tree, **options: Any) -> TreeRecord:
    scores = [
        Scores(reward=index / 3 - 1, reward_extra={"acc": index % 2 == 0}, advantages=[0.1 * index] * leaf.length)
        for index, leaf in enumerate(tree.trajectories)
    ]
    return tree_record(tree, **{"step": 3, "scores": scores, "decode": letters, "ground_truth": "42", **options})


@pytest.fixture
def grow() -> Callable[..., Tree]:
    return grow_tree


@pytest.fixture
def describe() -> Callable[..., TreeRecord]:
    return record_of
