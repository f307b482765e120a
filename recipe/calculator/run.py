"""The example from its options to its report, by the parts of the quickstart."""

from pathlib import Path
from typing import TYPE_CHECKING

from treepo.quickstart.run import Example, console

if TYPE_CHECKING:
    from treepo.quickstart.prepare import Prepared

HERE = Path(__file__).resolve().parent
PRESET = "calculator"
TOOLS = (
    "treepo.environment.name=null",
    "actor_rollout_ref.rollout.agent.default_agent_loop=tool_agent",
    f"actor_rollout_ref.rollout.multi_turn.function_tool_path={HERE / 'tool.py'}",
)
"""What makes the calculator a tool of verl's."""


def example(*, tools: bool) -> Example:
    """What is trained.

    Args:
        tools: Whether the calculator is a tool of verl's.
    """

    def prepare(folder: Path) -> "Prepared":
        from recipe.calculator.lessons import Talks, TalkSettings
        from treepo.quickstart.prepare import prepare

        # Apart, as the model is known to the preset by one name.
        lessons = Talks(TalkSettings(tools=tools))
        return prepare(folder / "tools" if tools else folder, console=console, lessons=lessons)

    return Example(
        preset=PRESET,
        config_dir=HERE,
        prepare=prepare,
        overrides=TOOLS if tools else (),
        usual=("minutes, at once when cached", "1 to 2 minutes of start-up, then minutes", "minutes"),
    )
