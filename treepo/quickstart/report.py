"""The result folder of a training run: ``report.md`` and its plots, from the run's TensorBoard logs."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen needed

from matplotlib import pyplot as plt
from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

from treepo.viewer import dump_files, read_records, shown_tree, write_page

_ACCURACY = re.compile(r"^val-core/.+/acc/mean@\d+$")
_REWARD = "critic/score/mean"
_TREE_ROWS = {
    "trajectories per prompt": "treepo/trajectories_per_prompt/mean",
    "depth of a trajectory, in segments": "treepo/depth/mean",
    "tokens per trajectory": "treepo/trajectory_length/mean",
    "fallbacks per prompt": "treepo/fallback/per_prompt",
    "prompts with a fallback": "treepo/fallback/prompt_share",
    "trajectories from a fallback": "treepo/fallback/trajectory_share",
    "segments decoded per prompt": "treepo/segments/per_prompt",
    "requests per prompt": "treepo/requests/submitted_per_prompt",
}
_TURN_ROWS = {
    "turns per trajectory": "treepo/turns/per_trajectory/mean",
    "turns that the model was asked for, per prompt": "treepo/turns/calls_per_prompt",
    "of the answered turns of all trajectories, shared": "treepo/turns/steps_saved",
    "steps of the environment or the tools, per prompt": "treepo/turns/steps_per_prompt",
    "seconds of all steps together": "treepo/turns/seconds",
}
_TOKEN_ROWS = {
    "in trajectories": "treepo/tokens/in_trajectories",
    "generated": "treepo/tokens/generated",
    "submitted as prefixes": "treepo/tokens/prefix",
    "read from the prefix cache": "treepo/tokens/cached",
    "recomputed": "treepo/tokens/recomputed",
}

Series = dict[int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run came to.

    Attributes:
        accuracy_before: Held-out accuracy before the first step, 0 to 1.
        accuracy_after: Held-out accuracy after the last step, 0 to 1.
        report: The written report.
    """

    accuracy_before: float
    accuracy_after: float
    report: Path


def read_scalars(folder: Path) -> dict[str, Series]:
    """Reads the scalars of a run, by name and step.

    A resumed run repeats the steps after its last checkpoint; the latest value of a step counts.

    Args:
        folder: The folder with the event files.

    Raises:
        FileNotFoundError: There are none.
    """
    if not any(folder.glob("events.out.tfevents.*")):
        raise FileNotFoundError(f"no TensorBoard logs in {folder}: did the training log to tensorboard?")
    events = EventAccumulator(str(folder), size_guidance={SCALARS: 0}).Reload()
    scalars: dict[str, Series] = {}
    for name in events.Tags()["scalars"]:
        points = sorted(events.Scalars(name), key=lambda event: event.wall_time)
        scalars[name] = dict(sorted({event.step: event.value for event in points}.items()))
    return scalars


def accuracy_series(scalars: Mapping[str, Series]) -> Series:
    """The held-out accuracy over the steps.

    Raises:
        ValueError: The run did not validate, or on several sets.
    """
    names = [name for name in scalars if _ACCURACY.match(name)]
    if len(names) != 1:
        raise ValueError(f"expected one held-out accuracy in the logs, found {names or 'none'}")
    return scalars[names[0]]


def write_report(
    run_dir: Path,
    out: Path,
    *,
    command: str,
    seconds: Mapping[str, float],
    evaluation: Path | None = None,
    why_none: str | None = None,
) -> Outcome:
    """Writes ``report.md``, ``learning.png`` and ``tokens.png``, and ``trees.html`` where trees were dumped.

    Args:
        run_dir: A run's folder, with ``tensorboard/`` and ``validation/`` in it.
        out: Where to write.
        command: The command that made the run, quoted in the report.
        seconds: How long each stage of the job took, by its name.
        evaluation: Folder of the trained model's evaluation; None without one.
        why_none: Why there is no evaluation, a paragraph of the report; None says nothing.
    """
    scalars = read_scalars(run_dir / "tensorboard")
    accuracy, reward = accuracy_series(scalars), scalars[_REWARD]
    out.mkdir(parents=True, exist_ok=True)
    _plot_learning(accuracy, reward, out / "learning.png")
    _plot_tokens(scalars, out / "tokens.png")
    report = out / "report.md"
    evaluated = [] if why_none is None else [why_none, ""]
    if evaluation is not None:
        evaluated = _evaluation(evaluation, report.parent)
    shown = _trees(run_dir, out / "trees.html")
    report.write_text(_text(scalars, accuracy, reward, run_dir, command, seconds, [*evaluated, *shown]))
    return Outcome(accuracy_before=accuracy[min(accuracy)], accuracy_after=accuracy[max(accuracy)], report=report)


def _mean(series: Series) -> float:
    return sum(series.values()) / len(series)


