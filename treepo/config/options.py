"""The one typed configuration of TreePO.

Hydra composes the group ``treepo``; :class:`TreePOConfig` gives every option its type, range and meaning, and refuses
what is misspelt, out of range or contradictory with one line that names the option and the remedy.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from treepo.config.checks import CLASS_PATH, check_environment, check_partners, check_ranges
from treepo.config.policies import (
    AdvantageScale,
    AnswerRule,
    CutPosition,
    DivergenceAllocation,
    DivergenceBudget,
    EnvironmentErrors,
    EnvironmentFork,
    FallbackCandidates,
    LogProbScore,
    Preference,
    RepetitionPriority,
    RolloutBackend,
    SharedTokens,
    SubgroupWeighting,
    TemperatureSchedule,
    TotalBudget,
)


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LogProbAllocationConfig(_Options):
    """Options ``treepo.divergence.logprob.*``: used by ``divergence.allocation=logprob``."""

    score: LogProbScore = Field(
        default=LogProbScore.MEAN,
        description="Sum or mean over the path's tokens, or mean over its last segment.",
    )
    prefer: Preference = Field(default=Preference.LOW, description="Which probability gets more children.")
    schedule: TemperatureSchedule = Field(
        default=TemperatureSchedule.CONSTANT,
        description="Constant, or half a sine between min_temperature and max_temperature over training.",
    )
    temperature: float = Field(
        default=1.0, ge=1e-6, description="Divides the scores before the softmax; read by schedule=constant."
    )
    min_temperature: float | None = Field(default=None, ge=1e-6, description="Lower end of a schedule.")
    max_temperature: float | None = Field(default=None, ge=1e-6, description="Upper end of a schedule.")


class DivergenceConfig(_Options):
    """Options ``treepo.divergence.*``: how active paths fork at a segment boundary."""

    budget: DivergenceBudget = Field(
        default=DivergenceBudget.FIXED,
        description="max_divergence children per path; a number drawn per step; a share of step_tokens; or a ramp.",
    )
    random_range: tuple[int, int] | None = Field(
        default=None, description="Range [min, max] of the children per path; needed by budget=random."
    )
    step_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Tokens per step over all active prompts, at least two segments; needed by budget=step_tokens.",
    )
    ramp_depth: int | None = Field(
        default=None, ge=2, description="Depth at which budget=ramp reaches the width; null: max_depth."
    )
    transfer: bool = Field(
        default=True,
        description="Whether paths that just finished pass their share to the active ones; if not, no path gets more "
        "children than the step's divergence.",
    )
    allocation: DivergenceAllocation = Field(
        default=DivergenceAllocation.EVEN, description="How a step's paths are shared out among the active ones."
    )
    logprob: LogProbAllocationConfig = LogProbAllocationConfig()


class FallbackConfig(_Options):
    """Options ``treepo.fallback.*``: re-growing when nothing is active and the width is not reached."""

    candidates: FallbackCandidates = Field(
        default=FallbackCandidates.ANSWERED_OR_EOS,
        description="Which finished trajectories may be cut, and in which order.",
    )
    cut: CutPosition = Field(
        default=CutPosition.RANDOM, description="Where a candidate is cut; `none` turns the fallback off."
    )
    window: int | None = Field(
        default=None,
        ge=1,
        description="Tokens of a cut window: random cuts are multiples of it, and a trajectory shorter than one "
        "restarts at the root; null: segment_length.",
    )
    max_back: int | None = Field(
        default=None, ge=1, description="Most windows that cut=random goes back; null: no limit."
    )
    min_windows: int | None = Field(
        default=None,
        ge=1,
        description="Cut windows a candidate must be long; needed by candidates=answered_min_windows.",
    )
    block_size: int | None = Field(
        default=None, ge=1, description="Tokens of the blocks that cut=block compares; needed by it."
    )
    block_prefer: Preference = Field(
        default=Preference.LOW, description="Which mean log-probability of a block cut=block favours."
    )


class RepetitionConfig(_Options):
    """Options ``treepo.termination.repetition.*``: stop a path that repeats itself."""

    enabled: bool = Field(default=True, description="Whether repetition ends a path.")
    priority: RepetitionPriority = Field(
        default=RepetitionPriority.FIRST, description="Asked before or after all other rules."
    )
    substring: int = Field(default=32, ge=1, description="Length in characters of the substring that repeats.")
    count: int = Field(default=8, ge=2, description="How often it must occur; occurrences may overlap.")


class TerminationConfig(_Options):
    """Options ``treepo.termination.*``: when a path is finished."""

    answer: AnswerRule = Field(
        default=AnswerRule.BOXED_AND_EOS,
        description="When a path counts as answered: with a complete answer, or with that and the end of sequence.",
    )
    answer_detector: str = Field(
        default="treepo.rewards.boxed:BoxScan",
        pattern=CLASS_PATH,
        description="What finds the answer, as module:name of a treepo.tree.AnswerScan to be called without arguments.",
    )
    repetition: RepetitionConfig = RepetitionConfig()


class BudgetConfig(_Options):
    """Options ``treepo.budget.*``: what bounds a prompt's tree as a whole."""

    total: TotalBudget = Field(
        default=TotalBudget.TRAJECTORIES,
        description="width trajectories, or as many of them as fit into response_tokens.",
    )
    response_tokens: int | None = Field(
        default=None, ge=1, description="Tokens of one prompt's trajectories; needed by total=response_tokens."
    )
    min_width: int | None = Field(
        default=None, ge=1, description="Least width that the token estimate gives; needed by total=response_tokens."
    )


