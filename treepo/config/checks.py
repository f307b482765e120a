"""What options must hold together: partners that need each other, and ranges that depend on other options."""

import importlib
import inspect
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treepo.config.options import TreePOConfig

CLASS_PATH = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
"""What `module:name` options look like."""


@dataclass(frozen=True, slots=True)
class _Partner:
    """An option that one policy reads and no other."""

    option: str
    policy: str
    value: str
    needed: bool


_PARTNERS = (
    _Partner("divergence.random_range", "divergence.budget", "random", needed=True),
    _Partner("divergence.step_tokens", "divergence.budget", "step_tokens", needed=True),
    _Partner("divergence.ramp_depth", "divergence.budget", "ramp", needed=False),
    _Partner("fallback.max_back", "fallback.cut", "random", needed=False),
    _Partner("fallback.block_size", "fallback.cut", "block", needed=True),
    _Partner("fallback.min_windows", "fallback.candidates", "answered_min_windows", needed=True),
    _Partner("budget.response_tokens", "budget.total", "response_tokens", needed=True),
    _Partner("budget.min_width", "budget.total", "response_tokens", needed=True),
)


def check_partners(config: "TreePOConfig") -> None:
    """Refuses a policy without the options it needs, and options of a policy that is not chosen.

    Raises:
        ValueError: One line with both options and the remedy.
    """
    for partner in _PARTNERS:
        given = _value(config, partner.option)
        chosen = _value(config, partner.policy) == partner.value
        # Where an environment answers, a turn is the block.
        needed = partner.needed and not (partner.option == "fallback.block_size" and config.environment.name)
        if chosen and needed and given is None:
            raise ValueError(f"treepo.{partner.policy}={partner.value} needs treepo.{partner.option}: set it")
        if given is not None and not chosen:
            raise ValueError(
                f"treepo.{partner.option}={given} is read by treepo.{partner.policy}={partner.value} only: "
                "choose that policy or leave the option null"
            )
    _check_schedule(config)


def check_ranges(config: "TreePOConfig") -> None:
    """Refuses values that contradict the width, the depth or the length of a trajectory.

    Raises:
        ValueError: One line with the option, what bounds it and the remedy.
    """
    width = ("treepo.width", config.width)
    longest = ("treepo.segment_length x treepo.max_depth", config.segment_length * config.max_depth)
    window = config.fallback.window or config.segment_length
    _check_at_most("treepo.max_divergence", config.max_divergence, *width)
    _check_step_tokens(config)
    _check_at_most("treepo.budget.min_width", config.budget.min_width, *width)
    _check_at_most("treepo.divergence.ramp_depth", config.divergence.ramp_depth, "treepo.max_depth", config.max_depth)
    _check_at_most("treepo.fallback.window", config.fallback.window, *longest)
    _check_at_most("treepo.fallback.block_size", config.fallback.block_size, *longest)
    _check_at_most("treepo.min_trajectory_length", config.min_trajectory_length, *longest)
    if config.fallback.min_windows is not None:
        _check_at_most("treepo.fallback.min_windows x its window", config.fallback.min_windows * window, *longest)
    _check_range("treepo.initial_divergence", config.initial_divergence, *width)
    _check_range("treepo.divergence.random_range", config.divergence.random_range, *width)
    try:
        # Called as every tree calls it: without arguments.
        import_named(config.termination.answer_detector)()
    except (ImportError, AttributeError, TypeError, SyntaxError) as error:
        raise ValueError(
            f"treepo.termination.answer_detector={config.termination.answer_detector} cannot be used: {error}"
        ) from error


def check_environment(config: "TreePOConfig") -> None:
    """Refuses an environment that cannot be used, and options that have no meaning beside one.

    Raises:
        ValueError: One line with the option and the remedy.
    """
    options = config.environment
    if options.name is None:
        return
    for option in ("fallback.window", "fallback.block_size"):
        if _value(config, option) is not None:
            raise ValueError(
                f"treepo.{option}={_value(config, option)} is refused with treepo.environment.name: trees of turns are "
                "cut at the start of a turn; leave it null"
            )
    if config.rollout.backend == "in_engine":
        raise ValueError(
            "treepo.rollout.backend=in_engine is refused with treepo.environment.name: every turn is a request of its "
            "own; set it to portable or leave it null"
        )
    _check_environment_class(options.name, fork=options.fork == "fork")


def _check_environment_class(name: str, *, fork: bool) -> None:
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


def _check_schedule(config: "TreePOConfig") -> None:
    options = config.divergence.logprob
    ends = (options.min_temperature, options.max_temperature)
    name = "treepo.divergence.logprob"
    if options.schedule == "constant":
        if ends != (None, None):
            raise ValueError(
                f"{name}.min_temperature and .max_temperature are read by schedules only: "
                f"set {name}.schedule=ascending or descending, or leave them null"
            )
        return
    if options.min_temperature is None or options.max_temperature is None:
        raise ValueError(f"{name}.schedule={options.schedule} needs {name}.min_temperature and .max_temperature")
    _check_at_most(
        f"{name}.min_temperature", options.min_temperature, f"{name}.max_temperature", options.max_temperature
    )


def _check_step_tokens(config: "TreePOConfig") -> None:
    # With less than two segments for the only prompt that grows, no path ever has a second child.
    least = 2 * config.segment_length
    given = config.divergence.step_tokens
    if given is not None and given < least:
        raise ValueError(
            f"treepo.divergence.step_tokens={given} is less than two segments of treepo.segment_length="
            f"{config.segment_length}, so that no path would ever fork: set it to {least} or more"
        )


def _check_at_most(option: str, value: float | None, bound: str, limit: float) -> None:
    if value is not None and value > limit:
        raise ValueError(f"{option}={value} exceeds {bound}={limit}: lower the first or raise the second")


def _check_range(option: str, value: tuple[int, int] | None, bound: str, limit: int) -> None:
    if value is not None and not 1 <= value[0] <= value[1] <= limit:
        raise ValueError(f"{option}=[{value[0]}, {value[1]}] must satisfy 1 <= min <= max <= {bound}={limit}")


def _value(config: "TreePOConfig", option: str) -> Any:
    return reduce(getattr, option.split("."), config)
