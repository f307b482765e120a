"""The scorer's table of hand-made pairs, right and wrong, every kind of answer."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from treepo.rewards.answers import quick_verdict, respell
from treepo.rewards.judge import Judge
from treepo.rewards.scoring import judge_many, judge_response
from treepo.rewards.symbolic import math_verify_equal
from treepo.rewards.verdict import VerdictPath, fast_share

TABLE: dict[str, dict[str, list[tuple[str, str]]]] = yaml.safe_load((Path(__file__).parent / "pairs.yaml").read_text())
LIMITS = TABLE.pop("limits")
PAIRS = [(answer, truth, side == "right") for kind in TABLE.values() for side in kind for answer, truth in kind[side]]


def _rows(table: dict[str, dict[str, list[tuple[str, str]]]]) -> list[object]:
    return [
        pytest.param(answer, truth, side.startswith("right"), id=f"{kind}-{side}-{number}")
        for kind, sides in table.items()
        for side, pairs in sides.items()
        for number, (answer, truth) in enumerate(pairs)
    ]


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    judge = Judge(timeout=20.0)
    yield judge
    judge.close()


@pytest.mark.parametrize(("answer", "truth", "right"), _rows(TABLE))
def test_the_verdict_is_the_one_in_the_table(judge: Judge, answer: str, truth: str, right: bool) -> None:
    verdict = judge_response(rf"So \boxed{{{answer}}}.", truth, data_source="table", judge=judge)
    assert verdict.correct is right
    assert verdict.path in (VerdictPath.EXACT, VerdictPath.MATH_VERIFY, VerdictPath.NO_ANSWER)


@pytest.mark.xfail(strict=True, reason="a known limit, see docs/scoring.md")
@pytest.mark.parametrize(("answer", "truth", "right"), _rows({"limits": LIMITS}))
def test_known_limits(judge: Judge, answer: str, truth: str, right: bool) -> None:
    assert judge_response(rf"\boxed{{{answer}}}", truth, data_source="table", judge=judge).correct is right


def test_the_table_holds_right_and_wrong_pairs_of_every_kind() -> None:
    assert len(PAIRS) >= 150
    assert len({(answer, truth) for answer, truth, _ in PAIRS}) == len(PAIRS)
    for kind, sides in TABLE.items():
        assert set(sides) == {"right", "wrong"}, kind
        assert min(map(len, sides.values())) >= 3, kind


def test_many_at_once_give_the_same_verdicts_in_order(judge: Judge) -> None:
    responses = [(rf"\boxed{{{answer}}}", truth) for answer, truth, _ in PAIRS]
    verdicts = judge_many(responses, data_source="table", judge=judge)
    assert [verdict.correct for verdict in verdicts] == [right for _, _, right in PAIRS]
    assert fast_share(verdicts) > 0.7


@pytest.mark.parametrize("kind", ["whole_numbers", "decimals", "fractions", "expressions", "matrices"])
def test_reading_and_math_verify_agree_where_both_can_read(kind: str) -> None:
    ours = {r"\frac{1}{2", "X", "x", r"7\fbox{5}"}  # half a fraction, one variable for another, a second box
    decided = 0
    for pairs in TABLE[kind].values():
        for answer, truth in pairs:
            verdict = quick_verdict(truth, answer)
            if verdict is not None and answer not in ours:
                decided += 1
                assert math_verify_equal(respell(truth), respell(answer)) is verdict, (answer, truth)
    assert decided >= 5


@pytest.mark.parametrize("answer", [truth for _, truth, _ in PAIRS])
def test_every_truth_is_right_by_reading(answer: str) -> None:
    assert quick_verdict(answer, answer) is True
