"""From plain options to the typed configuration, and what is said of those that are refused."""

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from treepo.config.options import TreePOConfig
from treepo.config.suggestion import suggestion

Options = TypeVar("Options", bound=BaseModel)


class ConfigError(ValueError):
    """A refused option; its text is one line that names the option and the remedy."""


def load_config(options: Mapping[str, Any]) -> TreePOConfig:
    """Turns composed options into the typed configuration.

    Args:
        options: The plain content of the Hydra group ``treepo``.

    Returns:
        The validated, immutable configuration.

    Raises:
        ConfigError: As `validated`.
    """
    return validated(TreePOConfig, options, prefix=TreePOConfig.PREFIX)


def validated(model: type[Options], options: Mapping[str, Any], *, prefix: str) -> Options:
    """Turns the plain content of a group into its typed options.

    Args:
        model: The type.
        options: The content.
        prefix: The group's name, as in ``treepo``.

    Raises:
        ConfigError: An option is unknown, of the wrong type, out of range or contradicts another: the first problem as
            one line with option, value and what is allowed.
    """
    try:
        return model.model_validate(options)
    except ValidationError as error:
        problem = error.errors()[0]
        option = ".".join([prefix, *(str(part) for part in problem["loc"])])
        if problem["type"] == "extra_forbidden":
            remedy = suggestion(option, option_names(model, prefix), otherwise="known options: ")
            raise ConfigError(f"{option} is not an option; {remedy}") from error
        if problem["type"] == "value_error":
            raise ConfigError(problem["msg"].removeprefix("Value error, ")) from error
        message = problem["msg"].replace("Input should be", "must be")
        raise ConfigError(f"{option}={problem['input']!r} is refused: {message}") from error


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
