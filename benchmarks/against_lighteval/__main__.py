"""Scores the same samples by our scorer and by lighteval's, and explains each difference.

    python -m benchmarks.against_lighteval --environment FOLDER [RUN ...] [--out FILE.md]

A RUN is the folder of an evaluation of any model (``recipe/treepo/run_treepo_eval.sh --model FOLDER ...``): its stored
responses are judged again by lighteval, our verdicts are the stored ones. Without any, or with ``--pairs``,
the test tables of the scorer are judged, whose answers are known to be right or wrong. lighteval is installed into the
environment's folder unless it is there; that needs a package index.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import yaml

from benchmarks.against_lighteval.differences import Case, markdown, tabulate
from benchmarks.against_lighteval.environment import Asked, judge_all, make_environment
from treepo.evaluation import StoredRun
from treepo.rewards.judge import Judge
from treepo.rewards.scoring import judge_many

_TABLES = Path(__file__).resolve().parents[2] / "tests" / "unit" / "rewards"


def main(arguments: list[str] | None = None) -> None:
    """Judges runs and tables, and writes what differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against_lighteval", description="Ours and lighteval.")
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folders of evaluations")
    parser.add_argument("--environment", required=True, type=Path, help="where lighteval is, or is to be installed")
    parser.add_argument("--pairs", action="store_true", help="judges the scorer's test tables beside the runs")
    parser.add_argument("--out", type=Path, default=None, help="a file to write to; standard output without")
    options = parser.parse_args(arguments)
    python = make_environment(options.environment)
    groups: list[tuple[str, list[Case]]] = [(run.name, run_cases(python, StoredRun(run))) for run in options.runs]
    if options.pairs or not options.runs:
        groups += [(f"test table {name}", table_cases(python, name)) for name in ("pairs", "kinds", "answers")]
    text = markdown([tabulate(*group) for group in groups], [case for _, cases in groups for case in cases])
    if options.out is None:
        sys.stdout.write(text)
    else:
        options.out.write_text(text, encoding="utf-8")


def run_cases(python: Path, run: StoredRun) -> list[Case]:
    """Every sample of a run, with its stored verdict and lighteval's."""
    samples = [sample for name in run.plan.benchmarks for sample in run.samples(name)]
    theirs = judge_all(python, [Asked(response=one.response, truths=one.truths) for one in samples])
    return [
        Case(
            where=f"{one.benchmark} {one.question}, sample {one.index}",
            truths=one.truths,
            answer=one.answer,
            ours=one.correct,
            decided=one.verdict,
            theirs=judged,
        )
        for one, judged in zip(samples, theirs, strict=True)
    ]


def table_cases(python: Path, name: str) -> list[Case]:
    """Every pair of a test table, its answer in the box of a short response."""
    rows = list(table_rows(name))
    asked = [Asked(response=response, truths=(truth,)) for _, response, truth, _ in rows]
    with closing(Judge()) as judge:
        pairs = [(response, truth) for _, response, truth, _ in rows]
        ours = judge_many(pairs, data_source="tables", judge=judge)
    return [
        Case(
            where=f"{name}: {kind}",
            truths=(truth,),
            answer=verdict.answer,
            ours=verdict.correct,
            decided=verdict.path.value,
            theirs=judged,
            wanted=wanted,
        )
        for (kind, _, truth, wanted), verdict, judged in zip(rows, ours, judge_all(python, asked), strict=True)
    ]


def table_rows(name: str) -> Iterator[tuple[str, str, str, bool]]:
    """Kind, response, right answer and wanted verdict of every pair of a table."""
    if name == "answers":
        for line in (_TABLES / "answers.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            response = row["answer"] if row["whole_response"] else _boxed(row["answer"])
            yield row["kind"], response, row["truth"], row["right"]
        return
    table = yaml.safe_load((_TABLES / f"{name}.yaml").read_text(encoding="utf-8"))
    for kind, sides in table.items():
        for side, pairs in sides.items():
            for answer, truth in pairs:
                yield kind, _boxed(answer), truth, side.startswith("right")


def _boxed(answer: str) -> str:
    return rf"Therefore, the final answer is: $\boxed{{{answer}}}$."


if __name__ == "__main__":
    main()
