"""Where two verdicts differ, and why."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.against_lighteval.environment import Judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A response with both verdicts.

    Attributes:
        where: Benchmark, question and sample; or the test table and its kind.
        truths: The right answers.
        answer: What we found in its box; None without one.
        ours: Our verdict.
        decided: What decided it.
        theirs: lighteval's.
        wanted: The verdict that the test table has; None for samples of a model.
    """

    where: str
    truths: tuple[str, ...]
    answer: str | None
    ours: bool
    decided: str
    theirs: Judged
    wanted: bool | None = None

    @property
    def differs(self) -> bool:
        """Whether the verdicts differ."""
        return self.ours != self.theirs.right


def why(case: Case) -> str:
    """Why two verdicts differ, classified by what each of them read."""
    # What lighteval could parse stands before the text that it found: a text alone was not parsed.
    parsed, truth_parsed = len(case.theirs.answers) > 1, len(case.theirs.truths) > len(case.truths)
    if case.theirs.right:
        if case.answer is None or not case.answer.strip():
            return "no box: lighteval takes the last formula or number, we ask for a box"
        if case.decided in ("timeout", "crash", "error"):
            return f"ours: {case.decided} while judging"
        return "lighteval reads both as the same value" if parsed else "lighteval compares texts"
    if not case.theirs.answers:
        return "lighteval finds no answer in the response"
    if not parsed:
        return "lighteval cannot parse the answer"
    return "lighteval reads another value" if truth_parsed else "lighteval cannot parse the right answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Two scorers on the same responses.

    Attributes:
        name: Of the responses.
        responses: How many.
        ours: Right ones by ours.
        theirs: Right ones by lighteval.
        wrong_of_ours: Verdicts of ours that are not the wanted one; None where none is wanted.
        wrong_of_theirs: Those of lighteval.
        reasons: How many differ for which reason, the most frequent first.
    """

    name: str
    responses: int
    ours: int
    theirs: int
    wrong_of_ours: int | None
    wrong_of_theirs: int | None
    reasons: dict[str, int]


def tabulate(name: str, cases: Sequence[Case]) -> Table:
    """Counts cases, of which all or none have a wanted verdict."""
    wanted = [case for case in cases if case.wanted is not None]
    assert len(wanted) in (0, len(cases)), "all cases of a table have a wanted verdict, or none has"
    return Table(
        name=name,
        responses=len(cases),
        ours=sum(case.ours for case in cases),
        theirs=sum(case.theirs.right for case in cases),
        wrong_of_ours=sum(case.ours != case.wanted for case in wanted) if wanted else None,
        wrong_of_theirs=sum(case.theirs.right != case.wanted for case in wanted) if wanted else None,
        reasons=dict(Counter(why(case) for case in cases if case.differs).most_common()),
    )


def markdown(tables: Sequence[Table], cases: Sequence[Case]) -> str:
    """The tables, and every difference with what was read."""
    rows = ["| responses | number | right by ours | by lighteval | wrong verdicts of ours | of lighteval |"]
    rows.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    for table in tables:
        cells = (table.name, table.responses, table.ours, table.theirs, table.wrong_of_ours, table.wrong_of_theirs)
        rows.append(f"| {' | '.join('–' if cell is None else str(cell) for cell in cells)} |")
    rows += ["", "| responses | why the verdicts differ | number |", "| --- | --- | ---: |"]
    rows += [f"| {table.name} | {reason} | {count} |" for table in tables for reason, count in table.reasons.items()]
    rows += ["", "| where | right answer | answer | ours | lighteval | wanted | lighteval read | why |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for case in cases:
        if case.differs:
            wanted = "" if case.wanted is None else _word(case.wanted)
            read = f"{', '.join(case.theirs.answers)} for {', '.join(case.theirs.truths)}"
            texts = (" or ".join(case.truths), case.answer or "–")
            cells = (*texts, f"{_word(case.ours)} ({case.decided})", _word(case.theirs.right), wanted, read, why(case))
            rows.append(f"| {' | '.join(_cell(cell) for cell in (case.where, *cells))} |")
    return "\n".join(rows) + "\n"


def _word(right: bool) -> str:
    return "right" if right else "wrong"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:200]