class RolloutConfig(_Options):
    """Options ``treepo.rollout.*``: how the trees meet the engine and the trainer."""

    backend: RolloutBackend | None = Field(
        default=None, description="Where trees grow; null: `in_engine` on vLLM, `portable` on other servers."
    )
    seeded_requests: bool = Field(
        default=False,
        description="Whether every request draws from its own seed, so that runs repeat; slower on accelerators.",
    )
    poll_interval: float = Field(
        default=2.0, gt=0, le=60, description="Seconds between the trainer's looks at the finished prompts."
    )


class AdvantageConfig(_Options):
    """Options ``treepo.advantage.*``: what the estimator named by ``algorithm.adv_estimator`` reads."""

    subgroup_weighting: SubgroupWeighting = Field(
        default=SubgroupWeighting.AVERAGE, description="How the terms of the subgroups are averaged."
    )
    include_root: bool = Field(default=True, description="Whether the whole prompt group counts as a subgroup.")
    reject_degenerate: bool = Field(
        default=False, description="Whether subgroups whose rewards do not differ are left out."
    )
    branch_weights: bool = Field(
        default=False,
        description="Whether means over trajectories are weighted by the product of 1/children along the path.",
    )
    parent_discount: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="`treepo_segment` alone: base of the parent's factor, to the power L + 1 - k; null: no factor.",
    )
    prompt_deviation: bool = Field(
        default=False,
        description="`treepo` alone: whether a prompt's advantages are divided by the standard deviation of its "
        "rewards, before whitening.",
    )
    shrink: Annotated[float, Field(ge=0)] | Literal["auto"] = Field(
        default=2.0,
        description="`treepo_branch` alone: how many branches the baseline above counts for in a fork's baseline; "
        "`auto`: from the batch's variance components.",
    )
    scale: AdvantageScale = Field(
        default=AdvantageScale.BATCH, description="`treepo_branch` alone: what its advantages are divided by."
    )
    shared_tokens: SharedTokens = Field(
        default=SharedTokens.PER_ROW, description="How much tokens count that several trajectories share."
    )

    @field_validator("shrink", mode="before")
    @classmethod
    def _check_shrink(cls, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value != "auto" and not (number and 0 <= value < float("inf")):
            raise ValueError(f"treepo.advantage.shrink={value} is refused: it must be a number of at least 0, or auto")
        return value


class EnvironmentConfig(_Options):
    """Options ``treepo.environment.*``: trees whose segments are turns of a conversation."""

    name: str | None = Field(
        default=None,
        pattern=CLASS_PATH,
        description="What answers the turns, as module:Class of an Environment; null: nothing, or verl's own tools.",
    )
    fork: EnvironmentFork = Field(default=EnvironmentFork.REPLAY, description="How the state behind a turn is copied.")
    timeout: float = Field(default=120.0, gt=0, description="Seconds for one call of an environment or a tool.")
    on_error: EnvironmentErrors = Field(
        default=EnvironmentErrors.OBSERVATION, description="What becomes of a turn at which the environment fails."
    )
    max_steps: int | None = Field(default=None, ge=1, description="Most steps in one prompt's tree; null: no limit.")
    max_open: int | None = Field(
        default=None, ge=1, description="Most environments open in one agent-loop worker; null: no limit."
    )


class PackingConfig(_Options):
    """Options ``treepo.packing.*``: log-probs and updates that compute shared tokens once."""

    enabled: bool | None = Field(
        default=None, description="Whether trees are packed; null: where that is exact, true: there or not at all."
    )


class TreePOConfig(_Options):
    """Options ``treepo.*``."""

    width: int = Field(default=16, ge=2, description="Trajectories per prompt.")
    segment_length: int = Field(default=512, ge=1, description="Tokens per segment, at most.")
    max_depth: int = Field(default=14, ge=1, description="Segments per trajectory, at most.")
    max_divergence: int = Field(
        default=2, ge=1, description="Children per path and step; budget=random draws them from random_range instead."
    )
    initial_divergence: tuple[int, int] | None = Field(
        default=None,
        description="Range [min, max] of the number of requests at the root; null: as many as a path has children.",
    )
    min_trajectory_length: int | None = Field(
        default=None, ge=1, description="Finished trajectories with fewer tokens are dropped; null: none is."
    )
    max_dropped: int = Field(
        default=256, ge=1, description="Dropped trajectories of one prompt above which it is an error."
    )
    seed: int = Field(default=0, ge=0, description="Run seed of every tree's random stream.")
    dump_trees: int = Field(
        default=0, ge=0, description="Every how many steps the trees are written to `run_dir`/trees; 0: never."
    )
    divergence: DivergenceConfig = DivergenceConfig()
    fallback: FallbackConfig = FallbackConfig()
    termination: TerminationConfig = TerminationConfig()
    budget: BudgetConfig = BudgetConfig()
    advantage: AdvantageConfig = AdvantageConfig()
    rollout: RolloutConfig = RolloutConfig()
    environment: EnvironmentConfig = EnvironmentConfig()
    packing: PackingConfig = PackingConfig()

    @model_validator(mode="after")
    def _cross_checks(self) -> "TreePOConfig":
        check_partners(self)
        check_ranges(self)
        check_environment(self)
        return self
