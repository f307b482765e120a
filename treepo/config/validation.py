"""From plain options to the typed configuration, and what is said of those that are refused."""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from treepo.config.options import TreePOConfig
from treepo.config.suggestion import suggestion


class ConfigError(ValueError):
    """A refused option; its text is one line that names the option and the remedy."""


def load_config(options: Mapping[str, Any]) -> TreePOConfig:
    """Turns composed options into the typed configuration.

    Args:
        options: The plain content of the Hydra group ``treepo``.

    Returns:
        The validated, immutable configuration.

    Raises:
        ConfigError: An option is unknown, of the wrong type, out of range or contradicts another.
    """
    try:
        return TreePOConfig.model_validate(options)
    except ValidationError as error:
        raise ConfigError(_describe(error)) from error


def _describe(error: ValidationError) -> str:
    """The first problem as one line: option, value, what is allowed."""
    problem = error.errors()[0]
    option = ".".join(["treepo", *(str(part) for part in problem["loc"])])
    if problem["type"] == "extra_forbidden":
        return f"{option} is not an option; {suggestion(option, option_names(), otherwise='known options: ')}"
    if problem["type"] == "value_error":
        return problem["msg"].removeprefix("Value error, ")
    message = problem["msg"].replace("Input should be", "must be")
    return f"{option}={problem['input']!r} is refused: {message}"


def option_names(model: type[BaseModel] = TreePOConfig, prefix: str = "treepo") -> list[str]:
    """Every option's full name, in order of definition."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        nested = _nested_model(field.annotation)
        names += option_names(nested, f"{prefix}.{name}") if nested else [f"{prefix}.{name}"]
    return names


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
