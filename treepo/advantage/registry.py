"""The estimators by name, and which options each of them reads.

The start check of a training and the page of options derive from this registry, and every call refuses an option that
its estimator would not read.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import torch
from torch import Tensor

from treepo.advantage.batch import Batch, SpanKind, prepare
from treepo.advantage.forest import TreeRow
from treepo.config import AdvantageConfig, ConfigError
from treepo.config.group import unread
from treepo.config.policies import SharedTokens


class Estimator(Protocol):
    """Turns rewards of trajectories into one advantage per response token.

    Common to all: a padding row (mask all zero) influences nothing and gets zeros; a trajectory that occurs in several
    rows (same prompt, same path) counts once in every mean, with the reward of its first row, and its rows get the same
    advantage. Computed in float64.

    Args:
        rewards: Float, shape (batch,), or token-level rewards, shape (batch, response_length), which are summed.
        response_mask: 0 or 1, shape (batch, response_length).
        rows: The path of every row, in the order of the batch.
        options: The options `treepo.advantage.*`. `branch_weights` weighs every mean over trajectories by the product
            of 1/children along the path, so that a prefix that was forked often does not count more often.
            `shared_tokens` divides the advantage of a token that n trajectories share, after everything else.

    Returns:
        Float32, shape (batch, response_length), on the mask's device.

    Raises:
        ValueError: Shapes do not agree, a reward is not finite, or a row has tokens beyond its path.
        ConfigError: An option is set that the estimator does not read.
    """

    def __call__(  # noqa: D102 - the class says it
        self,
        *,
        rewards: Tensor,
        response_mask: Tensor,
        rows: Sequence[TreeRow],
        options: AdvantageConfig,
    ) -> Tensor: ...


Credit = Callable[[Batch, AdvantageConfig], Tensor]
"""An estimator's own part: float64, shape (trajectories, spans), or (trajectories, 1) for one number per trajectory."""

ESTIMATORS: dict[str, Estimator] = {}
OPTIONS_READ: dict[str, frozenset[str]] = {}
"""The options `treepo.advantage.*` that each estimator reads, without the prefix."""


def register_estimator(
    name: str, *, reads: Collection[str], spans: SpanKind, whitened: bool
) -> Callable[[Credit], Credit]:
    """Puts an estimator into :data:`ESTIMATORS`.

    Args:
        name: The name by which `algorithm.adv_estimator` selects it.
        reads: The options `treepo.advantage.*` that it reads, without the prefix; the others are refused.
        spans: What it gives one number to.
        whitened: Whether its numbers are whitened over all tokens of the batch.

    Raises:
        ValueError: The name is taken, or there is no such option.
    """
    if unknown := set(reads) - set(AdvantageConfig.model_fields):
        raise ValueError(f"estimator {name!r} cannot read {min(unknown)!r}: treepo.advantage has no such option")

    def register(credit: Credit) -> Credit:
        if name in ESTIMATORS:
            raise ValueError(f"an estimator named {name!r} is registered already")

        def estimate(
            *, rewards: Tensor, response_mask: Tensor, rows: Sequence[TreeRow], options: AdvantageConfig
        ) -> Tensor:
            refuse_unread(name, options)
            shared = options.shared_tokens is not SharedTokens.PER_ROW
            kind = SpanKind.NODE if shared and spans is SpanKind.PATH else spans
            batch = prepare(rewards, response_mask, rows, spans=kind)
            if batch is None:
                return torch.zeros_like(response_mask, dtype=torch.float32)
            return batch.write(credit(batch, options), whitened=whitened, shared_tokens=options.shared_tokens)

        ESTIMATORS[name] = estimate
        OPTIONS_READ[name] = frozenset(reads)
        return credit

    return register


def refuse_unread(name: str, options: AdvantageConfig) -> None:
    """Refuses an option away from its default that an estimator would not read.

    Args:
        name: The estimator; one that is not registered, as verl's own, reads nothing.
        options: The options.

    Raises:
        ConfigError: One line with the option, what reads it and the remedy.
    """
    defaults = AdvantageConfig()
    for option in AdvantageConfig.model_fields:
        value, default = getattr(options, option), getattr(defaults, option)
        if value != default and option not in OPTIONS_READ.get(name, ()):
            readers = _either([reader for reader, read in OPTIONS_READ.items() if option in read])
            raise ConfigError(
                unread(f"treepo.advantage.{option}", value, f"algorithm.adv_estimator={readers}", default)
            )


def _either(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
