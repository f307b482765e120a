"""The launcher's job from its command line to its exit status, with verl's training replaced."""

import shutil
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from tiny_stack import write_tiny_model
from training_run import write_sums

from recipe.treepo import main_treepo
from treepo.start.checkpoints import NOTE


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("main")
    table = write_sums(folder / "table.parquet", 16, seed=0)
    model = write_tiny_model(folder / "model")
    return [
        f"data.train_files=[{table}]",
        f"data.val_files=[{table}]",
        f"actor_rollout_ref.model.path={model}",
    ]


class Launcher:
    """The command line, and a training that saves what it is told to."""

    def __init__(self, words: list[str], run_dir: Path) -> None:
        self.words, self.run_dir = [*words, f"run_dir={run_dir}"], run_dir
        self.saves, self.trained = 0, 0

    def __call__(self, *words: str) -> int:
        return main_treepo.main(["--preset", "cpu_quickstart", *self.words, *words])

    def train(self, config: DictConfig, task_runner_class: object) -> None:
        self.trained += 1
        # What is there when the training starts.
        assert OmegaConf.load(self.run_dir / "config.yaml") == config
        if self.saves:
            folder = self.run_dir / f"checkpoints/global_step_{self.saves}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder.parent / NOTE).write_text(str(self.saves))


@pytest.fixture
def launcher(files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launcher:
    launcher = Launcher(files, tmp_path / "run")
    monkeypatch.setattr("verl.trainer.main_ppo.run_ppo", launcher.train)
    # The process of the tests keeps its environment and its signals.
    monkeypatch.setattr(main_treepo, "adopt_environment", lambda config: None)
    monkeypatch.setattr(main_treepo.signal, "signal", lambda number, handler: None)
    return launcher


def test_the_same_command_goes_on_until_nothing_is_left(launcher: Launcher, capsys: pytest.CaptureFixture[str]) -> None:
    launcher.saves = 25
    assert (launcher(), launcher.trained) == (0, 1)
    launcher.saves = 50
    assert (launcher(), launcher.trained) == (0, 2)
    assert "nothing left" not in capsys.readouterr().out
    for words in ([], ["--check"]):
        assert (launcher(*words), launcher.trained) == (0, 2)
        lines = capsys.readouterr().out.splitlines()
        assert [line for line in lines if "nothing left to train" in line] == [
            f"nothing left to train: {launcher.run_dir}/checkpoints/global_step_50 is the checkpoint of step 50, and "
            "trainer.total_training_steps=50; raise it to go on, or give another run_dir"
        ]
    assert (launcher("trainer.total_training_steps=60"), launcher.trained) == (0, 3)


def test_another_run_in_the_folder_is_refused_and_leaves_the_first_one_as_it_was(
    launcher: Launcher, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher.saves = 50
    assert launcher() == 0
    before = (launcher.run_dir / "config.yaml").read_text()
    capsys.readouterr()
    for words in (["treepo.max_divergence=3"], ["treepo.max_divergence=3", "--check"]):
        assert (launcher(*words), launcher.trained) == (2, 1)
        error = capsys.readouterr().err
        assert error.startswith(f"error: run_dir={launcher.run_dir} is refused: the run there, at step 50, has other ")
        assert "treepo.max_divergence=2, now 3" in error
        assert error.count("\n") == 1
    assert (launcher.run_dir / "config.yaml").read_text() == before


@pytest.mark.parametrize("remedy", ["--accept-changes", "trainer.resume_mode=disable", "run_dir"])
def test_every_remedy_that_the_refusal_names_works(launcher: Launcher, remedy: str, tmp_path: Path) -> None:
    launcher.saves = 25
    assert launcher() == 0
    if remedy == "run_dir":
        launcher.run_dir = tmp_path / "another"
        remedy = f"run_dir={launcher.run_dir}"
    assert (launcher("treepo.max_divergence=3", remedy), launcher.trained) == (0, 2)


def test_a_run_whose_epochs_are_over_says_so_behind_the_training(
    launcher: Launcher, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher.saves = 30
    words = ("trainer.total_training_steps=null", "trainer.total_epochs=30")
    assert launcher(*words) == 0
    assert "nothing left" not in capsys.readouterr().out
    assert (launcher(*words), launcher.trained) == (0, 2)
    assert "and trainer.total_epochs=30 ends there" in capsys.readouterr().out


def test_a_folder_without_its_options_is_a_warning(launcher: Launcher, capsys: pytest.CaptureFixture[str]) -> None:
    launcher.saves = 25
    assert launcher() == 0
    (launcher.run_dir / "config.yaml").unlink()
    capsys.readouterr()
    assert (launcher(), launcher.trained) == (0, 2)
    assert "warning: run_dir=" in capsys.readouterr().err
    shutil.rmtree(launcher.run_dir / "checkpoints")
    assert launcher() == 0
    assert "warning: run_dir=" not in capsys.readouterr().err
