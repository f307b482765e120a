"""What verl's folder of checkpoints holds: the step that a start resumes from, and whether that step is whole.

Checked against verl 0.9.1; nothing here imports it. ``tests/seams/test_start_seams.py`` holds the places that are
read.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from treepo.config import ConfigError
from treepo.config.suggestion import suggestion
from treepo.files.checkpoint import NOTE, noted_step
from treepo.start.declared import Start, reads

RESUME_MODES = ("auto", "disable", "resume_path")
# What verl's FSDP checkpoints call the parts of `checkpoint.load_contents` (utils/checkpoint/fsdp_checkpoint_manager).
PARTS: Mapping[str, str] = {"model": "model", "optimizer": "optim", "extra": "extra_state"}
# The last file of a checkpoint but for the note; rotation leaves it where it removes the rest.
_LAST_FILE = "data.pt"
_STEP = re.compile(r"global_step_(\d+)")
READS = (
    *("run_dir", "trainer.default_local_dir", "trainer.resume_mode", "trainer.resume_from_path"),
    *("trainer.nnodes", "actor_rollout_ref.actor.checkpoint.load_contents"),
)
"""The options that `resumed_step` reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """The step that a start resumes from.

    Attributes:
        folder: verl's ``global_step_N``.
        instead_of: The step that verl's note names, where that one is gone or damaged and this is the newest whole one
            before it; None otherwise.
        why: What is wrong with it, as in ``is gone``.
    """

    folder: Path
    instead_of: int | None = None
    why: str = ""

    @property
    def step(self) -> int:
        """The N."""
        return step_number(self.folder)


def step_number(folder: Path) -> int:
    """The N of a folder that is named ``global_step_N``."""
    return int(folder.name.removeprefix("global_step_"))


def resumed_step(config: DictConfig) -> Resumed | None:
    """Finds the step that a start resumes from.

    verl itself begins at step 1 without a word where its note names a folder that is gone, and writes over the
    checkpoints that are left; here the newest whole one of them is found instead.

    Args:
        config: The composed configuration.

    Returns:
        The step; None for a fresh start.

    Raises:
        ConfigError: The mode, the path or verl's note would stop verl after the start, or the checkpoint is damaged
            and no whole one is left.
    """
    trainer = config.trainer
    if trainer.resume_mode not in RESUME_MODES:
        mode = str(trainer.resume_mode)
        raise ConfigError(f"trainer.resume_mode={mode} is refused: {suggestion(mode, RESUME_MODES)}")
    if trainer.resume_mode == "disable":
        return None
    if trainer.resume_mode == "resume_path":
        return _named(config)
    note = Path(str(trainer.default_local_dir)) / NOTE
    if not note.is_file():
        return None
    number = noted_step(note.parent)
    if number is None:
        raise ConfigError(
            f"{note} is refused: it must hold the number of the step to resume from, a global_step_N beside it; write "
            "that, or remove the file to begin anew"
        )
    noted = note.parent / f"global_step_{number}"
    damage = _damage(noted, config)
    if damage is None:
        return Resumed(folder=noted)
    whole = [step for step in steps_in(note.parent) if step_number(step) < number and _is_whole(step, config)]
    if whole:
        return Resumed(folder=max(whole, key=step_number), instead_of=number, why=damage)
    if noted.is_dir():
        raise ConfigError(
            f"{noted} is refused: it {damage}, and no whole checkpoint is beside it; put the file back, or begin anew "
            "with trainer.resume_mode=disable or another run_dir"
        )
    return None


@reads(*READS, "trainer.n_gpus_per_node")
def as_many_ranks(start: Start) -> None:
    """Refuses another number of ranks: FSDP's checkpoints hold one file per rank and part, and resume with as many."""
    config = start.config
    resumed = resumed_step(config)
    if resumed is None:
        return
    trainer = config.trainer
    ranks = trainer.nnodes * trainer.n_gpus_per_node
    for saved in _saved_ranks(resumed.folder, config.actor_rollout_ref.actor.checkpoint.load_contents):
        if ranks not in saved:
            wrote = " or ".join(map(str, sorted(saved)))
            raise ConfigError(
                f"trainer.nnodes={trainer.nnodes} x trainer.n_gpus_per_node={trainer.n_gpus_per_node} = {ranks} is "
                f"refused: the training would resume from {resumed.folder}, which {wrote} ranks wrote and as many must "
                "read; give it as many, or begin anew with trainer.resume_mode=disable or another run_dir (from its "
                "weights: docs/run_folder.md, 'Another number of accelerators')"
            )


def steps_in(folder: Path) -> list[Path]:
    """The ``global_step_N`` in a folder of checkpoints, whole or not."""
    return [path for path in folder.glob("global_step_*") if _STEP.fullmatch(path.name) and path.is_dir()]


def _saved_ranks(step: Path, parts: list[str]) -> Iterator[set[int]]:
    """The numbers of ranks that wrote each part that is loaded; nothing of a part that another node holds."""
    for part in parts:
        if part in PARTS and (found := _ranks(step, PARTS[part])):
            yield set(found)


def _named(config: DictConfig) -> Resumed:
    given = str(config.trainer.resume_from_path)
    step = Path(given)
    # verl reads the number off the end of the text.
    if not _STEP.fullmatch(step.name) or not given.endswith(step.name):
        raise ConfigError(
            f"trainer.resume_from_path={given} is refused: it must be the folder of a step, as in "
            "checkpoints/global_step_20"
        )
    if not step.is_dir():
        beside = ", ".join(path.name for path in sorted(steps_in(step.parent), key=step_number))
        raise ConfigError(
            f"trainer.resume_from_path={given} is refused: there is no such folder; give one as in "
            f"checkpoints/global_step_20 ({f'{step.parent} has {beside}' if beside else f'{step.parent} has none'})"
        )
    if (damage := _damage(step, config)) is not None:
        raise ConfigError(f"trainer.resume_from_path={given} is refused: it {damage}; name another step")
    return Resumed(folder=step)


def _damage(step: Path, config: DictConfig) -> str | None:
    """What is certainly wrong with a step; with several nodes, or nothing at all of the actor here, nobody can know."""
    if not step.is_dir():
        return "is gone"
    parts = [part for part in config.actor_rollout_ref.actor.checkpoint.load_contents if part in PARTS]
    if config.trainer.nnodes != 1 or not any(_ranks(step, PARTS[part]) for part in parts):
        return None
    for part in parts:
        found = _ranks(step, PARTS[part])
        if not found:
            return f"lacks the files actor/{PARTS[part]}_world_size_*"
        world, ranks = max(found.items(), key=lambda item: len(item[1]))
        if missing := sorted(set(range(world)) - ranks):
            return f"lacks actor/{PARTS[part]}_world_size_{world}_rank_{missing[0]}.pt"
    return None


def _is_whole(step: Path, config: DictConfig) -> bool:
    parts = config.actor_rollout_ref.actor.checkpoint.load_contents
    loaded = all(_ranks(step, PARTS[part]) for part in parts if part in PARTS)
    return loaded and (step / _LAST_FILE).is_file() and _damage(step, config) is None


def _ranks(step: Path, part: str) -> dict[int, set[int]]:
    """The ranks whose files of a part are here, by the number of ranks that there were."""
    name = re.compile(rf"{part}_world_size_(\d+)_rank_(\d+)\.pt")
    found: dict[int, set[int]] = {}
    for path in (step / "actor").glob(f"{part}_world_size_*.pt"):
        if match := name.fullmatch(path.name):
            found.setdefault(int(match[1]), set()).add(int(match[2]))
    return found
