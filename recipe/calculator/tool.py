"""The same calculator as a tool of verl's, for its agent loop ``tool_agent``."""

from verl.tools.function_tool import function_tool

from recipe.calculator.calculator import calculate as result_of


@function_tool
def calculate(expression: str) -> str:
    """Calculates a sum.

    Args:
        expression: Two numbers with + or - between them, as in 31 + 5.
    """
    return result_of(expression)
