"""What every group of options has in common: the options that nothing reads are refused, and ranges are compared.

An option that is read only under some choice says so in its type, with :class:`ReadWith`.
"""

import importlib
import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator

CLASS_PATH = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
"""What `module:name` options look like."""


@dataclass(frozen=True, slots=True)
class ReadWith:
    """The choice under which an option is read, or all options of a group; otherwise they keep their defaults.

    Attributes:
        option: The option that is chosen by, as in ``cut`` of the same group, or ``divergence.budget`` below it.
        value: Its value; None for any that is not null.
        other: Whether every value but that one is meant.
        needed: Whether the option must then be set.
    """

    option: str
    value: Any = None
    other: bool = field(default=False, kw_only=True)
    needed: bool = field(default=False, kw_only=True)

    def chosen(self, group: "Group") -> bool:
        """Whether a group has made the choice."""
        return (reduce(getattr, self.option.split("."), group) == self.value) is not (self.other or self.value is None)

    def words(self, prefix: str) -> str:
        """The choice in words, as in ``treepo.fallback.cut=block``."""
        name = f"{prefix}.{self.option}"
        if self.value is None:
            return name
        return f"a {name} other than {_shown(self.value)}" if self.other else f"{name}={_shown(self.value)}"


class Group(BaseModel):
    """A group of options that validates itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    PREFIX: ClassVar[str]
    """The group's full name."""

    @model_validator(mode="after")
    def _refuse_unread(self) -> "Group":
        """Refuses options away from their defaults that nothing reads, and choices without the options they need."""
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            for rule in (rule for rule in info.metadata if isinstance(rule, ReadWith)):
                words = rule.words(self.PREFIX)
                if rule.chosen(self):
                    if rule.needed and value is None:
                        raise ValueError(f"{words} needs {self.PREFIX}.{name}: set it")
                    continue
                for option, found, default in _changed(f"{self.PREFIX}.{name}", value, info.default):
                    raise ValueError(unread(option, found, words, default))
        return self


def unread(option: str, value: Any, words: str, default: Any) -> str:
    """The line that refuses an option that nothing reads.

    Args:
        option: Its full name.
        value: Its value.
        words: With which choice it is read.
        default: Its default.
    """
    return (
        f"{option}={_shown(value)} is refused: it is read with {words} only; choose that or leave the option at "
        f"{_shown(default)}"
    )


def at_most(option: str, value: float | None, bound: str, limit: float) -> None:
    """Refuses a value above what bounds it.

    Raises:
        ValueError: One line with the option, what bounds it and the remedy.
    """
    if value is not None and value > limit:
        raise ValueError(f"{option}={value} exceeds {bound}={limit}: lower the first or raise the second")


def in_order(option: str, value: tuple[int, int] | None, bound: str, limit: int) -> None:
    """Refuses a range that is empty, or leaves 1 to a limit.

    Raises:
        ValueError: One line with the option and its bounds.
    """
    if value is not None and not 1 <= value[0] <= value[1] <= limit:
        raise ValueError(f"{option}=[{value[0]}, {value[1]}] must satisfy 1 <= min <= max <= {bound}={limit}")


def import_named(path: str) -> Any:
    """What a `module:name` path names.

    Raises:
        ImportError: There is no such module.
        AttributeError: The module has no such name.
        TypeError: It cannot be called.
    """
    module, _, name = path.partition(":")
    found = getattr(importlib.import_module(module), name)
    if not callable(found):
        raise TypeError(f"{path} cannot be called")
    return found


def check_environment_class(name: str, *, fork: bool) -> None:
    """Refuses an environment that cannot be made, or lacks a method that is called.

    Args:
        name: ``treepo.environment.name``.
        fork: Whether its ``fork()`` is called.

    Raises:
        ValueError: One line with the option and the remedy.
    """
    option = f"treepo.environment.name={name}"
    try:
        make = import_named(name)
    except Exception as error:
        # A user's module may raise anything while it is imported.
        said = " ".join(str(error).split())
        raise ValueError(f"{option} cannot be imported: {type(error).__name__}: {said}") from error
    if not callable(getattr(make, "step", None)):
        raise ValueError(f"{option} has no method step(turn): write one that returns a treepo.environment.Observation")
    if fork and not callable(getattr(make, "fork", None)):
        raise ValueError(
            f"treepo.environment.fork=fork needs a method fork() of {name}: write one, or set "
            "treepo.environment.fork=replay"
        )
    try:
        inspect.signature(make).bind()
    except TypeError as error:
        raise ValueError(
            f"{option} must be made without arguments ({error}): read the prompt's row in reset(row)"
        ) from error


def _changed(name: str, value: Any, default: Any) -> Iterator[tuple[str, Any, Any]]:
    """The options below a name that differ from their defaults."""
    if isinstance(value, BaseModel):
        for inner in type(value).model_fields:
            yield from _changed(f"{name}.{inner}", getattr(value, inner), getattr(default, inner))
    elif value != default:
        yield name, value, default


def _shown(value: Any) -> str:
    """As it is typed on the command line."""
    return str(value) if isinstance(value, str) else json.dumps(value)
