"""Composition: presets, overrides, and one clear line for each that is refused."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from training_run import ROOT

from treepo.config import ConfigError
from treepo.config import load as compose_module
from treepo.config.load import CONFIG_DIR, compose, tree_options
from treepo.config.presets import find_presets

PRESETS = sorted(path.stem for path in CONFIG_DIR.glob("*.yaml"))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_composes_and_its_options_are_valid(preset: str) -> None:
    config = compose(preset, [])
    assert tree_options(config).width == config.actor_rollout_ref.rollout.n


def test_the_overrides_of_the_readme_reach_the_typed_tree_options() -> None:
    config = compose("cpu_quickstart", ["treepo.max_divergence=3", "treepo.segment_length=16"])
    assert tree_options(config).max_divergence == 3
    assert tree_options(config).segment_length == 16


def test_width_sets_the_rows_per_prompt_of_verl() -> None:
    assert compose("cpu_quickstart", ["treepo.width=5"]).actor_rollout_ref.rollout.n == 5


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("treepo.widht=3", "treepo.widht is not an option; did you mean treepo.width?"),
        ("treepo.fallback.cutt=none", "treepo.fallback.cutt is not an option; did you mean treepo.fallback.cut?"),
        ("data.trian_files=x", "data.trian_files is not an option; did you mean data.train_files?"),
        ("treepo.segment_length", "'treepo.segment_length' is not an override; write option=value"),
        ("width=3", "width is not an option; did you mean treepo.width?"),
        ("lr=1e-6", "lr is not an option; did you mean actor_rollout_ref.actor.optim.lr or critic.optim.lr?"),
        ("nonsense=3", "nonsense is not an option; options stand in groups, as in treepo.width=8"),
        ("nonsense.width=3", "nonsense.width is not an option; options stand in groups, as in treepo.width=8"),
        ("data.entirely_new=3", "data.entirely_new is not an option; to add it all the same, write +data.entirely_new"),
    ],
)
def test_a_misspelt_override_is_one_line_with_a_remedy(override: str, line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose("cpu_quickstart", [override])
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("word", ["preset={}", "+preset={}", "config_name={}", "++config-name={}", "{}"])
def test_a_preset_that_is_typed_as_an_option_gets_the_words_that_choose_it(word: str) -> None:
    typed = word.format("qwen2_5_7b")
    with pytest.raises(ConfigError) as refused:
        compose("cpu_quickstart", ["treepo.width=4", typed])
    assert str(refused.value) == f"{typed} is not an option; to choose the preset write --preset qwen2_5_7b"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("treepo.width=1", "treepo.width=1 is refused"),
        ("treepo.segment_length=0", "treepo.segment_length=0 is refused"),
        ("treepo.segment_length=-4", "treepo.segment_length=-4 is refused"),
        ("treepo.fallback.candidates=newest", "treepo.fallback.candidates='newest' is refused"),
        ("treepo.max_divergence=99", "treepo.max_divergence=99"),
        ("+treepo.widht=3", "treepo.widht is not an option; did you mean treepo.width?"),
    ],
)
def test_a_value_out_of_range_is_one_line_that_names_the_option(override: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        tree_options(compose("cpu_quickstart", [override]))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_preset_names_those_that_exist() -> None:
    with pytest.raises(ConfigError, match="cpu_quikstart is not a preset; there are: cpu_quickstart"):
        compose("cpu_quikstart", [])


def test_our_presets_are_found_beside_a_folder_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "platform").mkdir()
    (tmp_path / "platform/mine.yaml").write_text("# @package _global_\ntreepo:\n  width: 6\n")
    assert compose("cpu_quickstart", ["+platform=mine"], config_dir=tmp_path).treepo.width == 6
    with pytest.raises(ConfigError, match=r"--config-dir .*/nowhere is no folder"):
        compose("cpu_quickstart", [], config_dir=tmp_path / "nowhere")


def test_a_folder_of_ones_own_presets_builds_on_ours(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("defaults:\n  - cpu_quickstart\n  - _self_\ntreepo:\n  width: 6\n")
    config = compose("mine", ["treepo.max_depth=3"], config_dir=tmp_path)
    assert (config.treepo.width, config.treepo.max_depth, config.trainer.device) == (6, 3, "cpu")


# --- the installation


def test_without_verl_both_ways_to_install_it_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose_module, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as refused:
        compose("cpu_quickstart", [])
    line = str(refused.value)
    assert line.startswith("verl is not installed; ")
    assert "scripts/setup.sh" in line
    assert "bash scripts/setup.sh --gpu for accelerators" in line
    assert "\n" not in line


@pytest.mark.parametrize("version", ["0.8.2", "0.9", "0.9.0", "0.10.0", "1.9.0", "unknown"])
def test_another_verl_is_refused_with_the_range_of_the_docs(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose_module, "version", lambda name: version)
    with pytest.raises(
        ConfigError, match=rf"^verl {version} is refused: TreePO needs verl>=0\.9\.1,<0\.10; install it"
    ):
        compose("cpu_quickstart", [])
    assert "| verl | `>=0.9.1,<0.10` |" in (ROOT / "docs/verl.md").read_text()


@pytest.mark.parametrize("version", ["0.9.1", "0.9.2", "0.9.12.post1", "0.9.1+local"])
def test_every_verl_of_the_range_is_taken(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose_module, "version", lambda name: version)
    assert compose("cpu_quickstart", []).trainer.device == "cpu"


def test_a_source_tree_of_verl_without_a_version_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(compose_module, "version", missing)
    assert compose("cpu_quickstart", []).trainer.device == "cpu"


def test_a_package_without_its_presets_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose_module, "CONFIG_DIR", tmp_path / "configs")
    with pytest.raises(ConfigError, match=r"configs does not exist: .*install TreePO anew"):
        compose("cpu_quickstart", [], home=tmp_path / "configs")


def test_presets_in_the_package_win_over_a_folder_of_that_name_beside_it(tmp_path: Path) -> None:
    package = tmp_path / "treepo"
    (tmp_path / "configs").mkdir()
    assert find_presets(package) == tmp_path / "configs"
    (package / "configs").mkdir(parents=True)
    assert find_presets(package) == package / "configs"
