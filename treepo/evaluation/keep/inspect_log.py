"""A run as logs of Inspect (``inspect_ai``), which its viewer and its data frames read."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from treepo.config import ConfigError
from treepo.evaluation.keep.records import RunPlan, Sample
from treepo.evaluation.keep.store import StoredRun

_SCORER = "treepo"


def write_inspect_logs(run: StoredRun, out: Path) -> list[Path]:
    """Writes a log per benchmark and sampling that has samples, by Inspect's own writer.

    Args:
        run: The run.
        out: Folder to write to; made where needed.

    Returns:
        The files, in the order of the plan.

    Raises:
        ConfigError: inspect_ai is not installed.
    """
    try:
        log: Any = import_module("inspect_ai.log")
    except ImportError as error:
        raise ConfigError("Inspect's logs need inspect_ai, which is not installed: `pip install inspect_ai`") from error
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for benchmark in run.plan.benchmarks:
        samples = list(run.samples(benchmark))
        for sampling in run.plan.samplings:
            group = [sample for sample in samples if sample.sampling == sampling]
            if not group:
                continue
            path = out / f"{benchmark}-{sampling.replace(' ', '_').replace('=', '')}.eval"
            record = inspect_record(run.plan, benchmark, sampling, group, created=_created(run))
            log.write_eval_log(log.EvalLog.model_validate(record), str(path))
            paths.append(path)
    return paths


def inspect_record(
    plan: RunPlan, benchmark: str, sampling: str, samples: Sequence[Sample], *, created: str
) -> Mapping[str, Any]:
    """A log as plain values, with the names of Inspect's ``EvalLog`` (inspect_ai 0.3).

    Args:
        plan: The run's plan.
        benchmark: The benchmark.
        sampling: Label of the sampling.
        samples: Their samples; the sample's index is Inspect's epoch, counted from 1 there.
        created: Time of the run, in ISO 8601.
    """
    planned = plan.benchmarks[benchmark].questions
    ids = list(dict.fromkeys(sample.question for sample in samples))
    options = plan.options
    metric = {"name": "accuracy", "value": sum(sample.correct for sample in samples) / len(samples)}
    return {
        "status": "success" if len(samples) == planned * plan.samples else "cancelled",
        "eval": {
            "created": created,
            "task": benchmark,
            "dataset": {"name": benchmark, "samples": planned, "sample_ids": ids},
            "model": plan.model,
            "model_generate_config": {
                "temperature": options.get("temperature"),
                "top_p": options.get("top_p"),
                "max_tokens": options.get("response_length"),
            },
            "config": {"epochs": plan.samples},
            "metadata": {"sampling": sampling, "seeds": plan.seeds, "options": options},
        },
        "results": {
            "total_samples": planned * plan.samples,
            "completed_samples": len(samples),
            "scores": [{"name": _SCORER, "scorer": _SCORER, "metrics": {"accuracy": metric}}],
        },
        "samples": [_sample(plan, sample) for sample in samples],
    }


def _sample(plan: RunPlan, sample: Sample) -> Mapping[str, Any]:
    return {
        "id": sample.question,
        "epoch": sample.index + 1,
        "input": sample.prompt,
        "target": list(sample.truths),
        "output": {
            "model": plan.model,
            "choices": [
                {
                    "message": {"role": "assistant", "content": sample.response},
                    "stop_reason": "max_tokens" if sample.truncated else "stop",
                }
            ],
            "usage": {"output_tokens": sample.tokens},
        },
        "scores": {
            _SCORER: {
                "value": "C" if sample.correct else "I",
                "answer": sample.answer,
                "explanation": f"decided by {sample.verdict}",
            }
        },
        "metadata": {"seed": sample.seed, "finish": sample.finish.value, "tree": sample.tree},
    }


def _created(run: StoredRun) -> str:
    """When the run was begun."""
    return datetime.fromtimestamp((run.folder / "run.json").stat().st_mtime, tz=UTC).isoformat(timespec="seconds")
