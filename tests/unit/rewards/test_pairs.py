"""The scorer's table of hand-made pairs, right and wrong, every kind of answer."""

import json
from pathlib import Path

import pytest
import yaml

from treepo.rewards.answers import quick_verdict
from treepo.rewards.judge import Judge
from treepo.rewards.scoring import judge_many, judge_response
from treepo.rewards.verdict import VerdictPath, fast_share


def _load(name: str) -> dict[str, dict[str, list[tuple[str, str]]]]:
    return yaml.safe_load((Path(__file__).parent / name).read_text())


TABLE = _load("pairs.yaml")
LIMITS = TABLE.pop("limits")
PAIRS = [(answer, truth, side == "right") for kind in TABLE.values() for side in kind for answer, truth in kind[side]]
KINDS = _load("kinds.yaml")
COLLECTED = [json.loads(line) for line in (Path(__file__).parent / "answers.jsonl").read_text().splitlines()]


def _rows(table: dict[str, dict[str, list[tuple[str, str]]]]) -> list[object]:
    return [
        pytest.param(answer, truth, side.startswith("right"), id=f"{kind}-{side}-{number}")
        for kind, sides in table.items()
        for side, pairs in sides.items()
        for number, (answer, truth) in enumerate(pairs)
    ]


@pytest.mark.parametrize(("answer", "truth", "right"), _rows(TABLE))
def test_the_verdict_is_the_one_in_the_table(judge: Judge, answer: str, truth: str, right: bool) -> None:
    verdict = judge_response(rf"So \boxed{{{answer}}}.", truth, data_source="table", judge=judge)
    assert verdict.correct is right
    assert verdict.path in (VerdictPath.EXACT, VerdictPath.MATH_VERIFY, VerdictPath.NO_ANSWER)


@pytest.mark.parametrize("kind", KINDS)
def test_every_spelling_of_a_kind_gets_its_verdict(judge: Judge, kind: str) -> None:
    pairs = [(answer, truth, side == "right") for side, rows in KINDS[kind].items() for answer, truth in rows]
    responses = [(rf"So \boxed{{{answer}}}.", truth) for answer, truth, _ in pairs]
    verdicts = judge_many(responses, data_source="kinds", judge=judge)
    assert [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict.correct is not pair[2]] == []


@pytest.mark.parametrize("kind", dict.fromkeys(pair["kind"] for pair in COLLECTED))
def test_pairs_that_public_suites_and_issues_tell_about_get_their_verdict(judge: Judge, kind: str) -> None:
    pairs = [pair for pair in COLLECTED if pair["kind"] == kind]
    responses = [
        (pair["answer"] if pair["whole_response"] else rf"\boxed{{{pair['answer']}}}", pair["truth"]) for pair in pairs
    ]
    verdicts = judge_many(responses, data_source="suites", judge=judge)
    assert [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict.correct is not pair["right"]] == []


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
    assert fast_share(verdicts) > 0.6


@pytest.mark.parametrize("answer", [truth for _, truth, _ in PAIRS])
def test_every_truth_is_right_by_reading(answer: str) -> None:
    assert quick_verdict(answer, answer) is True
