"""Cells that belong together: what one command measures."""

from dataclasses import dataclass

from benchmarks.update.cell import Cell, Kind, of_lengths, of_prompt, of_ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Models, and the cells measured on each.

    Attributes:
        models: Names of ``benchmarks.update.shapes.SHAPES``, or folders.
        device: ``cpu`` or ``cuda``.
        sections: Cells by what varies in them.
        rows: Rows of a cell that the command line describes.
        row_length: Their tokens, where no prompt length is asked for.
        layers: Layers of every model, instead of the shape's.
    """

    models: tuple[str, ...]
    device: str
    sections: dict[str, tuple[Cell, ...]]
    rows: int
    row_length: int
    layers: int | None = None


RATIO = "token ratio"
"""The section that the plot shows."""


def _ratios(trees: tuple[float, ...], groups: tuple[float, ...], *, width: int, row_length: int) -> tuple[Cell, ...]:
    return tuple(
        of_ratio(kind, ratio, width=width, row_length=row_length)
        for kind, ratios in ((Kind.TREE, trees), (Kind.GROUP, groups))
        for ratio in ratios
    )


def _widths(widths: tuple[int, ...], *, rows: int, row_length: int, max_tokens: int | None = None) -> tuple[Cell, ...]:
    return tuple(
        of_ratio(kind, 0.5, width=width, row_length=row_length, prompts=rows // width, max_tokens=max_tokens)
        for kind in Kind
        for width in widths
    )


def _prompts(
    lengths: tuple[int, ...],
    *,
    kinds: tuple[Kind, ...] = tuple(Kind),
    width: int,
    response_length: int,
    max_tokens: int | None = None,
) -> tuple[Cell, ...]:
    return tuple(
        of_lengths(
            kind,
            width=width,
            prompt_length=length,
            response_length=response_length,
            shared=0.3,
            max_tokens=max_tokens,
        )
        for kind in kinds
        for length in lengths
    )


def described(profile: Profile, *, ratio: float | None, width: int | None, prompt_length: int | None) -> Profile:
    """A tree and a group as the command line asks for, in the place of the profile's cells."""
    ratio, width = ratio or 0.5, width or 8
    prompts = max(1, profile.rows // width)
    cells = tuple(
        of_ratio(kind, ratio, width=width, row_length=profile.row_length, prompts=prompts)
        if prompt_length is None
        else of_prompt(kind, ratio, width=width, prompt_length=prompt_length, prompts=prompts)
        for kind in Kind
    )
    return Profile(
        models=profile.models,
        device=profile.device,
        sections={"as asked": tuple(dict.fromkeys(cells))},
        rows=profile.rows,
        row_length=profile.row_length,
        layers=profile.layers,
    )


PROFILES = {
    # About 10 minutes on one core.
    "small": Profile(
        models=("small",),
        device="cpu",
        sections={
            RATIO: _ratios((0.3, 0.4, 0.5, 0.6, 0.8, 1.0), (0.3, 0.5, 0.8), width=8, row_length=256),
            "width": _widths((8, 16, 32, 64), rows=64, row_length=48),
            "prompt length": (
                *_prompts((64, 512), width=8, response_length=64),
                # As a tree it would take as long again.
                *_prompts((2048,), kinds=(Kind.GROUP,), width=8, response_length=64),
            ),
            "micro-batches": (of_ratio(Kind.TREE, 0.5, width=8, row_length=256, prompts=2, max_tokens=1024),),
        },
        rows=8,
        row_length=256,
    ),
    "smallest": Profile(
        models=("smallest",),
        device="cpu",
        sections={
            RATIO: _ratios((0.3, 0.6, 1.0), (0.5,), width=8, row_length=64),
            "micro-batches": (of_ratio(Kind.TREE, 0.5, width=8, row_length=64, max_tokens=128),),
        },
        rows=8,
        row_length=64,
    ),
    # What scripts/gpu_check.sh has the time for.
    "gpu_check": Profile(
        models=("qwen2_5_1_5b", "qwen3_1_7b"),
        device="cuda",
        sections={RATIO: _ratios((0.3, 0.5, 1.0), (0.5,), width=8, row_length=1024)},
        rows=8,
        row_length=1024,
        layers=4,
    ),
    "gpu": Profile(
        models=("qwen2_5_0_5b", "qwen2_5_1_5b", "qwen2_5_7b"),
        device="cuda",
        sections={
            # 8,192 tokens at once: at these vocabularies logits are what a device has to hold.
            RATIO: _ratios((0.3, 0.4, 0.5, 0.6, 0.8, 1.0), (0.3, 0.5, 0.8), width=8, row_length=1024),
            "width": _widths((8, 16, 32, 64), rows=64, row_length=1024, max_tokens=8192),
            "prompt length": _prompts((64, 256, 1024, 2048), width=8, response_length=1024, max_tokens=8192),
        },
        rows=8,
        row_length=1024,
    ),
}
