"""Composition: presets, overrides, and one clear line for each that is refused."""

from pathlib import Path

import pytest

from treepo.compose import CONFIG_DIR, compose, tree_options
from treepo.config import ConfigError

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
    ],
)
def test_a_misspelt_override_is_one_line_with_a_remedy(override: str, line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose("cpu_quickstart", [override])
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


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


def test_a_folder_of_ones_own_presets_builds_on_ours(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("defaults:\n  - cpu_quickstart\n  - _self_\ntreepo:\n  width: 6\n")
    config = compose("mine", ["treepo.max_depth=3"], config_dir=tmp_path)
    assert (config.treepo.width, config.treepo.max_depth, config.trainer.device) == (6, 3, "cpu")
