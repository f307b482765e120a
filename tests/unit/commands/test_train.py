"""``treepo train`` from its command line to its exit status, with verl's training replaced."""

import shutil
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from ray.exceptions import RayTaskError
from tiny_stack import write_tiny_model
from training_run import write_sums

from treepo.commands import main
from treepo.start.checkpoints import NOTE
from treepo.verl.training.task_runner import TrainingError, run_training


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


class Command:
    """The command line, and a training that saves what it is told to."""

    def __init__(self, words: list[str], run_dir: Path) -> None:
        self.words, self.run_dir = [*words, f"run_dir={run_dir}"], run_dir
        self.saves, self.trained = 0, 0
        self.ends: BaseException | None = None

    def __call__(self, *words: str) -> int:
        return main(["train", "--preset", "cpu_quickstart", *self.words, *words])

    def train(self, config: DictConfig) -> None:
        self.trained += 1
        if self.ends is not None:
            raise self.ends
        # What is there when the training starts.
        assert OmegaConf.load(self.run_dir / "config.yaml") == config
        if self.saves:
            folder = self.run_dir / f"checkpoints/global_step_{self.saves}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder.parent / NOTE).write_text(str(self.saves))


@pytest.fixture
def command(files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    command = Command(files, tmp_path / "run")
    monkeypatch.setattr("treepo.verl.training.task_runner.run_training", command.train)
    # The process of the tests keeps its environment.
    monkeypatch.setattr("treepo.config.load.adopt_environment", lambda config: None)
    return command


def test_the_same_command_resumes_until_nothing_is_left(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    command.saves = 25
    assert (command(), command.trained) == (0, 1)
    command.saves = 50
    assert (command(), command.trained) == (0, 2)
    assert "nothing left" not in capsys.readouterr().out
    for words in ([], ["--check"]):
        assert (command(*words), command.trained) == (0, 2)
        lines = capsys.readouterr().out.splitlines()
        assert [line for line in lines if "nothing left to train" in line] == [
            f"nothing left to train: {command.run_dir}/checkpoints/global_step_50 is the checkpoint of step 50, and "
            "trainer.total_training_steps=50; raise it to continue, or give another run_dir"
        ]
    assert (command("trainer.total_training_steps=60"), command.trained) == (0, 3)


def test_another_run_in_the_folder_is_refused_and_leaves_the_first_one_as_it_was(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    command.saves = 50
    assert command() == 0
    before = (command.run_dir / "config.yaml").read_text()
    capsys.readouterr()
    for words in (["treepo.max_divergence=3"], ["treepo.max_divergence=3", "--check"]):
        assert (command(*words), command.trained) == (2, 1)
        error = capsys.readouterr().err
        assert error.startswith(f"error: run_dir={command.run_dir} is refused: the run there, at step 50, has other ")
        assert "treepo.max_divergence=2, now 3" in error
        assert error.count("\n") == 1
    assert (command.run_dir / "config.yaml").read_text() == before


@pytest.mark.parametrize("remedy", ["--accept-changes", "trainer.resume_mode=disable", "run_dir"])
def test_every_remedy_that_the_refusal_names_works(command: Command, remedy: str, tmp_path: Path) -> None:
    command.saves = 25
    assert command() == 0
    if remedy == "run_dir":
        command.run_dir = tmp_path / "another"
        remedy = f"run_dir={command.run_dir}"
    assert (command("treepo.max_divergence=3", remedy), command.trained) == (0, 2)


def test_a_run_whose_epochs_are_over_says_so_behind_the_training(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    command.saves = 30
    words = ("trainer.total_training_steps=null", "trainer.total_epochs=30")
    assert command(*words) == 0
    assert "nothing left" not in capsys.readouterr().out
    assert (command(*words), command.trained) == (0, 2)
    assert "and trainer.total_epochs=30 ends there" in capsys.readouterr().out


def test_a_folder_without_its_options_is_a_warning(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    command.saves = 25
    assert command() == 0
    (command.run_dir / "config.yaml").unlink()
    capsys.readouterr()
    assert (command(), command.trained) == (0, 2)
    assert "warning: run_dir=" in capsys.readouterr().err
    shutil.rmtree(command.run_dir / "checkpoints")
    assert command() == 0
    assert "warning: run_dir=" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ends", "status", "line"),
    [
        (
            TrainingError("ray says why"),
            1,
            "ray says why\nerror: training failed; the cause is printed above, logs are in ",
        ),
        (KeyboardInterrupt(), 130, "interrupted; the same command resumes from the last checkpoint in "),
    ],
)
def test_a_training_that_ends_early_says_how_in_status_and_last_line(
    ends: BaseException, status: int, line: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    command.ends = ends
    assert command() == status
    assert capsys.readouterr().err.endswith(f"{line}{command.run_dir}\n")


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (RayTaskError("run", "traceback", ValueError("cause")), TrainingError),
        # Ray's own handler of SIGTERM exits so.
        (SystemExit(15), KeyboardInterrupt),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (SystemExit(3), SystemExit),
    ],
)
def test_what_verl_ends_with_is_a_failure_an_interruption_or_its_own(
    raised: BaseException, expected: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []

    def run_ppo(config: DictConfig, task_runner_class: object) -> None:
        raise raised

    monkeypatch.setattr("treepo.verl.training.task_runner.run_ppo", run_ppo)
    monkeypatch.setattr("treepo.verl.training.task_runner.ray.shutdown", lambda: ended.append(True))
    with pytest.raises(expected):
        run_training(OmegaConf.create({}))
    assert ended == [True]
