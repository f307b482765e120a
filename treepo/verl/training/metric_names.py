"""The names of all metrics of trees; docs/metrics.md says of each what it means and what to do about it."""


class Metric:
    """Every name under ``treepo/`` but those that end in a depth or a reason.

    Plain texts and no enumeration, because verl's file logger takes no other keys.
    """

    TRAJECTORIES_MEAN = "treepo/trajectories_per_prompt/mean"
    TRAJECTORIES_MIN = "treepo/trajectories_per_prompt/min"
    PROMPTS_FAILED = "treepo/prompts_failed"
    PADDING_SHARE = "treepo/padding_share"
    DEPTH_MEAN = "treepo/depth/mean"
    DEPTH_PROMPT_MEAN = "treepo/depth/prompt_mean"
    DEPTH_MAX = "treepo/depth/max"
    FINISH_STEP_MEAN = "treepo/finish_step/mean"
    TRAJECTORY_LENGTH_MEAN = "treepo/trajectory_length/mean"
    VALIDATION_LENGTH_MEAN = "treepo/validation/response_length/mean"
    LENGTH_OVER_VALIDATION = "treepo/length_over_validation"
    FALLBACKS_PER_PROMPT = "treepo/fallback/per_prompt"
    FALLBACK_PROMPT_SHARE = "treepo/fallback/prompt_share"
    FALLBACK_TRAJECTORY_SHARE = "treepo/fallback/trajectory_share"
    TRAJECTORIES_BEFORE_FALLBACK = "treepo/fallback/trajectories_before"
    TOKENS_IN_TRAJECTORIES = "treepo/tokens/in_trajectories"
    TOKENS_GENERATED = "treepo/tokens/generated"
    TOKENS_SHARING_RATIO = "treepo/tokens/sharing_ratio"
    GENERATED_OVER_VALIDATION = "treepo/tokens/generated_over_validation"
    TOKENS_PREFIX = "treepo/tokens/prefix"
    TOKENS_CACHED = "treepo/tokens/cached"
    TOKENS_RECOMPUTED = "treepo/tokens/recomputed"
    TOKENS_DISCARDED = "treepo/tokens/discarded"
    SEGMENTS_PER_PROMPT = "treepo/segments/per_prompt"
    SUBMITTED_PER_PROMPT = "treepo/requests/submitted_per_prompt"
    FORKS_PER_PROMPT = "treepo/requests/forks_per_prompt"
    TREE_LATENCY_MEAN = "treepo/seconds/tree_latency_mean"
    TREE_LATENCY_MAX = "treepo/seconds/tree_latency_max"
    SECONDS_PER_TRAJECTORY = "treepo/seconds/per_trajectory"
    SUBGROUP_SHARE = "treepo/advantage/subgroup_share"
    PACKED_TOKENS = "treepo/packing/packed_tokens"
    ROW_TOKENS = "treepo/packing/row_tokens"
    TOKEN_RATIO = "treepo/packing/token_ratio"
    REPEATED_TOKENS = "treepo/packing/repeated_tokens"
    MICRO_BATCHES = "treepo/packing/batches"
    SEQUENCE_RANK_TOKENS = "treepo/packing/sequence_rank_tokens"
    SEQUENCE_RANK_IMBALANCE = "treepo/packing/sequence_rank_imbalance"
    RANK_IMBALANCE = "treepo/packing/rank_imbalance"
    TURNS_MEAN = "treepo/turns/per_trajectory/mean"
    TURNS_MAX = "treepo/turns/per_trajectory/max"
    CALLS_PER_PROMPT = "treepo/turns/calls_per_prompt"
    STEPS_PER_PROMPT = "treepo/turns/steps_per_prompt"
    STEPS_SAVED = "treepo/turns/steps_saved"
    REPLAYS_PER_PROMPT = "treepo/turns/replays_per_prompt"
    TOKENS_OBSERVED = "treepo/turns/observed_tokens"
    OBSERVED_SHARE = "treepo/turns/observed_share"
    ANSWER_SECONDS = "treepo/turns/seconds"
    ANSWER_SECONDS_MAX = "treepo/turns/seconds_max"
    TURNS_FAILED = "treepo/turns/failed"
    TURNS_TIMED_OUT = "treepo/turns/timed_out"
    CLOSE_FAILED = "treepo/turns/close_failed"
    OPEN_AT_END = "treepo/turns/open_at_end"


NAMES = frozenset(value for name, value in vars(Metric).items() if name.isupper())
"""All of them."""

OF_TURNS = frozenset(name for name in NAMES if name.startswith("treepo/turns/"))
"""Those that trees of turns alone have."""

DEPTH_SHARE = "treepo/depth/share/"
"""Before a number of segments, from 1 to ``treepo.max_depth``."""

FINISH_REASON = "treepo/finish_reason/"
"""Before a :class:`treepo.tree.FinishReason`."""
