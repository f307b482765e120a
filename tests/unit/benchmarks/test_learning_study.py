"""The learning benchmark's arms: each composes, differs in what it says, and can be asked for on the command line."""

import dataclasses
import random
from pathlib import Path

import pytest
from learning_runs import result
from tiny_stack import write_tiny_model
from training_run import write_sums
from typer.testing import CliRunner

from benchmarks.learning import __main__ as command_line
from benchmarks.learning import results, study
from benchmarks.learning.arms import ARMS, GROUPS, Group, Sampling
from benchmarks.learning.tasks import LONG, REMARKS, TASKS, WORDS, Task, find_task
from treepo.config import ConfigError
from treepo.config.load import compose, resolve, tree_options
from treepo.quickstart.lessons import IGNORED
from treepo.quickstart.task import held_out_chains
from treepo.quickstart.warm_start import build_tokenizer
from treepo.start.checks import check

CASES = [
    *((name, WORDS) for name in ARMS),
    # What a task sets is the same in every arm.
    *((name, LONG) for name in ("grpo", "grpo_packed_16", "branch_ramp_sqrt")),
]


@pytest.mark.parametrize(("name", "task"), CASES, ids=lambda value: getattr(value, "name", value))
def test_every_arm_composes_and_passes_the_checks_before_the_start(name: str, task: Task, tmp_path: Path) -> None:
    model, table = write_tiny_model(tmp_path / "model"), write_sums(tmp_path / "sums.parquet", 1024, seed=0)
    paths = [
        f"actor_rollout_ref.model.path={model}",
        f"data.train_files=[{table}]",
        f"data.val_files=[{table}]",
        f"run_dir={tmp_path / 'run'}",
    ]
    arm = ARMS[name]
    overrides = [*study.arm_overrides(arm, steps=20, task=task), *study.seed_overrides(3), *paths]
    config = compose(study.PRESET, overrides)
    resolve(config)
    assert check(config) == []
    options = tree_options(config)
    assert (options.seed, config.data.seed, config.actor_rollout_ref.rollout.seed) == (3, 3, 3)
    assert config.trainer.total_training_steps == 20
    independent = config.actor_rollout_ref.rollout.agent.agent_loop_manager_class is None
    assert independent == (arm.sampling is Sampling.INDEPENDENT)
    assert config.actor_rollout_ref.rollout.n == options.width
    assert config.data.max_response_length >= task.warm_start.response_length
    assert options.segment_length * options.max_depth >= config.data.max_response_length


def test_the_arms_are_those_that_the_comparison_asks_for() -> None:
    assert GROUPS[Group.MAIN] == (
        "grpo",
        "grpo_packed",
        "grpo_packed_16",
        "tree_grpo",
        "treepo",
        "branch",
        "branch_sqrt",
        "branch_ramp",
        "branch_ramp_sqrt",
    )
    independent = [arm.name for arm in ARMS.values() if arm.sampling is Sampling.INDEPENDENT]
    assert independent == ["grpo"]
    assert all(set(arm.against) <= set(ARMS) - {arm.name} for arm in ARMS.values())
    assert all("grpo_packed" in ARMS[name].against for name in (*GROUPS[Group.MAIN][2:], *GROUPS[Group.CREDITS]))
    assert all((arm.published is not None) is (arm.group is Group.ABLATIONS) for arm in ARMS.values())


@pytest.mark.parametrize(("name", "width"), [("grpo_packed", 8), ("grpo_packed_16", 16)])
def test_the_packed_baseline_is_a_tree_that_forks_at_the_prompt_alone(name: str, width: int) -> None:
    config = compose(study.PRESET, study.arm_overrides(ARMS[name], steps=10))
    options = tree_options(config)
    assert (options.width, options.initial_divergence, options.max_divergence) == (width, (width, width), 1)
    assert config.algorithm.adv_estimator == "grpo"
    assert options.packing.enabled is None


def test_a_task_has_its_own_model_results_and_fingerprints() -> None:
    prints = {study.fingerprint(ARMS["treepo"], steps=40, task=task) for task in TASKS.values()}
    models = {task.warm_start.key for task in TASKS.values()}
    places = {task.results for task in TASKS.values()}
    assert len(prints) == len(models) == len(places) == len(TASKS) == 2
    with pytest.raises(ConfigError, match="--task short is not a task; there are: words, long"):
        find_task("short")


