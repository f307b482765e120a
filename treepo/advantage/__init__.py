"""Advantages over a tree of trajectories (arXiv 2508.17445, Eq. 5 to 7, and relatives)."""

from treepo.advantage.estimators import (
    ESTIMATORS,
    OPTIONS_READ,
    Estimator,
    register_estimator,
    treepo_advantages,
    treepo_segment_advantages,
    treepo_spo_advantages,
)
from treepo.advantage.shares import subgroup_share
from treepo.advantage.subgroups import TreeRow

__all__ = [
    "ESTIMATORS",
    "OPTIONS_READ",
    "Estimator",
    "TreeRow",
    "register_estimator",
    "subgroup_share",
    "treepo_advantages",
    "treepo_segment_advantages",
    "treepo_spo_advantages",
]
