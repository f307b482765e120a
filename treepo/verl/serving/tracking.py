"""An evaluation's results in verl's loggers (verl 0.9.1, ``verl.utils.tracking.Tracking``)."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from treepo.evaluation import RunPlan
from treepo.evaluation.keep.records import to_plain
from treepo.evaluation.options import EvaluationConfig

_STEP = re.compile(r"global_step_(\d+)")


def track(options: EvaluationConfig, run_dir: Path, plan: RunPlan, metrics: Mapping[str, float]) -> None:
    """Writes results to the loggers of ``evaluation.loggers``, at the step of the checkpoint.

    Args:
        options: The evaluation's options.
        run_dir: The run's folder, whose name is the experiment's unless one is given.
        plan: The run's plan, logged as its configuration.
        metrics: What is logged.
    """
    from verl.utils.tracking import Tracking

    # verl looks for its own options in the configuration that it hands on.
    config: dict[str, Any] = {"trainer": {}, **to_plain(plan)}
    tracking = Tracking(
        options.project_name, options.experiment_name or run_dir.name, list(options.loggers), config=config
    )
    tracking.log(data=dict(metrics), step=checkpoint_step(plan.model))
    tracking.finish()


def checkpoint_step(model: str) -> int:
    """The training step of a checkpoint, by its folder's name; 0 for any other model."""
    found = _STEP.findall(model)
    return int(found[-1]) if found else 0
