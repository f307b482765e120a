"""The tree estimators under verl's names.

verl hands an estimator the rewards, the mask, the config and the uids. What a tree estimator needs besides, the node
paths, is bound around the call by the trainer (:class:`treepo.verl.training.trainer.TreeTrainer`).
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
    """Registers every tree estimator with verl under its own name; to do so again changes nothing."""
    for name in ESTIMATORS:
        register_adv_est(name)(_verl_estimator(name))


@functools.cache
def _verl_estimator(name: str) -> Any:
    def estimate(
        *,
        token_level_rewards: torch.Tensor,
        response_mask: torch.Tensor,
        index: np.ndarray,
        config: Any = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        bound = _bound.get()
        if bound is None:
            raise RuntimeError(
                f"algorithm.adv_estimator={name} needs the tree of every row: train with "
                "`python -m recipe.treepo.main_treepo`"
            )
        rows, options = bound
        assert [row.prompt_id for row in rows] == list(index), "the bound node paths are those of the batch"
        with torch.no_grad():
            advantages = ESTIMATORS[name](
                rewards=token_level_rewards, response_mask=response_mask, rows=rows, options=options
            )
        return advantages, advantages

    estimate.__name__ = name
    return estimate
