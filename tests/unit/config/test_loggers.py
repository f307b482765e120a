"""Whatever logger of verl is chosen, it writes into the run's folder, unless the user's environment says where."""

import re

import pytest

from treepo.config.load import compose, resolve

PLACES = {
    "TENSORBOARD_DIR": r"/runs/a b,c/tensorboard",
    "VERL_FILE_LOGGER_PATH": r"/runs/a b,c/metrics-\d{8}-\d{6}\.jsonl",
    "WANDB_DIR": r"/runs/a b,c",
    "SWANLAB_LOG_DIR": r"/runs/a b,c/swanlog",
    "TRACKIO_DIR": r"/runs/a b,c/trackio",
    "MLFLOW_TRACKING_URI": r"sqlite:////runs/a b,c/mlflow\.db",
}
# The quickstart's report reads the run's own.
FIXED = {"TENSORBOARD_DIR"}


def variables() -> dict[str, str]:
    config = compose("treepo_trainer", ["run_dir='/runs/a b,c'"])
    resolve(config)
    return dict(config.ray_kwargs.ray_init.runtime_env.env_vars)


@pytest.mark.parametrize("name", PLACES)
def test_a_logger_writes_into_the_runs_folder(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name, raising=False)
    assert re.fullmatch(PLACES[name], variables()[name])


@pytest.mark.parametrize("name", sorted(set(PLACES) - FIXED))
def test_the_users_environment_wins(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/own/a,b x:y")
    assert variables()[name] == "/own/a,b x:y"


def test_the_report_finds_the_scalars_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORBOARD_DIR", "/own")
    assert re.fullmatch(PLACES["TENSORBOARD_DIR"], variables()["TENSORBOARD_DIR"])
