"""A start resumes from the newest whole checkpoint, says so, and writes over none of an earlier start."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import DictConfig, OmegaConf
from start_checks import run_checks

from treepo.config import ConfigError
from treepo.config.load import compose, resolve
from treepo.files.set_aside import set_aside
from treepo.start import resumption
from treepo.start.checkpoints import NOTE, PARTS, resumed_step
from treepo.start.resumption import begin, find_checkpoint


def composed(run_dir: Path, *overrides: str) -> DictConfig:
    config = compose("cpu_quickstart", [f"run_dir={run_dir}", *overrides])
    resolve(config)
    return config


def save(run_dir: Path, step: int, *, ranks: int = 1) -> Path:
    """A checkpoint as verl's trainer leaves it, the note included."""
    folder = run_dir / "checkpoints" / f"global_step_{step}"
    (folder / "actor").mkdir(parents=True)
    for part in PARTS.values():
        for rank in range(ranks):
            (folder / "actor" / f"{part}_world_size_{ranks}_rank_{rank}.pt").write_text(f"{part} {step}")
    (folder / "data.pt").write_text("data")
    (folder.parent / NOTE).write_text(str(step))
    return folder


def remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run with checkpoints of steps 9, 10 and 20."""
    folder = tmp_path / "run"
    begin(composed(folder))
    for step in (9, 10, 20):
        save(folder, step)
    return folder


def test_where_the_noted_folder_is_gone_the_newest_whole_one_is_resumed_from_and_named(run_dir: Path) -> None:
    checkpoints = run_dir / "checkpoints"
    remove(checkpoints / "global_step_20")
    config = composed(run_dir)
    found = find_checkpoint(config)
    assert found is not None
    assert (found.folder, found.step) == (checkpoints / "global_step_10", 10)
    assert run_checks(config, resumption) == [
        f"{checkpoints}/global_step_20, which {NOTE} names, is gone: the training resumes from step 10, the newest "
        f"whole checkpoint in {checkpoints}"
    ]
    # verl reads the note alone.
    assert begin(config) is None
    assert (checkpoints / NOTE).read_text() == "10"
    assert run_checks(composed(run_dir), resumption) == []
    assert sorted(path.name for path in checkpoints.iterdir()) == ["global_step_10", "global_step_9", NOTE]


def test_a_step_that_rotation_or_a_crash_has_left_in_part_is_not_whole(run_dir: Path) -> None:
    checkpoints = run_dir / "checkpoints"
    remove(checkpoints / "global_step_20")
    (checkpoints / "global_step_10/actor/optim_world_size_1_rank_0.pt").unlink()
    resumed = resumed_step(composed(run_dir))
    assert resumed is not None
    assert resumed.step == 9
    (checkpoints / "global_step_9/data.pt").unlink()
    (warning,) = run_checks(composed(run_dir), resumption)
    assert warning == (
        f"{checkpoints / NOTE} names step 20, which is gone, and no whole checkpoint is left: the training begins at "
        "step 1"
    )


def test_a_noted_step_that_lacks_a_shard_is_passed_over_and_the_shard_named(run_dir: Path) -> None:
    remove(run_dir / "checkpoints/global_step_20")
    step = save(run_dir, 20, ranks=2)
    (step / "actor/model_world_size_2_rank_1.pt").unlink()
    (warning,) = run_checks(composed(run_dir), resumption)
    assert "global_step_20, which" in warning
    assert "lacks actor/model_world_size_2_rank_1.pt: the training resumes from step 10" in warning
    for other in (9, 10):
        remove(run_dir / f"checkpoints/global_step_{other}")
    with pytest.raises(ConfigError, match=r"global_step_20 is refused: it lacks actor/model_.*rank_1.pt, and no whole"):
        run_checks(composed(run_dir), resumption)


def test_a_step_above_the_noted_one_is_nobodys(run_dir: Path) -> None:
    (run_dir / "checkpoints" / NOTE).write_text("15")
    resumed = resumed_step(composed(run_dir))
    assert resumed is not None
    assert (resumed.step, resumed.instead_of) == (10, 15)


def test_over_several_nodes_a_shard_that_is_not_here_may_be_elsewhere(run_dir: Path) -> None:
    (run_dir / "checkpoints/global_step_20/actor/model_world_size_1_rank_0.pt").unlink()
    resumed = resumed_step(composed(run_dir, "trainer.nnodes=2"))
    assert resumed is not None
    assert (resumed.step, resumed.instead_of) == (20, None)


def test_a_named_step_may_end_with_the_slash_that_a_shell_adds(run_dir: Path) -> None:
    step = run_dir / "checkpoints/global_step_10"
    config = composed(run_dir, "trainer.resume_mode=resume_path", f"trainer.resume_from_path={step}/")
    resumed = resumed_step(config)
    assert resumed is not None
    assert resumed.folder == step
    # What verl reads the number off.
    assert config.trainer.resume_from_path == str(step)


def test_a_named_step_that_is_gone_is_refused_with_those_that_are_there(run_dir: Path) -> None:
    gone = run_dir / "checkpoints/global_step_11"
    with pytest.raises(ConfigError) as refused:
        resumed_step(composed(run_dir, "trainer.resume_mode=resume_path", f"trainer.resume_from_path={gone}"))
    assert "there is no such folder" in str(refused.value)
    assert "has global_step_9, global_step_10, global_step_20" in str(refused.value)


def test_a_run_that_begins_anew_keeps_the_checkpoints_of_the_one_before(run_dir: Path) -> None:
    begin(composed(run_dir, "trainer.resume_mode=disable", "treepo.width=4"))
    kept = run_dir / "checkpoints/global_step_20.before/actor/model_world_size_1_rank_0.pt"
    assert kept.read_text() == "model 20"
    # A lost checkpoint of the new run is not made up for by one of the old.
    remove(save(run_dir, 25))
    assert find_checkpoint(composed(run_dir, "treepo.width=4")) is None


def test_a_name_that_is_taken_is_not_taken_again(tmp_path: Path) -> None:
    names = []
    for text in ("first", "second", "third"):
        (tmp_path / "note").write_text(text)
        names.append(set_aside(tmp_path / "note").name)
    assert names == ["note.before", "note.before2", "note.before3"]
    assert (tmp_path / "note.before").read_text() == "first"


def test_the_trainer_keeps_a_checkpoint_of_the_same_step_that_an_earlier_start_has_written(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    from treepo.verl.training.trainer import TreeTrainer

    def write(trainer: SimpleNamespace) -> None:
        step = Path(trainer.config.trainer.default_local_dir) / f"global_step_{trainer.global_steps}"
        step.mkdir(exist_ok=True)
        (step / "data.pt").write_text("this start's")

    monkeypatch.setattr(PPOTrainer, "_save_checkpoint", write)
    trainer = object.__new__(TreeTrainer)
    trainer.config = OmegaConf.create({"trainer": {"default_local_dir": str(run_dir / "checkpoints")}})
    trainer.global_steps, trainer._saved = 10, set()
    for _ in range(2):
        trainer._save_checkpoint()
    kept, written = (run_dir / "checkpoints" / name / "data.pt" for name in ("global_step_10.before", "global_step_10"))
    assert (kept.read_text(), written.read_text()) == ("data", "this start's")
    assert not (run_dir / "checkpoints/global_step_10.before2").exists()
