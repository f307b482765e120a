"""Shapes of trees, and credits: the published ones, ours, and the limits that exact values set."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from benchmarks.gradient.process import Batch, Process, values
from treepo.advantage import ESTIMATORS, TreeRow
from treepo.config import AdvantageConfig, load_config


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How a prompt's trajectories share tokens.

    Attributes:
        name: Names it in tables and files.
        sampling: Options of `treepo`, given the width.
    """

    name: str
    sampling: Callable[[int], Mapping[str, Any]]


def _first(count: int) -> Callable[[int], Mapping[str, Any]]:
    return lambda width: {"initial_divergence": [count, count]}


SHAPES = (
    Shape(name="independent", sampling=lambda width: {"initial_divergence": [width, width], "max_divergence": 1}),
    Shape(name="2 first", sampling=_first(2)),
    Shape(name="4 first", sampling=_first(4)),
    Shape(
        name="4 first, ramp", sampling=lambda width: {"initial_divergence": [4, 4], "divergence": {"budget": "ramp"}}
    ),
)
"""How many of the first segments differ, and when the others fork: at once, or along a ramp over the depth."""


class Trajectories(Protocol):
    """What an estimator is given."""

    @property
    def rows(self) -> Sequence[TreeRow]:
        """The paths."""
        ...

    @property
    def prompts(self) -> np.ndarray:
        """The prompt of each, shape (trajectories,)."""
        ...

    @property
    def mask(self) -> np.ndarray:
        """The tokens of the responses: bool, shape (trajectories, response_length)."""
        ...

    @property
    def rewards(self) -> np.ndarray:
        """Shape (trajectories,)."""
        ...


Credit = Callable[[Any], np.ndarray]
"""From :class:`Trajectories`, or for a limit from a batch of a known process, to advantages of the mask's shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One credit.

    Attributes:
        name: Names it in tables and files.
        credit: What it makes of a batch.
        limit: Whether it needs values that no training knows.
    """

    name: str
    credit: Credit = field(repr=False)
    limit: bool = False


GRPO = "grpo"
"""verl's name of GRPO's credit, which is none of ours."""


def credit(batch: Trajectories, estimator: str, options: AdvantageConfig) -> np.ndarray:
    """Advantages by an estimator's name, shape (trajectories, response_length)."""
    if estimator == GRPO:
        return grpo(batch)
    return (
        ESTIMATORS[estimator](
            rewards=torch.from_numpy(batch.rewards),
            response_mask=torch.from_numpy(batch.mask.astype(np.int64)),
            rows=batch.rows,
            options=options,
        )
        .double()
        .numpy()
    )


def _estimator(name: str, **options: Any) -> Credit:
    return lambda batch: credit(batch, name, load_config({"advantage": options}).advantage)


def grpo(batch: Trajectories) -> np.ndarray:
    """Reward less the mean of the prompt's group, over its sample standard deviation plus 1e-6."""
    rewards, scores = batch.rewards, np.zeros(len(batch.rows))
    for prompt in np.unique(batch.prompts):
        group = batch.prompts == prompt
        scores[group] = (rewards[group] - rewards[group].mean()) / (rewards[group].std(ddof=1) + 1e-6)
    return np.where(batch.mask, scores[:, None], 0.0)


def prefix_values(batch: Batch) -> np.ndarray:
    """The exact value before every token, and behind the last: shape (trajectories, response_length + 1)."""
    slipped = batch.slipped.astype(np.int64)
    found = np.zeros(slipped.shape)
    for prompt in np.unique(batch.prompts):
        group, value = batch.prompts == prompt, values(batch.process, int(prompt))
        places = np.minimum(np.arange(slipped.shape[1]), value.shape[1] - 1)
        found[group] = value[slipped[group], places[None, :]]
    return found


