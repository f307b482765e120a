"""The learning benchmark's arms: each composes, differs in what it says, and can be asked for on the command line."""

import dataclasses
from pathlib import Path

import pytest
from learning_runs import result
from tiny_stack import write_tiny_model
from training_run import write_sums
from typer.testing import CliRunner

from benchmarks.learning import __main__ as command_line
from benchmarks.learning import results, study
from treepo.config import ConfigError
from treepo.config.load import compose, resolve, tree_options
from treepo.start.checks import check


@pytest.mark.parametrize("name", study.ARMS)
def test_every_arm_composes_and_passes_the_checks_before_the_start(name: str, tmp_path: Path) -> None:
    model, table = write_tiny_model(tmp_path / "model"), write_sums(tmp_path / "sums.parquet", 1024, seed=0)
    paths = [
        f"actor_rollout_ref.model.path={model}",
        f"data.train_files=[{table}]",
        f"data.val_files=[{table}]",
        f"run_dir={tmp_path / 'run'}",
    ]
    arm = study.ARMS[name]
    overrides = [*study.arm_overrides(arm, steps=20), *study.seed_overrides(3), *paths]
    config = compose(study.PRESET, overrides)
    resolve(config)
    assert check(config) == []
    options = tree_options(config)
    assert (options.seed, config.data.seed, config.actor_rollout_ref.rollout.seed) == (3, 3, 3)
    assert config.trainer.total_training_steps == 20
    independent = config.actor_rollout_ref.rollout.agent.agent_loop_manager_class is None
    assert independent == (arm.sampling is study.Sampling.INDEPENDENT)
    assert config.actor_rollout_ref.rollout.n == options.width
    assert config.data.max_response_length >= study.WARM_START.response_length


def test_the_arms_are_those_that_the_comparison_asks_for() -> None:
    assert study.MAIN == ("grpo", "tree_grpo", "treepo", "treepo_segment", "treepo_spo", "treepo_branch_weights")
    independent = [arm.name for arm in study.ARMS.values() if arm.sampling is study.Sampling.INDEPENDENT]
    assert independent == ["grpo"]
    assert all(set(arm.against) <= set(study.ARMS) - {arm.name} for arm in study.ARMS.values())
    # Credit alone differs, or the weights of the means alone.
    assert all("tree_grpo" in study.ARMS[name].against for name in ("treepo", "treepo_segment", "treepo_spo"))
    assert "treepo" in study.ARMS["treepo_branch_weights"].against


def test_an_ablation_changes_what_its_name_says() -> None:
    def options(name: str):
        return tree_options(compose(study.PRESET, study.arm_overrides(study.ARMS[name], steps=10)))

    base = options("treepo").model_dump()
    changed = {}
    for name in study.ABLATIONS:
        own = options(name).model_dump()
        changed[name] = {key for key, value in own.items() if value != base[key]}
    assert changed == {
        "size_weighting": {"advantage"},
        "rejection": {"advantage"},
        "no_root": {"advantage"},
        "no_initial_divergence": {"initial_divergence"},
        "aligned_cuts": {"max_divergence", "divergence"},
        "misaligned_cuts": {"max_divergence", "divergence", "fallback"},
    }
    window, segment = options("misaligned_cuts").fallback.window, options("misaligned_cuts").segment_length
    assert window is not None
    longest = study.WARM_START.response_length
    assert not set(range(window, longest, window)) & set(range(segment, longest, segment))


def test_a_fingerprint_names_the_configuration() -> None:
    treepo = study.ARMS["treepo"]
    prints = [study.fingerprint(arm, steps=40) for arm in study.ARMS.values()]
    assert len(set(prints)) == len(prints)
    assert study.study_fingerprint(steps=40) != study.study_fingerprint(steps=20)
    assert study.fingerprint(treepo, steps=40) == study.fingerprint(treepo, steps=40)
    assert study.fingerprint(treepo, steps=20) != study.fingerprint(treepo, steps=40)
    for more, same in (("treepo.width=4", False), ("ray_kwargs.ray_init.num_cpus=3", True)):
        other = dataclasses.replace(treepo, overrides=(*treepo.overrides, more))
        assert (study.fingerprint(other, steps=40) == study.fingerprint(treepo, steps=40)) is same


@pytest.mark.parametrize("steps", [0, 15])
def test_a_last_step_without_validation_is_refused(steps: int) -> None:
    with pytest.raises(ConfigError, match=f"--steps {steps} is refused: it must be a multiple of 10"):
        study.arm_overrides(study.ARMS["grpo"], steps=steps)


def test_a_dry_run_lists_what_is_missing(tmp_path: Path) -> None:
    grpo = study.fingerprint(study.ARMS["grpo"], steps=20)
    results.save(tmp_path, result("grpo", 0, fingerprint=grpo))
    arguments = ["run", "--arms", "grpo,treepo", "--seeds", "2", "--steps", "20", "--results", str(tmp_path)]
    said = CliRunner().invoke(command_line.app, [*arguments, "--dry-run"])
    assert said.exit_code == 0
    names = said.output.split("\n")
    assert [name.rsplit("-", 1)[0] for name in names[:3]] == ["treepo-seed0", "grpo-seed1", "treepo-seed1"]
    assert names[3] == "3 of 4 runs are missing"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--arms", "grpo,dpo"], "error: --arms dpo is not an arm; there are: grpo, tree_grpo"),
        (["--steps", "7"], "error: --steps 7 is refused"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line(arguments: list[str], line: str) -> None:
    said = CliRunner().invoke(command_line.app, ["run", *arguments, "--dry-run"])
    assert said.exit_code == 2
    assert said.output.startswith(line)
    assert said.output.count("\n") == 1


def test_without_a_command_everything_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(command_line, "run", lambda: ran.append("run"))
    assert CliRunner().invoke(command_line.app, []).exit_code == 0
    assert ran == ["run"]
    assert CliRunner().invoke(command_line.app, ["arms"]).output.count("\n") == len(study.ARMS)
    assert ran == ["run"]