@pytest.mark.parametrize("name", TASKS)
def test_runs_in_one_process_have_their_own_results_fingerprints_and_tables(name: str) -> None:
    whole, alone = find_task(name), find_task(name, in_process=True)
    assert alone.results.parent == whole.results
    assert not {*alone.markers} & {*whole.markers}
    assert study.fingerprint(ARMS["treepo"], steps=40, task=alone) != study.fingerprint(
        ARMS["treepo"], steps=40, task=whole
    )
    assert alone.warm_start is whole.warm_start


def test_a_long_beginning_is_read_by_nobody_and_learned_by_the_model(tmp_path: Path) -> None:
    settings = LONG.warm_start
    lessons = LONG.lessons(dataclasses.replace(settings, task=dataclasses.replace(settings.task, train=64)))
    tokenizer = build_tokenizer(lessons)
    chain = held_out_chains(settings.task)[0]
    tokens, labels = lessons.lesson(tokenizer, chain, random.Random(0))
    other, _ = lessons.lesson(tokenizer, chain, random.Random(1))
    prompt = labels.count(IGNORED)
    text = str(tokenizer.decode(tokens[prompt:], skip_special_tokens=True))
    remarks, _, worked = text.partition("Start:")
    said = remarks.splitlines()
    assert len(set(said)) == len(said) == 5
    assert set(said) <= set(REMARKS)
    assert worked.rstrip().endswith("}.")
    assert tokens[:prompt] == other[:prompt]
    assert tokens[prompt:] != other[prompt:]
    # The beginning is a third of the response or more, and the whole has room.
    assert len(tokenizer.encode(remarks)) >= len(tokens[prompt:]) / 4
    assert len(tokens) - prompt < settings.response_length
    assert {token for token in labels if token != IGNORED} <= set(tokens)


def test_an_ablation_changes_what_its_name_says() -> None:
    def options(name: str):
        return tree_options(compose(study.PRESET, study.arm_overrides(ARMS[name], steps=10)))

    base = options("treepo").model_dump()
    changed = {}
    for name in GROUPS[Group.ABLATIONS]:
        own = options(name).model_dump()
        changed[name] = {key for key, value in own.items() if value != base[key]}
    assert changed == {
        "size_weighting": {"advantage"},
        "rejection": {"advantage"},
        "no_root": {"advantage"},
        "no_initial_divergence": {"initial_divergence"},
        "aligned_cuts": {"max_divergence", "divergence"},
        "misaligned_cuts": {"max_divergence", "divergence", "fallback"},
        "low_probability": {"divergence"},
        "high_probability": {"divergence"},
    }
    window, segment = options("misaligned_cuts").fallback.window, options("misaligned_cuts").segment_length
    assert window is not None
    longest = WORDS.warm_start.response_length
    assert not set(range(window, longest, window)) & set(range(segment, longest, segment))


def test_a_fingerprint_names_the_configuration() -> None:
    treepo = ARMS["treepo"]
    prints = [study.fingerprint(arm, steps=40) for arm in ARMS.values()]
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
        study.arm_overrides(ARMS["grpo"], steps=steps)


def test_a_dry_run_lists_what_is_missing(tmp_path: Path) -> None:
    grpo = study.fingerprint(ARMS["grpo"], steps=20)
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
        (["--arms", "grpo,dpo"], "error: --arms dpo is not an arm; there are: grpo, grpo_packed"),
        (["--steps", "7"], "error: --steps 7 is refused"),
        (["--task", "short"], "error: --task short is not a task; there are: words, long"),
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
    assert CliRunner().invoke(command_line.app, ["arms"]).output.count("\n") == len(ARMS)
    assert ran == ["run"]


def test_verls_own_trainer_is_no_arm_in_one_process(tmp_path: Path) -> None:
    arguments = ["run", "--in-process", "--seeds", "1", "--results", str(tmp_path), "--dry-run"]
    said = CliRunner().invoke(command_line.app, [*arguments, "--arms", "grpo,treepo"])
    assert (said.exit_code, said.output.count("\n")) == (2, 1)
    assert "--arms grpo is refused with --in-process" in said.output
    listed = CliRunner().invoke(command_line.app, [*arguments, "--arms", "main"]).output
    assert "grpo_packed-seed0-" in listed
    assert "\ngrpo-seed0-" not in f"\n{listed}"
