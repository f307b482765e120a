"""Whatever characters a path has, Hydra reads it as it was written."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from treepo.config.load import compose, hydra_quote

AWKWARD = [
    "größe",
    "模型",
    "a (1)",
    "bob's",
    'x"y"',
    "lr=1e-6",
    "a,b",
    "[x]",
    "{x}",
    "100%#",
    "back\\slash",
    "~x",
    "a:b",
]


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs"]), min_size=1), min_size=1, max_size=3))
def test_a_list_of_any_texts_comes_back(texts: list[str]) -> None:
    override = OverridesParser.create().parse_override(f"key=[{','.join(map(hydra_quote, texts))}]")
    assert override.value() == texts


@pytest.mark.parametrize("name", AWKWARD)
def test_presets_in_a_folder_of_any_name_are_found(name: str, tmp_path: Path) -> None:
    home = tmp_path / name
    home.mkdir()
    (home / "preset.yaml").write_text("place: null\n")
    file = hydra_quote(str(home / "data.parquet"))
    config = compose("preset", [f"place={file}"], home=home)
    assert OmegaConf.to_container(config) == {"place": str(home / "data.parquet")}
