"""The quickstart's last step: the trained model's evaluation, and its place in the report."""

import json
from pathlib import Path

import pytest

from treepo.config import ConfigError
from treepo.config.load import compose
from treepo.evaluation.config import compose_evaluation, settle, talk_options, tree_options
from treepo.quickstart.report import _evaluation
from treepo.quickstart.run import QUICKSTART, check, evaluation_command


def test_the_evaluation_has_the_trainings_lengths_and_trees(tmp_path: Path) -> None:
    training = compose("cpu_quickstart", ["treepo.segment_length=16", "treepo.max_depth=10"])
    command = evaluation_command(training, tmp_path / "run", tmp_path / "held_out.parquet", seed=3)
    assert command[command.index("--preset") + 1] == "quickstart"
    config = compose_evaluation("quickstart", [word for word in command if "=" in word])
    options = settle(config)
    assert (options.prompt_length, options.response_length) == (96, 160)
    assert (options.seed, options.model) == (3, str(tmp_path / "run/checkpoints"))
    assert options.samplings == ("independent", "tree d=2", "tree d=4")
    trees = tree_options(config, options).values()
    assert {(tree.segment_length, tree.max_depth) for tree in trees} == {(16, 10)}
    assert config.run_dir == str(tmp_path / "run/evaluation")


def test_the_evaluation_has_the_trainings_environment(tmp_path: Path) -> None:
    environment = ["treepo.environment.name=recipe.calculator.calculator:Calculator", "treepo.environment.fork=fork"]
    command = evaluation_command(compose("cpu_quickstart", environment), tmp_path, tmp_path / "held_out", seed=0)
    options = talk_options(compose_evaluation("quickstart", [word for word in command if "=" in word]))
    assert options is not None
    assert (options.environment.fork, options.environment.max_steps) == ("fork", None)


def test_a_training_that_saves_nothing_is_refused_before_it_starts() -> None:
    with pytest.raises(ConfigError, match=r"trainer.save_freq below 1 is refused here"):
        check(QUICKSTART, ["trainer.save_freq=-1"])


def test_the_report_shows_the_samplings_side_by_side_and_links_to_the_evaluation(tmp_path: Path) -> None:
    folder = tmp_path / "evaluation"
    folder.mkdir()
    independent = {
        "sampling": "independent",
        "overall": {"value": 0.5, "low": 0.4, "high": 0.6},
        "hours_saved": None,
        "generated_ratio": None,
        "length_ratio": None,
    }
    tree = {**independent, "sampling": "tree d=2", "hours_saved": 0.25, "generated_ratio": 0.7, "length_ratio": 1.1}
    results = {"plan": {"samples": 8}, "arms": [independent, tree]}
    (folder / "results.json").write_text(json.dumps(results))
    text = "\n".join(_evaluation(folder, tmp_path))
    assert "| independent | 50.0% |  |  |  |" in text
    assert "| tree d=2 | 50.0% | 25.0% | 0.700 | 1.100 |" in text
    assert "[report.html](evaluation/report.html)" in text
