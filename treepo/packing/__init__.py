"""Tree packing: every token that trajectories share is computed once in log-probs and updates.

Pure torch; `treepo.packing.attention` joins it to the models of transformers.
"""

from treepo.packing.exchange import Exchange
from treepo.packing.layout import Layout, lay_out
from treepo.packing.plan import MicroBatch, Plan, plan_equal_rows, plan_micro_batches
from treepo.packing.ranks import RankShare, share_by_room, share_over_ranks
from treepo.packing.read_out import Labels, LabelShares, ReadOut, read_out, share_labels, to_responses, to_rows
from treepo.packing.rows import Rows, Walk, walk_paths, walk_rows, walk_trees
from treepo.packing.scores import LabelScores, score_labels, scores_for_logits
from treepo.packing.split import split_tree
from treepo.packing.token_shares import Sharing, TokenShare, imbalance, share_tokens, whole_share

__all__ = [
    "Exchange",
    "LabelScores",
    "LabelShares",
    "Labels",
    "Layout",
    "MicroBatch",
    "Plan",
    "RankShare",
    "ReadOut",
    "Rows",
    "Sharing",
    "TokenShare",
    "Walk",
    "imbalance",
    "lay_out",
    "plan_equal_rows",
    "plan_micro_batches",
    "read_out",
    "score_labels",
    "scores_for_logits",
    "share_by_room",
    "share_labels",
    "share_over_ranks",
    "share_tokens",
    "split_tree",
    "to_responses",
    "to_rows",
    "walk_paths",
    "walk_rows",
    "walk_trees",
    "whole_share",
]
