"""The policies that options choose from; each names what its values do."""

from enum import StrEnum

TOOL_AGENT = "tool_agent"
"""verl's agent loop with tools, as ``rollout.agent.default_agent_loop`` or a row's ``agent_name``."""


class DivergenceBudget(StrEnum):
    """How many paths a step may have.

    W is the width still to be filled, A the active paths, F those that finished in the step before.

    * ``fixed``: ``max_divergence`` per path, those of F included with ``transfer``; at most W.
    * ``random``: the same with a number drawn uniformly from ``random_range``, per prompt and step.
    * ``step_tokens``: as many segments as fit into the prompt's share of ``step_tokens``, at most W.
    * ``ramp``: a line over the depth, from ``max_divergence`` at depth 1 to ``width`` at ``ramp_depth``. The other
      budgets use the width up within a few segments; this one forks late as well.

    Whatever the budget, every active path continues at least once.
    """

    FIXED = "fixed"
    RANDOM = "random"
    STEP_TOKENS = "step_tokens"
    RAMP = "ramp"


class DivergenceAllocation(StrEnum):
    """How the paths of a step are shared out among the active ones.

    * ``even``: as equal as possible, what is left over one each to distinct random paths.
    * ``logprob``: one each, the others by a softmax over the paths' scores, rounded by largest remainder.
    """

    EVEN = "even"
    LOGPROB = "logprob"


class LogProbScore(StrEnum):
    """What allocation by log-probability looks at.

    * ``sum``: the sum over all tokens of the path.
    * ``mean``: the mean over all tokens of the path.
    * ``last_segment``: the mean over its last segment.
    """

    SUM = "sum"
    MEAN = "mean"
    LAST_SEGMENT = "last_segment"


class Preference(StrEnum):
    """Which probability is favoured.

    * ``low``: the less probable.
    * ``high``: the more probable.
    """

    LOW = "low"
    HIGH = "high"


class TemperatureSchedule(StrEnum):
    """How the temperature of allocation by log-probability runs over training.

    * ``constant``: it is ``temperature``.
    * ``ascending``: half a sine from ``min_temperature`` to ``max_temperature``, flat at both ends.
    * ``descending``: the same backwards.
    """

    CONSTANT = "constant"
    ASCENDING = "ascending"
    DESCENDING = "descending"


class FallbackCandidates(StrEnum):
    """Which finished trajectories may be cut and re-grown, and in which order.

    Candidates are taken in turn, each for one step's divergence of new paths, until the width is spoken for. Without a
    candidate one path starts afresh at the root.

    * ``answered_or_eos``: answered or ended ones, in random order.
    * ``any``: all, in random order.
    * ``by_reason``: answered first, then open answer, ended, max depth, max tokens, repetition. An open answer is one
      that was begun, or completed without counting as answered.
    * ``by_reason_soft``: the same as weights 7 to 2 of a random order.
    * ``longer_first``: a random order weighted by length.
    * ``answered_min_windows``: answered ones at least ``min_windows`` cut windows long, in random order.
    """

    ANSWERED_OR_EOS = "answered_or_eos"
    ANY = "any"
    BY_REASON = "by_reason"
    BY_REASON_SOFT = "by_reason_soft"
    LONGER_FIRST = "longer_first"
    ANSWERED_MIN_WINDOWS = "answered_min_windows"


class CutPosition(StrEnum):
    """Where a fallback cuts its candidate.

    * ``random``: some windows back from the end, uniform from 1 to ``max_back``.
    * ``lowest_logprob``: before the token with the smallest log-probability.
    * ``block``: before a block drawn by a softmax over the mean log-probabilities of all blocks.
    * ``from_start``: at the root, for one candidate only.
    * ``none``: no fallback; a prompt may end with fewer trajectories than ``width``.
    """

    RANDOM = "random"
    LOWEST_LOGPROB = "lowest_logprob"
    BLOCK = "block"
    FROM_START = "from_start"
    NONE = "none"


class TotalBudget(StrEnum):
    """What bounds a prompt's tree.

    * ``trajectories``: the width.
    * ``response_tokens``: the width, or fewer trajectories where their expected length does not fit into
      ``response_tokens``. It is an estimate, not a limit: while paths are active at least ``min_width`` are aimed at,
      and every active path continues. Without room for one more of mean length there is no fallback.
    """

    TRAJECTORIES = "trajectories"
    RESPONSE_TOKENS = "response_tokens"


class AnswerRule(StrEnum):
    """When a path counts as answered.

    * ``boxed``: with a complete answer.
    * ``boxed_and_eos``: with a complete answer and the end-of-sequence token.
    """

    BOXED = "boxed"
    BOXED_AND_EOS = "boxed_and_eos"


class RepetitionPriority(StrEnum):
    """When the repetition rule is asked.

    * ``first``: before all other rules.
    * ``last``: after them.
    """

    FIRST = "first"
    LAST = "last"


class SubgroupWeighting(StrEnum):
    """How the terms of the ``treepo`` advantage are averaged (paper, Eq. 5 and 6)."""

    AVERAGE = "average"
    GROUP_SIZE = "group_size"


class AdvantageScale(StrEnum):
    """What the advantages of ``treepo_branch`` are divided by.

    * ``none``: nothing; they are in units of the reward.
    * ``batch``: the standard deviation of all rewards of the batch.
    * ``prompt``: the standard deviation of the prompt's rewards, its variance shrunk to the batch's.
    """

    NONE = "none"
    BATCH = "batch"
    PROMPT = "prompt"


class SharedTokens(StrEnum):
    """How much a token counts that n trajectories share, and that therefore stands in n rows.

    * ``per_row``: once in every row, n times in all, as verl counts.
    * ``sqrt``: its advantage is divided by the square root of n.
    * ``once``: its advantage is divided by n.
    """

    PER_ROW = "per_row"
    SQRT = "sqrt"
    ONCE = "once"


class RolloutBackend(StrEnum):
    """Where trees grow.

    * ``in_engine``: inside the rollout server's process, where a path that continues keeps its running request.
    * ``portable``: outside of it; every segment is a request through verl's client.
    """

    IN_ENGINE = "in_engine"
    PORTABLE = "portable"


class EnvironmentFork(StrEnum):
    """How the environment behind a turn is copied where a path forks or is cut.

    * ``fork``: by its own ``fork()``.
    * ``replay``: the first path to come takes it; for every other a new one is reset and steps through the same turns.
      An answer that differs from the first ends the path as failed.
    * ``none``: not at all. ``width`` conversations begin at the root and none forks; also a baseline for trees.
    """

    FORK = "fork"
    REPLAY = "replay"
    NONE = "none"


class EnvironmentErrors(StrEnum):
    """What becomes of a turn at which the environment raises or takes too long.

    * ``observation``: the error is what the model reads, and the conversation continues behind the turn before.
    * ``end``: the path ends as failed and keeps its place in the group.
    * ``fail``: the prompt's tree fails.
    """

    OBSERVATION = "observation"
    END = "end"
    FAIL = "fail"
