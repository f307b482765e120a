"""Who answers the turns: one environment or verl's tools, and what goes with neither."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from omegaconf import DictConfig

from treepo.config import ConfigError, TreePOConfig
from treepo.config.policies import CutPosition, RolloutBackend
from treepo.datasets.parquet import column_values
from treepo.verl.rollout.backend import TOOL_AGENT
from treepo.verl.rollout.tool_checks import tool_problem

SINGLE_TURN = "single_turn_agent"
_ROLLOUT = "actor_rollout_ref.rollout"


def check_turns(config: DictConfig, options: TreePOConfig) -> None:
    """Checks what trees of turns are made of.

    Args:
        config: The whole configuration.
        options: TreePO's, whose environment was checked by itself.

    Raises:
        ConfigError: Something cannot work; the text is one line that names the option and the remedy.
    """
    rollout, name = config.actor_rollout_ref.rollout, options.environment.name
    loop = rollout.agent.default_agent_loop
    if loop not in (SINGLE_TURN, TOOL_AGENT):
        raise ConfigError(
            f"{_ROLLOUT}.agent.default_agent_loop={loop} is refused: training prompts become trees, which no other "
            f"agent loop grows; set it to {SINGLE_TURN}, or to {TOOL_AGENT} for verl's tools"
        )
    wants_tools = f"{_ROLLOUT}.agent.default_agent_loop={TOOL_AGENT}" if loop == TOOL_AGENT else None
    for what, agent in _agents(config):
        if agent not in (SINGLE_TURN, TOOL_AGENT):
            raise ConfigError(
                f"{what} asks for the agent loop {agent} (agent_name): training prompts become trees; leave the column "
                f"out, or write {SINGLE_TURN}, or {TOOL_AGENT} for verl's tools"
            )
        if agent == TOOL_AGENT and wants_tools is None:
            wants_tools = f"agent_name={TOOL_AGENT} ({what})"
    if name is None and wants_tools is None:
        if rollout.multi_turn.enable:
            raise ConfigError(
                f"{_ROLLOUT}.multi_turn.enable=true is refused: nothing answers the model's turns; set "
                f"{_ROLLOUT}.agent.default_agent_loop={TOOL_AGENT} for verl's tools, or treepo.environment.name, or "
                "set it to false"
            )
        return
    longest = rollout.multi_turn.max_tool_response_length
    if longest < 1:
        raise ConfigError(
            f"{_ROLLOUT}.multi_turn.max_tool_response_length={longest} is refused: nothing of an answer would be left; "
            "raise it"
        )
    if wants_tools is not None:
        _check_tools(config, options, wants_tools)


def _check_tools(config: DictConfig, options: TreePOConfig, wanted: str) -> None:
    if options.environment.name is not None:
        raise ConfigError(
            f"treepo.environment.name={options.environment.name} is refused with {wanted}: a turn has one answer; "
            "leave one of them out"
        )
    if options.rollout.backend is RolloutBackend.IN_ENGINE:
        raise ConfigError(
            f"treepo.rollout.backend=in_engine is refused with {wanted}: every turn is a request of its own; set it to "
            "portable or leave it null"
        )
    for option, given in (("window", options.fallback.window), ("block_size", options.fallback.block_size)):
        if given is not None:
            raise ConfigError(
                f"treepo.fallback.{option}={given} is refused with {wanted}: trees of turns are cut at the start of a "
                "turn; leave it null"
                + (", and set treepo.fallback.cut=lowest_logprob" if options.fallback.cut is CutPosition.BLOCK else "")
            )
    problem = tool_problem(config.actor_rollout_ref.rollout.multi_turn)
    if problem is not None:
        raise ConfigError(problem)


def _agents(config: DictConfig) -> Iterator[tuple[str, str]]:
    """The agent loops that rows ask for, each with the first such row."""
    for option in ("train_files", "val_files"):
        files = config.data[option]
        paths: Iterable[str] = [files] if isinstance(files, str) else files
        for path in paths:
            seen: set[str] = set()
            for row, agent in enumerate(column_values(Path(path).expanduser(), "agent_name")):
                if agent is not None and agent not in seen:
                    seen.add(agent)
                    yield f"data.{option}: {path} row {row}", agent