def _text(
    scalars: Mapping[str, Series],
    accuracy: Series,
    reward: Series,
    run_dir: Path,
    command: str,
    seconds: Mapping[str, float],
    sections: list[str],
) -> str:
    first, last = min(accuracy), max(accuracy)
    tokens = {label: sum(scalars[name].values()) for label, name in _TOKEN_ROWS.items()}
    lines = [
        "# A model trained by TreePO",
        "",
        f"`{command}`",
        "",
        f"| | before (step {first}) | after (step {last}) |",
        "| --- | --- | --- |",
        f"| held-out accuracy | {accuracy[first]:.1%} | {accuracy[last]:.1%} |",
        f"| reward in training, first and last step | {reward[min(reward)]:+.3f} | {reward[max(reward)]:+.3f} |",
        "",
        "![accuracy and reward over the steps](learning.png)",
        "",
        *sections,
        *_turns(scalars),
        "## The trees",
        "",
        "Means over the training steps.",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {label} | {_mean(scalars[name]):.2f} |" for label, name in _TREE_ROWS.items()),
        "",
        "Tokens of the whole run, as the engine reports them.",
        "",
        "| tokens | |",
        "| --- | --- |",
        *(f"| {label} | {count:,.0f} |" for label, count in tokens.items()),
        f"| generated / in trajectories | {tokens['generated'] / tokens['in trajectories']:.3f} |",
        "",
        "![tokens saved](tokens.png)",
        "",
        "Without sharing, all tokens in trajectories would be generated. Prefixes are what segments were submitted",
        "with: read from the prefix cache, recomputed, or the prompt's first reading.",
        "",
        "## The time",
        "",
        "| stage | seconds |",
        "| --- | --- |",
        *(f"| {stage} | {value:.0f} |" for stage, value in seconds.items()),
        "",
        *_sample(run_dir / "validation"),
        f"TensorBoard: `tensorboard --logdir {run_dir / 'tensorboard'}`",
        "",
    ]
    return "\n".join(lines)


def _turns(scalars: Mapping[str, Series]) -> list[str]:
    """What became of the turns; nothing where no tree had any."""
    if not all(name in scalars for name in _TURN_ROWS.values()):
        return []
    rows = {label: scalars[name] for label, name in _TURN_ROWS.items()}
    return [
        "## The turns",
        "",
        "| | first step | last step |",
        "| --- | --- | --- |",
        *(f"| {label} | {series[min(series)]:.2f} | {series[max(series)]:.2f} |" for label, series in rows.items()),
        "",
    ]


def _trees(run_dir: Path, page: Path) -> list[str]:
    """Draws the trees of the last step that was dumped; nothing where none was."""
    if not (run_dir / "trees").is_dir():
        return []
    files = dump_files(run_dir)
    step = max(files)
    write_page(map(shown_tree, read_records(files[step])), page, title=f"step {step}")
    return [f"Trees of step {step}, token by token: [{page.name}]({page.name}).", ""]


def _evaluation(folder: Path, beside: Path) -> list[str]:
    """The trained model under independent and tree sampling, with a link to the whole report."""
    results = json.loads((folder / "results.json").read_text())
    pages = [f"[{name}]({os.path.relpath(folder / name, beside)})" for name in ("report.html", "report.md")]
    rows = [
        f"| {arm['sampling']} | {arm['overall']['value']:.1%} | {_percent(arm['hours_saved'])} "
        f"| {_ratio(arm['generated_ratio'])} | {_ratio(arm['length_ratio'])} |"
        for arm in results["arms"]
    ]
    return [
        "## The trained model under independent and under tree sampling",
        "",
        f"{results['plan']['samples']} samples per held-out problem. Everything, with all answers: {', '.join(pages)}.",
        "",
        "| sampling | accuracy | accelerator time saved | decoded / independent | length / independent |",
        "| --- | --- | --- | --- | --- |",
        *rows,
        "",
    ]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _sample(folder: Path) -> list[str]:
    """One held-out answer of the trained model."""
    files = sorted(folder.glob("*.jsonl"), key=lambda path: int(path.stem))
    if not files:
        return []
    with files[-1].open() as lines:
        sample = json.loads(next(lines))
    return [
        "## A held-out answer after training",
        "",
        "```text",
        sample["input"].strip(),
        "---",
        sample["output"].strip(),
        f"--- ground truth {sample['gts']}, reward {sample['score']:+.0f}",
        "```",
        "",
    ]


def _plot_learning(accuracy: Series, reward: Series, path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    left.plot(list(accuracy), [100 * value for value in accuracy.values()], marker="o", color="tab:blue")
    left.set(xlabel="step", ylabel="held-out accuracy, %", title="held-out accuracy")
    right.plot(list(reward), list(reward.values()), color="tab:green")
    right.set(xlabel="step", ylabel="mean reward", title="reward in training")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _plot_tokens(scalars: Mapping[str, Series], path: Path) -> None:
    contained, generated = scalars["treepo/tokens/in_trajectories"], scalars["treepo/tokens/generated"]
    steps = list(contained)
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    axes.fill_between(
        steps, list(generated.values()), list(contained.values()), color="tab:orange", alpha=0.35, label="saved"
    )
    axes.plot(steps, list(contained.values()), color="tab:orange", label="in trajectories")
    axes.plot(steps, list(generated.values()), color="tab:blue", label="generated")
    axes.set(xlabel="step", ylabel="tokens", title="tokens per step", ylim=(0, None))
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)
