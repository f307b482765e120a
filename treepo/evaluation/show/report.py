"""Writes what a run came to: ``report.md``, ``report.html``, ``results.json``; and the comparison of two runs."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from treepo.evaluation.count.arms import Arm, compare_arms
from treepo.evaluation.count.compare import Comparison
from treepo.evaluation.count.logprobs import LogProbs, analyse_log_probs
from treepo.evaluation.count.scores import Summary
from treepo.evaluation.count.summary import summarise
from treepo.evaluation.keep.records import MAX_QUESTIONS, TOO_LONG, RunPlan, to_plain
from treepo.evaluation.keep.store import StoredRun, fingerprint
from treepo.evaluation.show.comparison_tables import comparison_tables
from treepo.evaluation.show.page_data import CHARACTERS, page_data
from treepo.evaluation.show.plots import Plot, all_plots, difference_plot
from treepo.evaluation.show.tables import run_tables
from treepo.files.whole import write_text_whole

RESULTS_SCHEMA = 1
"""Version of ``results.json`` and ``comparison.json``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A written report.

    Attributes:
        summary: The run in numbers.
        arms: Its ways of sampling side by side.
        log_probs: Log-probabilities by sampling; empty where none were kept.
        markdown: ``report.md``.
        page: ``report.html``, which needs no other file and no network.
        results: ``results.json``.
    """

    summary: Summary
    arms: tuple[Arm, ...]
    log_probs: tuple[LogProbs, ...]
    markdown: Path
    page: Path
    results: Path


def write_report(run: StoredRun, out: Path, *, page_characters: int = CHARACTERS) -> Report:
    """Reads a run and writes its report.

    Args:
        run: The run; it may be unfinished.
        out: Folder to write to; made where needed.
        page_characters: Most characters of responses in the page.

    Raises:
        ValueError: The run holds no sample, or a damaged one.
    """
    summary = summarise(run)
    arms, log_probs = compare_arms(summary), analyse_log_probs(run)
    plots = all_plots(summary, log_probs)
    shared = {
        "facts": _facts(run.plan),
        "complete": _complete(run.plan, summary),
        "tables": run_tables(summary, arms, log_probs),
        "plots": plots,
    }
    _write_plots(plots, out)
    report = Report(
        summary=summary,
        arms=tuple(arms),
        log_probs=tuple(log_probs),
        markdown=out / "report.md",
        page=out / "report.html",
        results=out / "results.json",
    )
    write_text_whole(report.markdown, _markdown(f"Evaluation of {run.plan.model}", shared))
    write_text_whole(report.page, _page(run, shared, page_characters))
    write_text_whole(report.results, json.dumps(_results(run, report), indent=2, allow_nan=False) + "\n")
    return report


def write_comparison(comparison: Comparison, out: Path) -> tuple[Path, Path, Path]:
    """Writes ``comparison.md``, ``comparison.html`` and ``comparison.json``, and returns their paths.

    The page needs no other file and no network, and runs no script.
    """
    title, plots = "Comparison of two evaluations", [difference_plot(comparison)]
    shared = {
        "facts": f"From {comparison.names[0]} to {comparison.names[1]}.",
        "tables": comparison_tables(comparison),
        "plots": plots,
    }
    markdown, page, results = (out / f"comparison.{ending}" for ending in ("md", "html", "json"))
    _write_plots(plots, out)
    write_text_whole(markdown, _markdown(title, {**shared, "complete": True}))
    write_text_whole(page, _html("comparison.html.j2", shared, title=title))
    plain = {"schema": RESULTS_SCHEMA, **to_plain(comparison)}
    write_text_whole(results, json.dumps(plain, indent=2, allow_nan=False) + "\n")
    return markdown, page, results


def _complete(plan: RunPlan, summary: Summary) -> bool:
    return len(summary.overall) == len(plan.samplings) and all(overall.complete for overall in summary.overall)


def _facts(plan: RunPlan) -> str:
    samples = str(plan.samples) if plan.seeds == 1 else f"{plan.seeds} x {plan.per_seed}, of {plan.seeds} seeds,"
    facts = f"{samples} samples per question; {', '.join(plan.samplings)}; {', '.join(plan.benchmarks)}."
    if (most := plan.options.get(MAX_QUESTIONS)) is not None:
        facts = f"{facts} Only the first {most} questions of each benchmark: no score of the benchmarks."
    left_out = [f"{len(ids)} of {name}" for name, ids in plan.options.get(TOO_LONG, {}).items()]
    return f"{facts} Left out, since their prompts are too long: {', '.join(left_out)}." if left_out else facts


def _results(run: StoredRun, report: Report) -> Mapping[str, Any]:
    return {
        "schema": RESULTS_SCHEMA,
        "fingerprint": fingerprint(run.plan),
        "plan": to_plain(run.plan),
        "complete": _complete(run.plan, report.summary),
        **to_plain(report.summary),
        "arms": [to_plain(arm) for arm in report.arms],
        "log_probs": [to_plain(part) for part in report.log_probs],
    }


def _environment(*, autoescape: bool) -> Environment:
    return Environment(
        loader=PackageLoader("treepo.evaluation.show"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        auto_reload=False,
    )


def _markdown(title: str, shared: Mapping[str, Any]) -> str:
    environment = _environment(autoescape=False)
    environment.filters["cell"] = _cell
    return environment.get_template("report.md.j2").render(title=_cell(title), **shared).rstrip() + "\n"


def _cell(text: str) -> str:
    """Text that stays within its cell, and is not read as HTML."""
    words = " ".join(text.split())
    for letter, instead in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|")):
        words = words.replace(letter, instead)
    return words


def _page(run: StoredRun, shared: Mapping[str, Any], characters: int) -> str:
    script = _template_text("report.js")
    data = page_data(run, characters=characters)
    return _html(
        "report.html.j2",
        shared,
        plan=run.plan,
        options=[(name, json.dumps(value)) for name, value in sorted(run.plan.options.items())],
        data=data,
        # Both are made here, and end no element: the index by its escapes, the script by what it is.
        data_index=Markup(data.index),
        script=Markup(script),
        # Whatever slipped through as an element of the page could still not run.
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _html(template: str, shared: Mapping[str, Any], **fields: Any) -> str:
    """A page with the style and the plots in it, all other text escaped."""
    plots = [{**asdict(plot), "svg": Markup(plot.svg)} for plot in shared["plots"]]
    style = Markup(_template_text("report.css"))
    return (
        _environment(autoescape=True).get_template(template).render(**{**shared, "plots": plots}, style=style, **fields)
    )


def _template_text(name: str) -> str:
    return (files("treepo.evaluation.show") / "templates" / name).read_text(encoding="utf-8")


def _write_plots(plots: Sequence[Plot], out: Path) -> None:
    (out / "plots").mkdir(parents=True, exist_ok=True)
    for plot in plots:
        write_text_whole(out / "plots" / f"{plot.name}.svg", plot.svg)
