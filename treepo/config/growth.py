"""The groups of options that say how a tree grows: forks, fallbacks, ends and totals."""

from typing import Annotated

from pydantic import Field, model_validator

from treepo.config.group import CLASS_PATH, Group, ReadWith, at_most, import_named, unread
from treepo.config.policies import (
    AnswerRule,
    CutPosition,
    DivergenceAllocation,
    DivergenceBudget,
    FallbackCandidates,
    LogProbScore,
    Preference,
    RepetitionPriority,
    TemperatureSchedule,
    TotalBudget,
)

_ENABLED = ReadWith("enabled", True)
_SCHEDULED = ReadWith("schedule", TemperatureSchedule.CONSTANT, other=True, needed=True)
_BY_TOKENS = ReadWith("total", TotalBudget.RESPONSE_TOKENS, needed=True)
_FALLBACK = ReadWith("cut", CutPosition.NONE, other=True)
_BLOCKS = ReadWith("cut", CutPosition.BLOCK)


class LogProbAllocationConfig(Group):
    """Options ``treepo.divergence.logprob.*``: used by ``divergence.allocation=logprob``."""

    PREFIX = "treepo.divergence.logprob"

    score: LogProbScore = Field(
        default=LogProbScore.MEAN,
        description="Sum or mean over the path's tokens, or mean over its last segment.",
    )
    prefer: Preference = Field(default=Preference.LOW, description="Which probability gets more children.")
    schedule: TemperatureSchedule = Field(
        default=TemperatureSchedule.CONSTANT,
        description="Constant, or half a sine between min_temperature and max_temperature over training.",
    )
    temperature: Annotated[float, ReadWith("schedule", TemperatureSchedule.CONSTANT)] = Field(
        default=1.0, ge=1e-6, description="Divides the scores before the softmax; read by schedule=constant."
    )
    min_temperature: Annotated[float | None, _SCHEDULED] = Field(
        default=None, ge=1e-6, description="Lower end of a schedule."
    )
    max_temperature: Annotated[float | None, _SCHEDULED] = Field(
        default=None, ge=1e-6, description="Upper end of a schedule."
    )

    @model_validator(mode="after")
    def _ends_in_order(self) -> "LogProbAllocationConfig":
        if self.max_temperature is not None:
            ends = self.min_temperature, self.max_temperature
            at_most(f"{self.PREFIX}.min_temperature", ends[0], f"{self.PREFIX}.max_temperature", ends[1])
        return self


class DivergenceConfig(Group):
    """Options ``treepo.divergence.*``: how active paths fork at a segment boundary."""

    PREFIX = "treepo.divergence"

    budget: DivergenceBudget = Field(
        default=DivergenceBudget.FIXED,
        description="max_divergence children per path; a number drawn per step; a share of step_tokens; or a ramp.",
    )
    random_range: Annotated[tuple[int, int] | None, ReadWith("budget", DivergenceBudget.RANDOM, needed=True)] = Field(
        default=None, description="Range [min, max] of the children per path; needed by budget=random."
    )
    step_tokens: Annotated[int | None, ReadWith("budget", DivergenceBudget.STEP_TOKENS, needed=True)] = Field(
        default=None,
        ge=1,
        description="Tokens per step over all active prompts, at least two segments; needed by budget=step_tokens.",
    )
    ramp_depth: Annotated[int | None, ReadWith("budget", DivergenceBudget.RAMP)] = Field(
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
    logprob: Annotated[LogProbAllocationConfig, ReadWith("allocation", DivergenceAllocation.LOGPROB)] = (
        LogProbAllocationConfig()
    )


class FallbackConfig(Group):
    """Options ``treepo.fallback.*``: re-growing when nothing is active and the width is not reached."""

    PREFIX = "treepo.fallback"

    candidates: Annotated[FallbackCandidates, _FALLBACK] = Field(
        default=FallbackCandidates.ANSWERED_OR_EOS,
        description="Which finished trajectories may be cut, and in which order.",
    )
    cut: CutPosition = Field(
        default=CutPosition.RANDOM, description="Where a candidate is cut; `none` turns the fallback off."
    )
    window: Annotated[int | None, _FALLBACK] = Field(
        default=None,
        ge=1,
        description="Tokens of a cut window: random cuts are multiples of it, and a trajectory shorter than one "
        "restarts at the root; null: segment_length.",
    )
    max_back: Annotated[int | None, ReadWith("cut", CutPosition.RANDOM)] = Field(
        default=None, ge=1, description="Maximum windows that cut=random cuts away; null: no limit."
    )
    min_windows: Annotated[int | None, ReadWith("candidates", FallbackCandidates.ANSWERED_MIN_WINDOWS, needed=True)] = (
        Field(
            default=None,
            ge=1,
            description="Cut windows a candidate must be long; needed by candidates=answered_min_windows.",
        )
    )
    block_size: Annotated[int | None, _BLOCKS] = Field(
        default=None, ge=1, description="Tokens of the blocks that cut=block compares; needed by it."
    )
    block_prefer: Annotated[Preference, _BLOCKS] = Field(
        default=Preference.LOW, description="Which mean log-probability of a block cut=block favours."
    )

    @model_validator(mode="after")
    def _window_is_read(self) -> "FallbackConfig":
        counted = self.candidates is FallbackCandidates.ANSWERED_MIN_WINDOWS
        if self.window is not None and self.cut is CutPosition.FROM_START and not counted:
            words = "a treepo.fallback.cut other than from_start"
            raise ValueError(unread("treepo.fallback.window", self.window, words, None))
        return self


class RepetitionConfig(Group):
    """Options ``treepo.termination.repetition.*``: stop a path that repeats itself."""

    PREFIX = "treepo.termination.repetition"

    enabled: bool = Field(default=True, description="Whether repetition ends a path.")
    priority: Annotated[RepetitionPriority, _ENABLED] = Field(
        default=RepetitionPriority.FIRST, description="Asked before or after all other rules."
    )
    substring: Annotated[int, _ENABLED] = Field(
        default=32, ge=1, description="Length in characters of the substring that repeats."
    )
    count: Annotated[int, _ENABLED] = Field(
        default=8, ge=2, description="How often it must occur; occurrences may overlap."
    )


class TerminationConfig(Group):
    """Options ``treepo.termination.*``: when a path is finished."""

    PREFIX = "treepo.termination"

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

    @model_validator(mode="after")
    def _usable_detector(self) -> "TerminationConfig":
        try:
            # Called as every tree calls it: without arguments.
            import_named(self.answer_detector)()
        except (ImportError, AttributeError, TypeError, SyntaxError) as error:
            raise ValueError(
                f"treepo.termination.answer_detector={self.answer_detector} cannot be used: {error}"
            ) from error
        return self


class BudgetConfig(Group):
    """Options ``treepo.budget.*``: what bounds a prompt's tree as a whole."""

    PREFIX = "treepo.budget"

    total: TotalBudget = Field(
        default=TotalBudget.TRAJECTORIES,
        description="width trajectories, or as many of them as fit into response_tokens.",
    )
    response_tokens: Annotated[int | None, _BY_TOKENS] = Field(
        default=None, ge=1, description="Tokens of one prompt's trajectories; needed by total=response_tokens."
    )
    min_width: Annotated[int | None, _BY_TOKENS] = Field(
        default=None, ge=1, description="Least width that the token estimate gives; needed by total=response_tokens."
    )
