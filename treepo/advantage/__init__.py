"""Advantages over a tree of trajectories (arXiv 2508.17445, Eq. 5 to 7, and relatives)."""

# Importing an estimator's module registers it; the order is that of pages and messages.
from treepo.advantage import treepo as _treepo  # noqa: F401, I001
from treepo.advantage import treepo_segment as _treepo_segment  # noqa: F401
from treepo.advantage import treepo_spo as _treepo_spo  # noqa: F401
from treepo.advantage import treepo_branch as _treepo_branch  # noqa: F401
from treepo.advantage import treerl as _treerl  # noqa: F401
from treepo.advantage import tree_grpo as _tree_grpo  # noqa: F401
from treepo.advantage import tempo as _tempo  # noqa: F401
from treepo.advantage import tree_loo as _tree_loo  # noqa: F401
from treepo.advantage.forest import TreeRow
from treepo.advantage.registry import (
    ESTIMATORS,
    OPTIONS_READ,
    Estimator,
    refuse_unread,
    register_estimator,
)
from treepo.advantage.shares import subgroup_share

__all__ = [
    "ESTIMATORS",
    "OPTIONS_READ",
    "Estimator",
    "TreeRow",
    "refuse_unread",
    "register_estimator",
    "subgroup_share",
]
