"""Options and presets of an evaluation: the published values, and one line for each mistake."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from treepo.config import ConfigError
from treepo.datasets.spec import catalogue
from treepo.evaluation.config import PRESETS_DIR, compose_evaluation, settle, tree_options
from treepo.evaluation.options import EvaluationConfig

ROLLOUT = "actor_rollout_ref.rollout"
PRESETS = sorted(path.stem for path in PRESETS_DIR.glob("*.yaml"))
PUBLISHED = {
    "evaluation.temperature": 0.6,
    "evaluation.top_p": 1.0,
    "evaluation.top_k": -1,
    "evaluation.n": 16,
    "evaluation.prompt_length": 2048,
    "evaluation.response_length": 16384,
    "evaluation.sampling": "independent",
    f"{ROLLOUT}.temperature": 0.6,
    f"{ROLLOUT}.top_p": 1.0,
    f"{ROLLOUT}.prompt_length": 2048,
    f"{ROLLOUT}.response_length": 16384,
    f"{ROLLOUT}.max_model_len": 2048 + 16384,
    f"{ROLLOUT}.load_format": "auto",
}
# In the order of the published table.
WEIGHTS = {"aime_2024": 30, "amc_2023": 83, "math_500": 500, "minerva_math": 272, "olympiad_bench": 675}


def settled(preset: str, *overrides: str) -> Any:
    config = compose_evaluation(preset, overrides)
    return config, settle(config)


@pytest.mark.parametrize(("option", "value"), PUBLISHED.items(), ids=str)
def test_the_preset_of_the_published_evaluation_holds_its_values(option: str, value: Any) -> None:
    assert OmegaConf.select(settled("avg16")[0], option) == value


def test_the_published_benchmarks_have_the_published_weights() -> None:
    sets = catalogue()
    assert {name: sets[name].published_weight for name in settled("avg16")[1].benchmarks} == WEIGHTS


def test_the_second_preset_differs_in_the_samples_alone() -> None:
    first, second = settled("avg16")[1], settled("avg32")[1]
    assert second == first.model_copy(update={"n": 32})


def test_the_current_benchmarks_are_the_contests_since_2025() -> None:
    sets = catalogue()
    newest = {name for name, spec in sets.items() if spec.year is not None and spec.year >= 2025}
    assert {*settled("current")[1].benchmarks, "apex_2025"} == newest


def test_the_long_preset_asks_the_same_with_more_room_for_samples_and_trees() -> None:
    config, options = settled("current_32k", "evaluation.sampling=tree")
    short = settled("current", "evaluation.sampling=tree")[1]
    assert options == short.model_copy(update={"response_length": 32768, "top_p": 0.95})
    assert config.actor_rollout_ref.rollout.max_model_len == 2048 + 32768
    assert [tree.max_depth * tree.segment_length for tree in tree_options(config, options).values()] == [32768]


def test_sixty_four_samples_are_of_four_seeds() -> None:
    options = settled("avg64")[1]
    assert (options.n, options.seeds, options.samples) == (16, 4, 64)


def test_trees_of_the_published_preset_reach_the_longest_response() -> None:
    config, options = settled("avg16", "evaluation.sampling=tree", "evaluation.divergences=[2,4]")
    trees = tree_options(config, options)
    assert list(trees) == ["tree d=2", "tree d=4"]
    assert [tree.max_divergence for tree in trees.values()] == [2, 4]
    assert {(tree.width, tree.max_depth * tree.segment_length) for tree in trees.values()} == {(16, 16384)}


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "base"])
def test_every_preset_is_valid_with_trees(preset: str) -> None:
    config, options = settled(preset, "evaluation.sampling=both", "evaluation.data_parallel_size=1")
    assert options.samplings[0] == "independent"
    assert len(tree_options(config, options)) == len(options.divergences)
    assert config.actor_rollout_ref.rollout.n_gpus_per_node == 1


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["evaluation.tempature=1"], "evaluation.tempature is not an option; did you mean evaluation.temperature?"),
        (["+evaluation.tempature=1"], "evaluation.tempature is not an option; did you mean evaluation.temperature?"),
        (["treepo.segment_lenght=3"], "treepo.segment_lenght is not an option; did you mean treepo.segment_length?"),
        (["treepo.width=3"], "treepo.width is not an option"),
        (["treepo.advantage.include_root=true"], "treepo.advantage.include_root is not an option"),
        (["data.train_files=[x]"], "data.train_files is not an option"),
        (["evaluation.n=0"], "evaluation.n=0 is refused: must be greater than or equal to 1"),
        (["evaluation.seeds=0"], "evaluation.seeds=0 is refused: must be greater than or equal to 1"),
        (["evaluation.n=some"], "evaluation.n='some' is refused"),
        (["evaluation.temperature=-1"], "evaluation.temperature=-1 is refused"),
        (["evaluation.loggers=[wandbb]"], "evaluation.loggers=['wandbb'] is refused: wandbb is none of wandb, tens"),
        (["evaluation.deterministic=true", "evaluation.seeded_requests=false"], "evaluation.deterministic=true is"),
        ([f"{ROLLOUT}.full_determinism=true"], f"{ROLLOUT}.full_determinism=True is refused: it follows evaluation.d"),
        (["evaluation.top_k=0"], "evaluation.top_k=0 is refused: give at least 1, or -1"),
        (["evaluation.sampling=trees"], "evaluation.sampling='trees' is refused: must be 'independent', 'tree' or"),
        (["evaluation.model=''"], "evaluation.model is empty; set it"),
        (["evaluation.benchmarks=[]"], "evaluation.benchmarks is empty; set it"),
        (["evaluation.sampling=tree", "evaluation.n=1"], "evaluation.n=1 is refused: a tree has at least 2 samples"),
        (["evaluation.sampling=tree", "evaluation.divergences=[17]"], "evaluation.divergences=[17] is refused"),
        (["evaluation.sampling=tree", "evaluation.divergences=[2,2]"], "evaluation.divergences=[2, 2] has one of them"),
        (["evaluation.sampling=tree", "treepo.segment_length=0"], "treepo.segment_length=0 is refused"),
        (["evaluation.sampling=tree", "treepo.fallback.cut=none"], "treepo.fallback.cut=none is refused"),
        (["evaluation.data_parallel_size=9"], "evaluation.data_parallel_size=9 x evaluation.tensor_parallel_size=1"),
        (["evaluation.tensor_parallel_size=3"], "evaluation.tensor_parallel_size=3 is refused"),
        ([f"{ROLLOUT}.max_model_len=4096"], f"{ROLLOUT}.max_model_len=4096 is refused"),
        ([f"{ROLLOUT}.temperature=1.0"], f"{ROLLOUT}.temperature=1.0 is refused: it follows evaluation.temperature"),
        ([f"{ROLLOUT}.n_gpus_per_node=3"], f"{ROLLOUT}.n_gpus_per_node=3 is refused: it follows"),
        (["run_dir=''"], "run_dir is empty"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_option(overrides: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        tree_options(*settled("avg16", *overrides))
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


def test_servers_take_the_accelerators_that_they_need() -> None:
    def per_node(*overrides: str) -> int:
        return settled("avg16", *overrides)[0].actor_rollout_ref.rollout.n_gpus_per_node

    assert per_node() == 8
    assert per_node("evaluation.tensor_parallel_size=2", "evaluation.data_parallel_size=3") == 6
    assert per_node("evaluation.nodes=2", "evaluation.data_parallel_size=4") == 2
    assert per_node("evaluation.nodes=2", "evaluation.tensor_parallel_size=16") == 8


def test_settling_twice_changes_nothing() -> None:
    config, options = settled("avg16", "evaluation.data_parallel_size=2")
    assert settle(config) == options


def test_a_preset_of_ones_own_builds_on_ours(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("defaults:\n  - avg16\n  - _self_\nevaluation:\n  n: 4\n")
    config = compose_evaluation("mine", ["evaluation.seed=3"], config_dir=tmp_path)
    assert (config.evaluation.n, config.evaluation.seed, config.evaluation.temperature) == (4, 3, 0.6)
    presets = "avg16, avg32, avg64, base, current, current_32k, mine"
    with pytest.raises(ConfigError, match=f"cpu_quickstart is not a preset; there are: {presets}"):
        compose_evaluation("cpu_quickstart", [], config_dir=tmp_path)


def test_every_option_has_a_meaning() -> None:
    assert all(field.description for field in EvaluationConfig.model_fields.values())
