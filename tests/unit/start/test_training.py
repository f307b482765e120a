"""What verl would meet only after the start is refused before it, and only where it is certain."""

from pathlib import Path

import pytest
from omegaconf import DictConfig
from training_run import write_sums

from treepo.config import ConfigError
from treepo.config.load import compose, resolve
from treepo.start import checkpoints, data, training
from treepo.start.declared import Start


def check_engine(config: DictConfig) -> None:
    training.engine(Start(config=config))


def start(config: DictConfig) -> None:
    opened = Start(config=config)
    data.enough_rows(opened)
    checkpoints.as_many_ranks(opened)


FOUR = ("trainer.nnodes=2", "trainer.n_gpus_per_node=2")


def composed(*overrides: str) -> DictConfig:
    config = compose("treepo_trainer", [*overrides])
    resolve(config)
    return config


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two tables with 6 and 4 rows."""
    folder = tmp_path_factory.mktemp("tables")
    files = [write_sums(folder / f"{count}.parquet", count, seed=0) for count in (6, 4)]
    return f"data.train_files=[{files[0]},{files[1]}]"


@pytest.mark.parametrize("engine", ["megatron", "veomni", "torchtitan"])
def test_another_engine_is_refused_which_lacks_fsdps_options(engine: str) -> None:
    with pytest.raises(ConfigError, match=rf"^model_engine={engine} .*set model_engine=dp"):
        check_engine(composed(f"model_engine={engine}"))


def test_the_engine_is_asked_for_by_its_strategy_too() -> None:
    for strategy in ("fsdp", "fsdp2"):
        check_engine(composed(f"actor_rollout_ref.actor.strategy={strategy}"))
    with pytest.raises(ConfigError, match=r"actor_rollout_ref.actor.strategy=megatron is refused"):
        check_engine(composed("actor_rollout_ref.actor.strategy=megatron"))


# --- rows


def test_the_rows_of_all_files_make_a_batch(tables: str) -> None:
    start(composed(tables, "data.train_batch_size=10"))
    with pytest.raises(
        ConfigError, match=r"^data.train_batch_size=11 is refused: data.train_files gives 10 rows, .*lower the batch"
    ):
        start(composed(tables, "data.train_batch_size=11"))


def test_a_bound_on_the_rows_counts_and_one_above_them_does_not(tables: str) -> None:
    batch = "data.train_batch_size=10"
    start(composed(tables, batch, "data.train_max_samples=100"))
    with pytest.raises(ConfigError, match=r"data.train_max_samples gives 9 rows"):
        start(composed(tables, batch, "data.train_max_samples=9"))


@pytest.mark.parametrize(
    "overrides", [["data.custom_cls.path=own.py", "data.custom_cls.name=Own"], ["trainer.val_only=true"]], ids=str
)
def test_rows_that_nobody_trains_or_can_count_are_not_counted(tables: str, overrides: list[str]) -> None:
    start(composed(tables, "data.train_batch_size=11", *overrides))


def test_a_validation_that_continues_to_train_needs_its_batch(tables: str) -> None:
    with pytest.raises(ConfigError, match=r"data.train_batch_size=11"):
        start(composed(tables, "data.train_batch_size=11", "trainer.val_only=true", "trainer.val_before_train=false"))


# --- the checkpoint to resume from


def saved(run_dir: Path, *, step: int = 20, ranks: int = 4, parts: tuple[str, ...] = ("model", "optim")) -> Path:
    """A checkpoint as verl's FSDP workers leave it."""
    folder = run_dir / "checkpoints" / f"global_step_{step}" / "actor"
    folder.mkdir(parents=True, exist_ok=True)
    for rank in range(ranks):
        for part in (*parts, "extra_state"):
            (folder / f"{part}_world_size_{ranks}_rank_{rank}.pt").touch()
    (run_dir / "checkpoints" / "latest_checkpointed_iteration.txt").write_text(str(step))
    return folder.parent


@pytest.fixture
def resumed(tables: str, tmp_path: Path) -> list[str]:
    return [tables, "data.train_batch_size=2", f"run_dir={tmp_path / 'run'}"]


def test_a_run_resumes_with_as_many_accelerators_however_they_are_spread(resumed: list[str], tmp_path: Path) -> None:
    start(composed(*resumed))
    saved(tmp_path / "run")
    start(composed(*resumed, *FOUR))
    start(composed(*resumed, "trainer.nnodes=1", "trainer.n_gpus_per_node=4"))


@pytest.mark.parametrize("parts", [("model", "optim"), ("model",), ("optim",), ()], ids=str)
def test_another_number_of_accelerators_is_one_line_with_the_options(
    parts: tuple[str, ...], resumed: list[str], tmp_path: Path
) -> None:
    step = saved(tmp_path / "run", ranks=8, parts=parts)
    with pytest.raises(ConfigError) as refusal:
        start(composed(*resumed, *FOUR))
    text = str(refusal.value)
    assert text.startswith("trainer.nnodes=2 x trainer.n_gpus_per_node=2 = 4 is refused: ")
    for words in (str(step), "which 8 ranks wrote", "trainer.resume_mode=disable", "run_dir"):
        assert words in text
    assert "\n" not in text


def test_only_the_step_that_the_note_names_and_the_parts_that_are_loaded_count(
    resumed: list[str], tmp_path: Path
) -> None:
    saved(tmp_path / "run", step=10, ranks=8)
    saved(tmp_path / "run", step=20, ranks=4)
    start(composed(*resumed, *FOUR))
    (tmp_path / "run/checkpoints/latest_checkpointed_iteration.txt").write_text("10\n")
    with pytest.raises(ConfigError, match="which 8 ranks wrote"):
        start(composed(*resumed, *FOUR))
    start(composed(*resumed, *FOUR, "actor_rollout_ref.actor.checkpoint.load_contents=[]"))


def test_a_step_that_is_not_here_or_is_not_asked_for_says_nothing(resumed: list[str], tmp_path: Path) -> None:
    step = saved(tmp_path / "run", ranks=8)
    start(composed(*resumed, *FOUR, "trainer.resume_mode=disable"))
    for file in (step / "actor").iterdir():
        file.unlink()
    start(composed(*resumed, *FOUR))
    (step / "actor").rmdir()
    step.rmdir()
    start(composed(*resumed, *FOUR))


def test_a_named_step_is_looked_into_wherever_it_is(resumed: list[str], tmp_path: Path) -> None:
    step = saved(tmp_path / "other", ranks=8)
    named = [*resumed, *FOUR, "trainer.resume_mode=resume_path"]
    with pytest.raises(ConfigError, match="which 8 ranks wrote"):
        start(composed(*named, f"trainer.resume_from_path={step}"))
    for wrong in ("null", str(step.parent), str(step.with_name("global_step_21"))):
        with pytest.raises(ConfigError, match=r"^trainer.resume_from_path=.*global_step_20"):
            start(composed(*named, f"trainer.resume_from_path={wrong}"))


def test_a_mode_or_a_note_that_would_end_verl_after_the_start_is_refused(resumed: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer.resume_mode=atuo is refused: did you mean auto\?"):
        start(composed(*resumed, "trainer.resume_mode=atuo"))
    saved(tmp_path / "run")
    note = tmp_path / "run/checkpoints/latest_checkpointed_iteration.txt"
    note.write_text("")
    with pytest.raises(ConfigError, match=r"latest_checkpointed_iteration.txt is refused"):
        start(composed(*resumed, *FOUR))
