"""Who answers the turns: one environment or verl's tools, and what goes with neither."""

from collections.abc import Iterator

from treepo.config import ConfigError
from treepo.config.policies import TOOL_AGENT, CutPosition, RolloutBackend
from treepo.start.declared import Start, reads
from treepo.verl.tool_checks import tool_problem

SINGLE_TURN = "single_turn_agent"
_ROLLOUT = "actor_rollout_ref.rollout"
_LOOP = f"{_ROLLOUT}.agent.default_agent_loop"
_ROWS = ("data.train_files", "data.val_files", "data.custom_cls")


@reads(_LOOP)
def agent_loop(start: Start) -> None:
    """Refuses an agent loop of the user's: training prompts become trees."""
    loop = start.config.actor_rollout_ref.rollout.agent.default_agent_loop
    if loop not in (SINGLE_TURN, TOOL_AGENT):
        raise ConfigError(
            f"{_LOOP}={loop} is refused: training prompts become trees, which no other agent loop grows; set it to "
            f"{SINGLE_TURN}, or to {TOOL_AGENT} for verl's tools"
        )


@reads(*_ROWS)
def agent_loops_of_rows(start: Start) -> None:
    """Refuses rows that ask for an agent loop that no tree takes the place of."""
    for what, agent in _agents(start):
        if agent not in (SINGLE_TURN, TOOL_AGENT):
            raise ConfigError(
                f"{what} asks for the agent loop {agent} (agent_name): training prompts become trees; leave the column "
                f"out, or write {SINGLE_TURN}, or {TOOL_AGENT} for verl's tools"
            )


@reads("treepo", *_ROWS, _LOOP, f"{_ROLLOUT}.multi_turn")
def turns(start: Start) -> None:
    """Refuses turns that nobody answers, that two answer, or whose tools cannot be used."""
    rollout, name = start.config.actor_rollout_ref.rollout, start.options.environment.name
    tools = [f"agent_name={TOOL_AGENT} ({what})" for what, agent in _agents(start) if agent == TOOL_AGENT]
    if rollout.agent.default_agent_loop == TOOL_AGENT:
        tools = [f"{_LOOP}={TOOL_AGENT}"]
    if name is None and not tools:
        if rollout.multi_turn.enable:
            raise ConfigError(
                f"{_ROLLOUT}.multi_turn.enable=true is refused: nothing answers the model's turns; set {_LOOP}="
                f"{TOOL_AGENT} for verl's tools, or treepo.environment.name, or set it to false"
            )
        return
    longest = rollout.multi_turn.max_tool_response_length
    if longest < 1:
        raise ConfigError(
            f"{_ROLLOUT}.multi_turn.max_tool_response_length={longest} is refused: nothing of an answer would be left; "
            "raise it"
        )
    if tools:
        _check_tools(start, tools[0])


def _check_tools(start: Start, wanted: str) -> None:
    options = start.options
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
    problem = tool_problem(start.config.actor_rollout_ref.rollout.multi_turn)
    if problem is not None:
        raise ConfigError(problem)


def _agents(start: Start) -> Iterator[tuple[str, str]]:
    """The agent loops that rows ask for, each with the first such row."""
    for table in (*start.training_tables, *start.validation_tables):
        seen: set[str] = set()
        for row, agent in enumerate(table.column("agent_name")):
            if agent is not None and agent not in seen:
                seen.add(agent)
                yield f"{table.option}: {table.path} row {row}", agent
