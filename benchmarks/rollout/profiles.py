"""Cells that belong together: what one command measures."""

from dataclasses import dataclass, replace

from benchmarks.rollout.cell import Cell

LAWS = ("memoryless", "lognormal:0.5", "lognormal:0.3", "full")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One engine and the cells measured on it.

    Attributes:
        model: ``quickstart``, or a shape of ``benchmarks.rollout.engine``.
        device: ``cpu`` or ``cuda``.
        cells: The cells.
        sweeps: Cells along one axis each, by the axis' name.
    """

    model: str
    device: str
    cells: tuple[Cell, ...]
    sweeps: dict[str, dict[str, Cell]]

    @property
    def everything(self) -> list[Cell]:
        """All cells, those of the sweeps too, each once."""
        return list(dict.fromkeys([*self.cells, *(cell for sweep in self.sweeps.values() for cell in sweep.values())]))


_SMALL = Cell(prompts=32, prompt_length=48, width=8, segment_length=32, max_depth=6, slots=48)
_QUICKSTART = replace(_SMALL, lengths="model", max_depth=5, slots=64)
_LARGE = Cell(prompts=64, prompt_length=256, width=16, segment_length=512, max_depth=14, slots=512)


def _sweeps(base: Cell, *, tokens: int) -> dict[str, dict[str, Cell]]:
    return {
        "width": {str(width): replace(base, width=width) for width in (4, 8, 16)},
        "depth x segment": {
            f"{tokens // length} x {length}": replace(base, segment_length=length, max_depth=tokens // length)
            for length in (tokens // 12, tokens // 6, tokens // 3)
        },
        "divergence": {str(most): replace(base, max_divergence=most) for most in (2, 3, 4)},
        "prompts in flight": {str(count): replace(base, prompts=count) for count in (8, 16, 32)},
        "prompt length": {str(length): replace(base, prompt_length=length) for length in (48, 192, 384)},
    }


PROFILES = {
    "small": Profile(
        model="small",
        device="cpu",
        cells=(
            *(replace(_SMALL, lengths=law) for law in LAWS),
            *(replace(_SMALL, lengths=law, budget="ramp") for law in LAWS),
        ),
        sweeps={},
    ),
    "smallest": Profile(
        model="small",
        device="cpu",
        cells=(replace(_SMALL, prompts=8, width=4, max_depth=3, slots=16),),
        sweeps={},
    ),
    "sweeps": Profile(model="small", device="cpu", cells=(), sweeps=_sweeps(_SMALL, tokens=192)),
    "quickstart": Profile(
        model="quickstart",
        device="cpu",
        cells=(_QUICKSTART, replace(_QUICKSTART, budget="ramp")),
        sweeps={},
    ),
    # What scripts/gpu_check.sh has the time for.
    "gpu_check": Profile(
        model="qwen2_5_7b",
        device="cuda",
        cells=(
            replace(_LARGE, slots=256),
            replace(_LARGE, slots=256, segment_length=1024, max_depth=7),
            replace(_LARGE, slots=256, width=64),
        ),
        sweeps={},
    ),
    "gpu": Profile(
        model="qwen2_5_7b",
        device="cuda",
        cells=(
            *(replace(_LARGE, lengths=law, budget=budget) for law in LAWS for budget in ("fixed", "ramp")),
            replace(_LARGE, width=64),
            replace(_LARGE, segment_length=1024, max_depth=7),
        ),
        sweeps={},
    ),
}