def _by_node(batch: Batch, number: Callable[[int, int, int], float]) -> np.ndarray:
    """One number per node of every row, from the row and the node's first place and end."""
    advantages = np.zeros(batch.tokens.shape)
    for index, row in enumerate(batch.rows):
        start = 0
        for length in row.node_lengths:
            advantages[index, start : start + length] = number(index, start, start + length)
            start += length
    return advantages


def exact_baselines(batch: Batch) -> np.ndarray:
    """Every row's reward less the exact value of the prefix before each of its nodes."""
    value, rewards = prefix_values(batch), batch.rewards
    return _by_node(batch, lambda row, start, end: rewards[row] - value[row, start])


def exact_differences(batch: Batch) -> np.ndarray:
    """The exact value behind every node less the exact one before it."""
    value = prefix_values(batch)
    return _by_node(batch, lambda row, start, end: value[row, end] - value[row, start])


def _arms() -> Sequence[Arm]:
    branch = {"scale": "batch"}
    return (
        Arm(name="grpo", credit=grpo),
        Arm(name="treepo", credit=_estimator("treepo")),
        Arm(name="treepo, prompt_deviation", credit=_estimator("treepo", prompt_deviation=True)),
        Arm(name="treepo, once", credit=_estimator("treepo", shared_tokens="once")),
        Arm(name="treepo_segment", credit=_estimator("treepo_segment")),
        Arm(name="treepo_spo", credit=_estimator("treepo_spo")),
        Arm(name="treepo_branch, shrink=0", credit=_estimator("treepo_branch", shrink=0.0, **branch)),
        Arm(name="treepo_branch, shrink=1", credit=_estimator("treepo_branch", shrink=1.0, **branch)),
        Arm(name="treepo_branch", credit=_estimator("treepo_branch", **branch)),
        Arm(name="treepo_branch, shrink=4", credit=_estimator("treepo_branch", shrink=4.0, **branch)),
        Arm(name="treepo_branch, auto", credit=_estimator("treepo_branch", shrink="auto", **branch)),
        Arm(
            name="treepo_branch, auto, scale=prompt", credit=_estimator("treepo_branch", shrink="auto", scale="prompt")
        ),
        Arm(name="treepo_branch, scale=prompt", credit=_estimator("treepo_branch", scale="prompt")),
        *(
            Arm(
                name=f"treepo_branch, auto, scale=prompt, {weight}",
                credit=_estimator("treepo_branch", shrink="auto", scale="prompt", shared_tokens=weight),
            )
            for weight in ("sqrt", "once")
        ),
        Arm(name="treepo_branch, sqrt", credit=_estimator("treepo_branch", shared_tokens="sqrt")),
        Arm(name="treepo_branch, once", credit=_estimator("treepo_branch", shared_tokens="once")),
        Arm(name="treerl", credit=_estimator("treerl")),
        Arm(name="tree_grpo", credit=_estimator("tree_grpo")),
        Arm(name="tempo", credit=_estimator("tempo")),
        Arm(name="tree_loo", credit=_estimator("tree_loo")),
        Arm(name="exact baselines", credit=exact_baselines, limit=True),
        Arm(name="exact differences", credit=exact_differences, limit=True),
    )


ARMS = _arms()


def _weighted() -> Sequence[Arm]:
    """Estimators with other weights of shared tokens, where the arms above have none."""
    named = {
        "treepo": ("treepo", {}),
        "treepo, prompt_deviation": ("treepo", {"prompt_deviation": True}),
        "tree_grpo": ("tree_grpo", {}),
        "tree_loo": ("tree_loo", {}),
    }
    known = {arm.name for arm in ARMS}
    return tuple(
        Arm(name=f"{name}, {weight}", credit=_estimator(estimator, **options, shared_tokens=weight))
        for name, (estimator, options) in named.items()
        for weight in ("sqrt", "once")
        if f"{name}, {weight}" not in known
    )


WEIGHTED = _weighted()
"""Measured on language models alone."""


def sampling(process: Process, shape: Shape) -> Mapping[str, Any]:
    """The options of `treepo` that make a shape of a process's width."""
    return shape.sampling(process.width)
