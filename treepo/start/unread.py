"""Options that are set, and that nothing reads under the policies and the estimator chosen."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

from treepo.advantage import refuse_unread
from treepo.config import ConfigError, TreePOConfig
from treepo.config.policies import (
    CutPosition,
    DivergenceAllocation,
    DivergenceBudget,
    FallbackCandidates,
    TemperatureSchedule,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """Some options, when they are read, and that in words.

    Options whose default is null, and which one policy alone reads, are the typed configuration's own matter
    (:mod:`treepo.config.checks`).
    """

    options: tuple[str, ...]
    read: Callable[[TreePOConfig], bool]
    where: str


_RULES = (
    _Rule(
        options=tuple(f"divergence.logprob.{name}" for name in ("score", "prefer", "schedule", "temperature")),
        read=lambda options: options.divergence.allocation is DivergenceAllocation.LOGPROB,
        where="treepo.divergence.allocation=logprob",
    ),
    _Rule(
        options=("divergence.logprob.temperature",),
        read=lambda options: options.divergence.logprob.schedule is TemperatureSchedule.CONSTANT,
        where="treepo.divergence.logprob.schedule=constant",
    ),
    _Rule(
        options=("max_divergence",),
        read=lambda options: options.divergence.budget is not DivergenceBudget.RANDOM,
        where="a treepo.divergence.budget other than random",
    ),
    _Rule(
        options=("fallback.candidates", "fallback.window"),
        read=lambda options: options.fallback.cut is not CutPosition.NONE,
        where="a treepo.fallback.cut other than none",
    ),
    _Rule(
        options=("fallback.window",),
        read=lambda options: (
            options.fallback.cut is not CutPosition.FROM_START
            or options.fallback.candidates is FallbackCandidates.ANSWERED_MIN_WINDOWS
        ),
        where="a treepo.fallback.cut other than from_start",
    ),
    _Rule(
        options=("fallback.block_prefer",),
        read=lambda options: options.fallback.cut is CutPosition.BLOCK,
        where="treepo.fallback.cut=block",
    ),
    _Rule(
        options=tuple(f"termination.repetition.{name}" for name in ("priority", "substring", "count")),
        read=lambda options: options.termination.repetition.enabled,
        where="treepo.termination.repetition.enabled=true",
    ),
    _Rule(
        options=("max_dropped",),
        read=lambda options: options.min_trajectory_length is not None,
        where="treepo.min_trajectory_length",
    ),
)


def check_unread(options: TreePOConfig, estimator: str) -> None:
    """Refuses an option away from its default that would have no effect.

    Args:
        options: The options.
        estimator: ``algorithm.adv_estimator``; verl's own estimators read nothing of ``treepo.advantage``.

    Raises:
        ConfigError: One line with the option, what reads it and the remedy.
    """
    defaults = TreePOConfig()
    for option, where in _unread(options):
        value, default = (reduce(getattr, option.split("."), holder) for holder in (options, defaults))
        if value != default:
            raise ConfigError(
                f"treepo.{option}={_shown(value)} is refused: it is read with {where} only; choose that or leave the "
                f"option at {_shown(default)}"
            )
    refuse_unread(estimator, options.advantage)


def _unread(options: TreePOConfig) -> Iterator[tuple[str, str]]:
    """The options that nothing reads, each with what would read it."""
    for rule in _RULES:
        if not rule.read(options):
            yield from ((option, rule.where) for option in rule.options)


def _shown(value: Any) -> str:
    """As it is typed on the command line."""
    return str(value) if isinstance(value, str) else json.dumps(value)
