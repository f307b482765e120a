"""The tables of two runs' comparison, as text."""

from treepo.evaluation.count.compare import Comparison, Difference, Flip
from treepo.evaluation.show.tables import Table

SHOWN_CHANGES = 200


def comparison_tables(comparison: Comparison) -> list[Table]:
    """The tables of two runs' comparison."""
    changes = comparison.changes[:SHOWN_CHANGES]
    gained, lost = (sum(change.flip is kind for change in comparison.changes) for kind in (Flip.GAINED, Flip.LOST))
    return [
        Table(
            title="Difference",
            note="avg@k in % on the questions of both; the paired bootstrap draws questions. "
            f"Before: {comparison.names[0]}. After: {comparison.names[1]}."
            + "".join(
                f" {count} questions of {name} are in one run only." for name, count in comparison.unpaired.items()
            ),
            columns=("benchmark", "questions", "before", "after", "difference, points", "p"),
            rows=tuple(
                _difference(part) for part in (*comparison.differences, comparison.weighted, comparison.unweighted)
            ),
        ),
        Table(
            title="Questions that changed",
            note=f"{len(comparison.changes)} questions have another share of right samples; {gained} went from wrong "
            f"to right and {lost} from right to wrong, right being more than half of the samples."
            + (f" The {SHOWN_CHANGES} that changed most." if len(changes) < len(comparison.changes) else ""),
            columns=("benchmark", "question", "before", "after", "points", "flip"),
            rows=tuple(
                (
                    change.benchmark,
                    change.question,
                    f"{change.before[0]}/{change.before[1]}",
                    f"{change.after[0]}/{change.after[1]}",
                    f"{100 * change.difference:+.1f}",
                    change.flip.value,
                )
                for change in changes
            ),
        ),
    ]


def _difference(part: Difference) -> tuple[str, ...]:
    gap = part.difference
    return (
        part.name,
        str(part.questions),
        f"{100 * part.before:.1f}",
        f"{100 * part.after:.1f}",
        f"{100 * gap.value:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]",
        f"{part.p_value:.3f}" if part.p_value >= 0.001 else "< 0.001",
    )
