"""Who answers the turns is settled before any process starts: one line for what cannot work."""

from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import DictConfig, OmegaConf
from start_checks import run_checks
from tiny_stack import compose_tiny, write_tiny_model
from training_run import write_sums

from treepo.config import ConfigError
from treepo.config.load import tree_options
from treepo.start import data, environment
from treepo.verl.rollout.backend import backend

MULTI_TURN = "actor_rollout_ref.rollout.multi_turn"
TOOL_AGENT = "actor_rollout_ref.rollout.agent.default_agent_loop=tool_agent"
TOOL = '''
from verl.tools.function_tool import function_tool
from verl.tools.schemas import ToolResponse

@function_tool
def {name}(number: int) -> str:
    """Says a number.

    Args:
        number: It.
    """
    return str(number)
'''
PICTURE = "ToolResponse(image=[number], text='a picture')"
PAINTERS = f"""
from verl.tools import schemas
from verl.tools.base_tool import BaseTool

class Painter(BaseTool):
    async def execute(self, instance_id, parameters, **kwargs):
        return schemas.{PICTURE.replace("number", "1")}, 0.0, {{}}

class Heir(Painter):
    pass

class Writer(BaseTool):
    async def execute(self, instance_id, parameters, **kwargs):
        return schemas.ToolResponse(image=None, text="words"), 0.0, {{}}
"""
TOOL_CONFIG = """
tools:
  - class_name: painters.{name}
    config: {{type: native}}
    tool_schema:
      type: function
      function: {{name: paint, description: Paints., parameters: {{type: object, properties: {{}}}}}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("turns")
    write_tiny_model(folder / "model")
    write_sums(folder / "text.parquet", 4, seed=0)
    (folder / "said.py").write_text(TOOL.format(name="say"))
    (folder / "none.py").write_text("x = 1\n")
    (folder / "broken.py").write_text("raise RuntimeError('no\\nway')\n")
    (folder / "drawn.py").write_text(TOOL.format(name="sketch").replace("str(number)", PICTURE))
    (folder / "painters.py").write_text(PAINTERS)
    for name in ("Painter", "Heir", "Writer"):
        (folder / f"{name}.yaml").write_text(TOOL_CONFIG.format(name=name))
    return folder


@pytest.fixture(scope="module")
def base(folder: Path) -> DictConfig:
    files = [f"data.{name}=[{folder / 'text.parquet'}]" for name in ("train_files", "val_files")]
    return compose_tiny(folder / "model", files)


def composed(base: DictConfig, *overrides: str) -> Any:
    return OmegaConf.merge(base, OmegaConf.from_dotlist(list(overrides)))


def refused(config: Any) -> str:
    with pytest.raises(ConfigError) as error:
        run_checks(config, environment)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_environment_and_tools_pass_and_grow_outside_of_the_engine(base: DictConfig, folder: Path) -> None:
    tools = [TOOL_AGENT, f"{MULTI_TURN}.function_tool_path={folder / 'said.py'}", f"{MULTI_TURN}.enable=true"]
    for overrides in (["treepo.environment.name=turn_scenes:Adder"], tools):
        config = composed(base, *overrides)
        run_checks(config, environment)
        assert backend(config, tree_options(config)) == "portable"
    assert backend(base, tree_options(base)) == "in_engine"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([TOOL_AGENT], f"{MULTI_TURN}.tool_config_path and .function_tool_path are empty"),
        ([TOOL_AGENT, f"{MULTI_TURN}.format=hermse"], "did you mean hermes?"),
        ([TOOL_AGENT, f"{MULTI_TURN}.format=x"], "verl has no such parser of tool calls; verl knows "),
        ([TOOL_AGENT, "TOOLS=absent.py"], "is refused: FileNotFoundError: "),
        ([TOOL_AGENT, "TOOLS=none.py"], "decorate a function with verl's @function_tool"),
        ([TOOL_AGENT, "TOOLS=broken.py"], "is refused: RuntimeError: no way"),
        ([TOOL_AGENT, "TOOLS=drawn.py"], "drawn.py is refused: tool sketch answers with a picture or a film"),
        ([TOOL_AGENT, "CONFIG=Painter.yaml"], "Painter.yaml is refused: tool paint answers with a picture or a film"),
        ([TOOL_AGENT, "CONFIG=Heir.yaml"], "let it answer with text, or leave it out of the file"),
        ([TOOL_AGENT, "treepo.environment.name=turn_scenes:Adder"], "a turn has one answer"),
        ([TOOL_AGENT, "treepo.rollout.backend=in_engine"], "every turn is a request of its own"),
        ([TOOL_AGENT, "treepo.fallback.window=8"], "treepo.fallback.window=8 is refused with "),
        (
            [TOOL_AGENT, "treepo.fallback.cut=block", "treepo.fallback.block_size=8"],
            "set treepo.fallback.cut=lowest_logprob",
        ),
        ([TOOL_AGENT, f"{MULTI_TURN}.max_tool_response_length=0"], "nothing of an answer would be left"),
        ([f"{MULTI_TURN}.enable=true"], "nothing answers the model's turns"),
    ],
)
def test_what_cannot_work_is_one_line(
    base: DictConfig, folder: Path, overrides: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(folder)
    assert words in refused(composed(base, *named(folder, *overrides)))


def test_a_tool_that_answers_with_text_passes(base: DictConfig, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    run_checks(composed(base, *named(folder, TOOL_AGENT, "CONFIG=Writer.yaml")), environment)


def named(folder: Path, *overrides: str) -> list[str]:
    files = {
        "TOOLS=": f"{MULTI_TURN}.function_tool_path={folder}/",
        "CONFIG=": f"{MULTI_TURN}.tool_config_path={folder}/",
    }
    return [reduce(lambda text, name: text.replace(name, files[name]), files, override) for override in overrides]


def test_pictures_to_validate_on_are_refused_where_the_validation_talks(base: DictConfig, folder: Path) -> None:
    table = pq.read_table(folder / "text.parquet")
    path = folder / "pictures.parquet"
    pq.write_table(table.append_column("images", pa.array([None] * 3 + [["a.png"]])), path)
    config = composed(base, f"data.val_files=[{path}]", "data.train_batch_size=4")
    # verl's own loop validates.
    run_checks(config, data)
    with pytest.raises(
        ConfigError, match=r"data.val_files: .* row 3 has images \(data.image_key\): trees grow from text"
    ):
        run_checks(composed(config, "treepo.environment.name=turn_scenes:Adder"), data)


def test_rows_that_ask_for_tools_need_them_in_validation_too(base: DictConfig, folder: Path) -> None:
    table = pq.read_table(folder / "text.parquet")
    path = folder / "agents.parquet"
    pq.write_table(table.append_column("agent_name", pa.array(["single_turn_agent"] * 2 + ["tool_agent"] * 2)), path)
    for option in ("train_files", "val_files"):
        config = OmegaConf.merge(base, {"data": {option: [str(path)]}})
        assert "has no tool to call" in refused(config)
        said = refused(OmegaConf.merge(config, {"treepo": {"environment": {"name": "turn_scenes:Adder"}}}))
        assert f"is refused with agent_name=tool_agent (data.{option}: {path} row 2)" in said
