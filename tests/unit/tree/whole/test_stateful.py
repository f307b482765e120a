"""Trees grown one segment at a time, in any order, with wrong segments in between."""

import dataclasses
from typing import Any

import pytest
from examples import examples
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from random_trees import check_tree, random_answer, random_sampler, tree_options
from scripted_trees import PROMPT, Asked, decode, segment

from treepo.tree import SegmentRequest


class GrowingTree(RuleBasedStateMachine):
    """One prompt; the rules are what a driver may do, in any order."""

    @initialize(options=tree_options(), length=st.integers(1, 20), seed=st.integers(0, 2**32))
    def start(self, options: dict[str, Any], length: int, seed: int) -> None:
        self.sampler = random_sampler({**options, "seed": seed}, length)
        self.answer = random_answer(seed)
        self.history: list[Asked] = []
        self.waiting: list[SegmentRequest] = []
        self.step = 0
        self.take(self.sampler.start())

    def take(self, requests: list[SegmentRequest]) -> None:
        if requests:
            assert not self.waiting, "a step begins when the one before is complete"
            self.step += 1
            self.waiting = list(requests)
            self.history += [
                Asked(
                    request=request,
                    step=self.step,
                    prefix=decode(request.prefix_tokens(self.sampler.prompt_tokens)).removeprefix(PROMPT),
                    answer=self.answer(request),
                )
                for request in requests
            ]

    @precondition(lambda self: self.waiting)
    @rule(choice=st.integers(0, 100))
    def answer_one(self, choice: int) -> None:
        request = self.waiting.pop(choice % len(self.waiting))
        self.take(self.sampler.receive(segment(request, self.history[request.id].answer)))

    @precondition(lambda self: self.waiting)
    @rule(choice=st.integers(0, 100), wrong=st.sampled_from(["empty", "long", "log_probs", "unknown", "again"]))
    def answer_wrongly(self, choice: int, wrong: str) -> None:
        request = self.waiting[choice % len(self.waiting)]
        right = segment(request, "a")
        answered = [entry.request.id for entry in self.history if entry.request not in self.waiting]
        changes: dict[str, dict[str, Any]] = {
            "empty": {"tokens": [], "log_probs": []},
            "long": {"tokens": [1] * (request.max_tokens + 1), "log_probs": [0.0] * (request.max_tokens + 1)},
            "log_probs": {"log_probs": []},
            "unknown": {"request_id": len(self.history)},
            "again": {"request_id": answered[0] if answered else -1},
        }
        with pytest.raises(ValueError, match="prompt p: request"):
            self.sampler.receive(dataclasses.replace(right, **changes[wrong]))

    @precondition(lambda self: not self.waiting)
    @rule()
    def look_at_the_grown_tree(self) -> None:
        assert self.sampler.tree() == self.sampler.tree()
        with pytest.raises(ValueError, match="was answered before"):
            self.sampler.receive(segment(self.history[-1].request, "a"))

    @invariant()
    def is_done_when_nothing_is_waiting(self) -> None:
        if hasattr(self, "sampler"):
            assert self.sampler.done == (not self.waiting)

    def teardown(self) -> None:
        if hasattr(self, "sampler"):
            while self.waiting:
                self.answer_one(0)
            check_tree(self.sampler, self.sampler.tree(), self.history)


TestGrowingTree = GrowingTree.TestCase
TestGrowingTree.settings = settings(max_examples=examples(60), deadline=None)
