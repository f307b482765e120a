"""Markdown tables of the finished cells of a policy."""

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.gradient.measure import REFERENCE_ARM
from benchmarks.gradient.model.measure import MODEL_ARMS, ModelCell, ModelMeasure
from benchmarks.gradient.model.reference import PARTS, Reference, read_reference
from benchmarks.gradient.model.shapes import INDEPENDENT, MODEL_SHAPES
from benchmarks.gradient.model.store import load

_SHOWN_SHAPES = ("preset", "4 first, ramp")
SHOWN = (
    "grpo",
    "treepo",
    "treepo, prompt_deviation",
    "treepo_segment",
    "treepo_branch, auto, scale=prompt",
    "treepo_branch, auto, scale=prompt, sqrt",
    "tree_grpo",
    "branches and learned values, scale=prompt",
    "learned values at both ends",
)
"""Shapes and credits of the tables that would be long."""


def page_tables(folder: Path, name: str, *, prompts: int, seed: int) -> str:
    """All tables of a policy's finished cells.

    Raises:
        ValueError: There are none, or there are those of several models.
    """
    cells = find_cells(folder, name, prompts=prompts, seed=seed)
    references = [read_reference(path) for path in sorted(folder.glob(f"{name}-*-reference*-seed{seed}.json"))]
    if not cells or len(references) != 1:
        raise ValueError(
            f"{folder} has {len(cells)} cells of {name} with {prompts} prompts and {len(references)} true gradients; "
            "it needs some and one: measure them, or move those of other models away"
        )
    parts = [
        about(references[0], cells[0]),
        "**Squared signal per token generated**, relative to independent samples with GRPO",
        grid(cells, lambda one: one.per_token),
        "**On the same trees**, relative to GRPO's credit",
        grid(cells, lambda one: one.over_grpo),
        "**Per second** (decoding, log-probs and update, packed), relative to independent samples with GRPO, packed",
        grid(cells, lambda one: one.per_second, SHOWN),
        "**What a step looks like**, and how the credit lies over the response",
        details(cells),
        "**The shapes**",
        shapes(cells),
    ]
    return "\n\n".join(parts)


def find_cells(folder: Path, name: str, *, prompts: int, seed: int) -> list[ModelCell]:
    """A policy's finished cells in the order of the shapes."""
    order = [shape.name for shape in MODEL_SHAPES]
    found = [load(path) for path in sorted(folder.glob(f"{name}-*-prompts{prompts}-seed{seed}.json"))]
    return sorted((cell for cell in found if cell.policy == name), key=lambda cell: order.index(cell.shape))


def about(known: Reference, cell: ModelCell) -> str:
    """What the tables rest on."""
    return (
        f"`{cell.policy}`: {cell.prompts} prompts a cell, the same in every cell, batches of {cell.batch}, accuracy "
        f"{100 * known.accuracy:.0f} %. The true gradient is that of {known.prompts} other prompts with "
        f"{known.samples} samples each; by the product of its halves, its squared cosine with the true one is "
        f"{known.own:.2f}."
    )


def grid(
    cells: Sequence[ModelCell],
    number: Callable[[ModelMeasure], tuple[float, float]],
    arms: Sequence[str] = tuple(arm.name for arm in MODEL_ARMS),
) -> str:
    """A number of every credit on every shape, with half an interval of 95 %."""
    lines = [
        f"| credit | {' | '.join(cell.shape for cell in cells)} |",
        f"| --- |{' ---: |' * len(cells)}",
    ]
    for arm in arms:
        entries = (number(find(cell, arm)) for cell in cells)
        lines.append(f"| `{arm}` | {' | '.join(f'{one:.2f} ± {1.96 * error:.2f}' for one, error in entries)} |")
    return "\n".join(lines)


def details(cells: Sequence[ModelCell]) -> str:
    """Cosine of a step, alignment, signal and share by part of the response, for some credits and shapes."""
    parts = " | ".join(f"segment {part + 1}" for part in range(PARTS - 1)) + " | behind"
    lines = [
        f"| shape | credit | cosine of a step | alignment | signal along: all | {parts} | shares |",
        f"| --- | --- |{' ---: |' * (4 + PARTS)}",
    ]
    for cell in cells:
        if cell.shape not in _SHOWN_SHAPES:
            continue
        for one in (find(cell, arm) for arm in SHOWN):
            step, error = one.step
            aligned = "-" if one.alignment is None else f"{one.alignment:.2f}"
            by_part = " | ".join(f"{value:+.2f}" for value in one.by_part)
            shares = ", ".join(f"{share:.1f}" for share in one.shares)
            lines.append(
                f"| {cell.shape} | `{one.arm}` | {step:.3f} ± {1.96 * error:.3f} | {aligned} | {one.along:.2f} ± "
                f"{1.96 * one.along_error:.2f} | {by_part} | {shares} |"
            )
    return "\n".join(lines)


def shapes(cells: Sequence[ModelCell]) -> str:
    """What the shapes cost, GRPO's signal on them, and what a read-out of the hidden states explains."""
    rates = [1e6 * rate for rate in cells[0].seconds]
    lines = [
        "| shape | trajectories | tokens generated | packed tokens | ms, CPU | squared signal per prompt, GRPO | "
        "read-out explains |",
        "| --- |" + " ---: |" * 6,
    ]
    whole = next(cell for cell in cells if cell.shape == INDEPENDENT)
    base = find(whole, REFERENCE_ARM)
    for cell in cells:
        one = find(cell, REFERENCE_ARM)
        spent = cell.generated * cell.seconds[0] + cell.packed * (cell.seconds[1] + cell.seconds[2])
        per_prompt = one.per_token[0] / base.per_token[0] * cell.generated / whole.generated
        lines.append(
            f"| {cell.shape} | {cell.trajectories:.1f} | {cell.generated:.0f} | {cell.packed:.0f} | "
            f"{1000 * spent:.0f} | {per_prompt:.2f} | {100 * cell.explained:.0f} % |"
        )
    lines.append(
        f"\nMicroseconds of one core: {rates[0]:.0f} a token decoded, {rates[1]:.0f} a packed token of the log-probs, "
        f"{rates[2]:.0f} of the update."
    )
    return "\n".join(lines)


def find(cell: ModelCell, arm: str) -> ModelMeasure:
    """The measure of a credit."""
    return next(one for one in cell.measures if one.arm == arm)
