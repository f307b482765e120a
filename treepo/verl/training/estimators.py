"""The tree estimators under verl's names.

verl hands an estimator the rewards, the mask, the config and the uids. What a tree estimator needs besides, the node
paths, is bound around the call by the trainer (:class:`treepo.verl.training.trainer.TreeTrainer`). verl's own trainers
bind none, and have independent samples: a tree that forks at its root and nowhere else.
"""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from verl.trainer.ppo.core_algos import register_adv_est

from treepo.advantage import ESTIMATORS, TreeRow
from treepo.config import AdvantageConfig

_bound: ContextVar[tuple[Sequence[TreeRow], AdvantageConfig] | None] = ContextVar("bound_tree_rows", default=None)


@contextmanager
def tree_rows(rows: Sequence[TreeRow], options: AdvantageConfig) -> Iterator[None]:
    """Gives the estimators called inside the batch's node paths, row by row in the batch's order."""
    token = _bound.set((rows, options))
    try:
        yield
    finally:
        _bound.reset(token)


def register_estimators() -> None:
    """Registers every tree estimator with verl under its own name, as importing this module does.

    To do so again changes nothing, and adds those that have been registered here since.
    """
    for name in ESTIMATORS:
        register_adv_est(name)(_verl_estimator(name))


def independent_rows(index: np.ndarray, response_mask: torch.Tensor) -> list[TreeRow]:
    """The rows of samples that share nothing but the prompt: each has one node, its whole response.

    Args:
        index: verl's uids, shape (batch,).
        response_mask: 0 or 1, shape (batch, response_length).
    """
    places = torch.arange(1, response_mask.shape[1] + 1, device=response_mask.device)
    lengths = (response_mask.bool() * places).amax(dim=1).tolist()
    return [
        TreeRow(prompt_id=uid, node_ids=(row,), node_lengths=(length,))
        for row, (uid, length) in enumerate(zip(index, lengths, strict=True))
    ]


@functools.cache
def _verl_estimator(name: str) -> Any:
    def estimate(
        *,
        token_level_rewards: torch.Tensor,
        response_mask: torch.Tensor,
        index: np.ndarray,
        config: Any = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows, options = _bound.get() or (independent_rows(index, response_mask), AdvantageConfig())
        assert [row.prompt_id for row in rows] == list(index), "the bound node paths are those of the batch"
        with torch.no_grad():
            advantages = ESTIMATORS[name](
                rewards=token_level_rewards, response_mask=response_mask, rows=rows, options=options
            )
        return advantages, advantages

    estimate.__name__ = name
    return estimate


register_estimators()
