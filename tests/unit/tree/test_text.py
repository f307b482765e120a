"""The text rules across segment boundaries and cuts."""

import gc
import weakref
from collections.abc import Sequence
from typing import ClassVar

import pytest
from scripted_trees import decode, encode, grow, make_sampler

from treepo.config import TerminationConfig
from treepo.tree import AnswerScan
from treepo.tree.node import Node, split_node
from treepo.tree.text import TextReader


def reader(**repetition: object) -> TextReader:
    return TextReader(TerminationConfig.model_validate({"repetition": repetition}), decode)


def nodes(*texts: str) -> list[Node]:
    return [Node(id=index + 1, tokens=encode(text), log_probs=[-1.0] * len(text)) for index, text in enumerate(texts)]


def read_all(texts: TextReader, path: Sequence[Node]) -> list[bool]:
    return [texts.read(tuple(path[:index]), node) for index, node in enumerate(path)]


def test_a_box_that_straddles_boundaries_counts():
    texts = reader()
    path = nodes("so \\bo", "xed{4", "{2}", "}.")
    read_all(texts, path)
    complete = [texts.answer(tuple(path[:end])).complete for end in range(5)]
    assert complete == [False, False, False, False, True]


def test_a_repetition_that_straddles_a_boundary_counts():
    assert read_all(reader(substring=2, count=3), nodes("xaba", "babx")) == [False, True]
    assert read_all(reader(substring=2, count=3), nodes("xaba", "xx")) == [False, False]


def test_a_repetition_that_ended_before_the_segment_does_not_count():
    # A fallback may cut behind a repetition; the path that grows there is not to blame for it.
    assert read_all(reader(substring=2, count=3), nodes("ababab", "xyz", "xyb")) == [True, False, False]


def test_a_repetition_over_many_short_segments_counts():
    assert read_all(reader(substring=2, count=3), nodes("a", "b", "a", "b", "a", "b")) == [False] * 5 + [True]


def test_a_repetition_reaches_back_no_further_than_its_own_length():
    # 2 x 3 characters.
    assert read_all(reader(substring=2, count=3), nodes("ab.abcd", "ab")) == [False, False]
    assert read_all(reader(substring=2, count=3), nodes("ab.abc", "ab")) == [False, True]


def test_without_the_rule_nothing_repeats_and_no_text_is_kept():
    texts = reader(enabled=False)
    path = nodes("aaaa", "aaaa")
    assert read_all(texts, path) == [False, False]
    assert texts.tail(tuple(path)) == ""


def test_there_is_no_text_before_the_first_segment():
    assert reader().tail(()) == ""


def test_only_the_end_of_the_text_is_kept():
    texts = reader(substring=2, count=3)
    path = nodes("abc", "defghij")
    read_all(texts, path)
    assert [texts.tail(tuple(path[:end])) for end in (1, 2)] == ["abc", "efghij"]


def test_a_split_keeps_what_was_read():
    texts = reader(substring=2, count=3)
    first, second = nodes("\\boxed", "{5} abab")
    read_all(texts, [first, second])
    head, tail = split_node(second, 2, 7, 8)
    before = texts.answer((first, second)), texts.tail((first, second))
    texts.split((first,), second, head, tail)
    assert (texts.answer((first, head, tail)), texts.tail((first, head, tail))) == before
    assert not texts.answer((first, head)).complete
    assert texts.answer((first, head)).begun
    assert texts.tail((first, head)) == "oxed{5"
    assert texts.read((first, head), Node(id=9, tokens=encode("}"), log_probs=[0.0])) is False
    with pytest.raises(KeyError):
        texts.answer((second,))
    with pytest.raises(KeyError):
        texts.tail((second,))


class WordScan:
    """An answer detector of a user's own: the answer is the word `answer`."""

    def __init__(self, seen: str = "") -> None:
        self._seen = seen

    @property
    def complete(self) -> bool:
        return "answer" in self._seen

    @property
    def begun(self) -> bool:
        return "a" in self._seen

    def feed(self, text: str) -> AnswerScan:
        return WordScan(self._seen + text)


class CountedScan:
    """A detector that finds nothing; knows its scans that are still held."""

    held: ClassVar[weakref.WeakSet["CountedScan"]] = weakref.WeakSet()
    complete = begun = False

    def __init__(self) -> None:
        self.held.add(self)

    def feed(self, text: str) -> AnswerScan:
        return CountedScan()


class NoScan:
    complete = False


@pytest.fixture
def own_module(monkeypatch: pytest.MonkeyPatch) -> str:
    import sys
    import types

    module = types.ModuleType("treepo_test_detectors")
    module.WordScan = WordScan  # pyright: ignore[reportAttributeAccessIssue]
    module.CountedScan = CountedScan  # pyright: ignore[reportAttributeAccessIssue]
    module.NoScan = NoScan  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


def test_a_detector_is_named_by_import_path(own_module: str):
    rules = TerminationConfig(answer_detector=f"{own_module}:WordScan")
    texts = TextReader(rules, decode)
    path = nodes("the ans", "wer")
    read_all(texts, path)
    assert not texts.answer(tuple(path[:1])).complete
    assert texts.answer(tuple(path)).complete


def test_nothing_is_kept_of_the_text_of_dropped_trajectories(own_module: str):
    sampler = make_sampler(min_trajectory_length=3, termination={"answer_detector": f"{own_module}:CountedScan"})
    tree = grow(sampler, lambda request: "a$" if request.id < 50 else "abc$")
    gc.collect()
    assert tree.stats.dropped == 50
    assert len(CountedScan.held) == 1 + len(tree.trajectories), "the root's and one per node"


def test_a_detector_without_the_interface_is_refused(own_module: str):
    rules = TerminationConfig(answer_detector=f"{own_module}:NoScan")
    with pytest.raises(
        ValueError,
        match=r"NoScan gives a NoScan, which lacks complete, begun or feed of treepo\.tree\.AnswerScan",
    ):
        TextReader(rules, decode)
