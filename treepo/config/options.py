"""The one typed configuration of TreePO.

Hydra composes the group ``treepo``; :class:`TreePOConfig` gives every option its type, range and meaning. Each group
refuses what is misspelt, out of range, contradictory or read by nobody, with one line that names the option and the
remedy; what concerns several groups is the whole's.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from treepo.config.group import CLASS_PATH, Group, ReadWith, at_most, check_environment_class, in_order
from treepo.config.growth import BudgetConfig, DivergenceConfig, FallbackConfig, TerminationConfig
from treepo.config.policies import (
    AdvantageScale,
    CutPosition,
    DivergenceBudget,
    EnvironmentErrors,
    EnvironmentFork,
    RolloutBackend,
    SharedTokens,
    SubgroupWeighting,
)


class RolloutConfig(Group):
    """Options ``treepo.rollout.*``: how the trees meet the engine and the trainer."""

    PREFIX = "treepo.rollout"

    backend: RolloutBackend | None = Field(
        default=None, description="Where trees grow; null: `in_engine` on vLLM, `portable` on other servers."
    )
    seeded_requests: bool = Field(
        default=False,
        description="Whether every request samples with its own seed, so that runs repeat; slower on accelerators.",
    )
    poll_interval: float = Field(
        default=2.0, gt=0, le=60, description="Seconds between two polls of the trainer for finished prompts."
    )


class AdvantageConfig(Group):
    """Options ``treepo.advantage.*``: what the estimator named by ``algorithm.adv_estimator`` reads."""

    PREFIX = "treepo.advantage"

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


class EnvironmentConfig(Group):
    """Options ``treepo.environment.*``: trees whose segments are turns of a conversation."""

    PREFIX = "treepo.environment"

    name: str | None = Field(
        default=None,
        pattern=CLASS_PATH,
        description="What answers the turns, as module:Class of an Environment; null: nothing, or verl's own tools.",
    )
    fork: EnvironmentFork = Field(default=EnvironmentFork.REPLAY, description="How the state behind a turn is copied.")
    timeout: float = Field(default=120.0, gt=0, description="Seconds for one call of an environment or a tool.")
    on_error: EnvironmentErrors = Field(
        default=EnvironmentErrors.OBSERVATION, description="What happens to a turn at which the environment fails."
    )
    max_steps: int | None = Field(default=None, ge=1, description="Maximum steps in one prompt's tree; null: no limit.")
    max_open: int | None = Field(
        default=None, ge=1, description="Maximum environments open in one agent-loop worker; null: no limit."
    )

    @model_validator(mode="after")
    def _usable_environment(self) -> "EnvironmentConfig":
        if self.name is not None:
            check_environment_class(self.name, fork=self.fork is EnvironmentFork.FORK)
        return self


class PackingConfig(Group):
    """Options ``treepo.packing.*``: log-probs and updates that compute shared tokens once."""

    PREFIX = "treepo.packing"

    enabled: bool | None = Field(
        default=None, description="Whether trees are packed; null: where that is exact, true: there or not at all."
    )


class TreePOConfig(Group):
    """Options ``treepo.*``."""

    PREFIX = "treepo"

    width: int = Field(default=16, ge=2, description="Trajectories per prompt.")
    segment_length: int = Field(default=512, ge=1, description="Maximum tokens per segment.")
    max_depth: int = Field(default=14, ge=1, description="Maximum segments per trajectory.")
    max_divergence: Annotated[int, ReadWith("divergence.budget", DivergenceBudget.RANDOM, other=True)] = Field(
        default=2, ge=1, description="Children per path and step; budget=random draws them from random_range instead."
    )
    initial_divergence: tuple[int, int] | None = Field(
        default=None,
        description="Range [min, max] of the number of requests at the root; null: as many as a path has children.",
    )
    min_trajectory_length: int | None = Field(
        default=None, ge=1, description="Finished trajectories with fewer tokens are dropped; null: none are."
    )
    max_dropped: Annotated[int, ReadWith("min_trajectory_length")] = Field(
        default=256, ge=1, description="Maximum dropped trajectories of one prompt; more are an error."
    )
    seed: int = Field(default=0, ge=0, description="Run seed of every tree's random stream.")
    dump_trees: int = Field(
        default=0, ge=0, description="Interval in steps at which trees are written to `run_dir`/trees; 0: never."
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
    def _within_width_and_length(self) -> "TreePOConfig":
        fallback, width = self.fallback, ("treepo.width", self.width)
        longest = ("treepo.segment_length x treepo.max_depth", self.segment_length * self.max_depth)
        at_most("treepo.max_divergence", self.max_divergence, *width)
        at_most("treepo.budget.min_width", self.budget.min_width, *width)
        at_most("treepo.divergence.ramp_depth", self.divergence.ramp_depth, "treepo.max_depth", self.max_depth)
        at_most("treepo.fallback.window", fallback.window, *longest)
        at_most("treepo.fallback.block_size", fallback.block_size, *longest)
        at_most("treepo.min_trajectory_length", self.min_trajectory_length, *longest)
        windows = (fallback.min_windows or 0) * (fallback.window or self.segment_length)
        at_most("treepo.fallback.min_windows x its window", windows, *longest)
        in_order("treepo.initial_divergence", self.initial_divergence, *width)
        in_order("treepo.divergence.random_range", self.divergence.random_range, *width)
        # With less than two segments for the only prompt that grows, no path ever has a second child.
        least, given = 2 * self.segment_length, self.divergence.step_tokens
        if given is not None and given < least:
            raise ValueError(
                f"treepo.divergence.step_tokens={given} is less than two segments of treepo.segment_length="
                f"{self.segment_length}, so that no path would ever fork: set it to {least} or more"
            )
        return self

    @model_validator(mode="after")
    def _turns_or_text(self) -> "TreePOConfig":
        fallback = self.fallback
        if self.environment.name is None:
            if fallback.cut is CutPosition.BLOCK and fallback.block_size is None:
                raise ValueError("treepo.fallback.cut=block needs treepo.fallback.block_size: set it")
            return self
        for option, value in (("window", fallback.window), ("block_size", fallback.block_size)):
            if value is not None:
                raise ValueError(
                    f"treepo.fallback.{option}={value} is refused with treepo.environment.name: trees of turns are cut "
                    "at the start of a turn; leave it null"
                )
        if self.rollout.backend is RolloutBackend.IN_ENGINE:
            raise ValueError(
                "treepo.rollout.backend=in_engine is refused with treepo.environment.name: every turn is a request of "
                "its own; set it to portable or leave it null"
            )
        return self
