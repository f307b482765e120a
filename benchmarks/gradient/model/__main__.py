"""How much of a gradient every credit makes of the same samples of a language model, at a fixed policy.

    python -m benchmarks.gradient.model --preset cpu_quickstart

A sample of its own, large and split in halves, gives the direction of the true gradient. Every shape of trees is then
sampled on the same prompts; each token's score, the gradient of its log-probability, is known along that direction and
along random ones; and every credit is given the same samples. Samples are kept and finished cells stored, so that a run
that was stopped continues where it was, and another credit needs no model.
"""

import argparse
import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.gradient.model.measure import PerPrompt, measure_cell, per_prompt
from benchmarks.gradient.model.policy import Policy, load_policy
from benchmarks.gradient.model.reference import TrueGradient, true_gradient
from benchmarks.gradient.model.samples import Samples, load_samples, save_samples, take_samples
from benchmarks.gradient.model.shapes import INDEPENDENT, MODEL_SHAPES
from benchmarks.gradient.model.store import RESULTS, cell_path, load, save
from benchmarks.gradient.model.table import page_tables
from treepo.config import ConfigError

_TOGETHER = 64


def main(say: Callable[[str], None] = print, arguments: Sequence[str] | None = None) -> None:
    """Measures the cells that are missing and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="of the preset's options, option=value")
    parser.add_argument("--preset", default="cpu_quickstart", help="what says how trees grow, and names model and data")
    parser.add_argument("--model", type=Path, help="a model's folder instead of the preset's")
    parser.add_argument("--data", type=Path, help="a training set instead of the preset's, a parquet in verl's layout")
    parser.add_argument("--name", help="names the policy in files and tables; by default the preset's name")
    parser.add_argument("--prompts", type=int, default=160, help="that the credits are measured on, the first ones")
    parser.add_argument("--reference", type=int, default=640, help="prompts of the true gradient, the last ones")
    parser.add_argument("--directions", type=int, default=3, help="random ones per prompt")
    parser.add_argument("--seed", type=int, default=0, help="of all samples")
    parser.add_argument("--shape", nargs="+", default=[one.name for one in MODEL_SHAPES], help="besides independent")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of finished cells")
    parser.add_argument("--cache", type=Path, default=Path(".cache/gradient"), help="folder of samples")
    parser.add_argument("--samples", action="store_true", help="take the samples alone")
    parser.add_argument("--report", action="store_true", help="print the tables of finished cells alone")
    chosen = parser.parse_args(arguments)
    names = [one.name for one in MODEL_SHAPES]
    if unknown := [name for name in chosen.shape if name not in names]:
        parser.error(f"--shape: {unknown[0]!r} is not one of {', '.join(map(repr, names))}")
    for option in ("prompts", "reference", "directions"):
        if getattr(chosen, option) < 2:
            parser.error(f"--{option}={getattr(chosen, option)} is refused: it must be at least 2")
    name = chosen.name or chosen.preset
    if not chosen.report:
        torch.set_num_threads(1)
        try:
            policy = load_policy(chosen.preset, chosen.overrides, model=chosen.model, data=chosen.data)
        except ConfigError as error:
            sys.exit(f"error: {error}")
        if chosen.prompts + chosen.reference > len(policy.prompts):
            parser.error(
                f"--prompts={chosen.prompts} and --reference={chosen.reference} are more than the "
                f"{len(policy.prompts)} prompts of the training set"
            )
        _measure(policy, name, chosen, say)
    if not chosen.samples:
        say(page_tables(chosen.results, name, prompts=chosen.prompts, seed=chosen.seed))


def _measure(policy: Policy, name: str, chosen: argparse.Namespace, say: Callable[[str], None]) -> None:
    key = f"{name}-{_digest(policy)}"
    true = true_gradient(
        policy,
        range(len(policy.prompts) - chosen.reference, len(policy.prompts)),
        samples=8,
        seed=chosen.seed,
        folder=chosen.cache,
        name=f"{key}-reference{chosen.reference}-seed{chosen.seed}",
        results=chosen.results,
    )
    say(f"true gradient: squared cosine of what is known of it {true.known.own:.2f}")
    base: PerPrompt | None = None
    for shape in MODEL_SHAPES:
        if shape.name not in (INDEPENDENT, *chosen.shape):
            continue
        path = cell_path(chosen.results, key, shape.name, prompts=chosen.prompts, seed=chosen.seed)
        if path.is_file() and shape.name != INDEPENDENT:
            load(path)
            continue
        samples = _samples(policy, true, key, shape.name, chosen)
        say(f"{shape.name}: {len(samples.rows)} trajectories, {samples.generated.mean():.0f} tokens a prompt")
        if chosen.samples:
            continue
        own = per_prompt(samples, batch=policy.batch, segment_length=policy.shaped({}).segment_length)
        base = own if shape.name == INDEPENDENT else base
        assert base is not None, "independent samples are the first shape"
        if not path.is_file():
            cell = measure_cell(
                samples,
                own,
                base,
                policy=name,
                shape=shape.name,
                batch=policy.batch,
                known=true.known,
                seed=chosen.seed,
            )
            save(path, cell)


def _samples(policy: Policy, true: TrueGradient, key: str, name: str, chosen: argparse.Namespace) -> Samples:
    shape = next(one for one in MODEL_SHAPES if one.name == name)
    words = name.replace(",", "").replace(" ", "_")
    path = chosen.cache / f"{key}-{words}-prompts{chosen.prompts}-seed{chosen.seed}.npz"
    if not path.is_file():
        taken = take_samples(
            policy,
            shape,
            range(chosen.prompts),
            true=true.direction,
            directions=chosen.directions,
            seed=chosen.seed,
            batch=_TOGETHER,
        )
        save_samples(path, taken)
    return load_samples(path)


def _digest(policy: Policy) -> str:
    found = hashlib.sha256()
    for path in sorted(policy.folder.glob("*.safetensors")):
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()[:8]


if __name__ == "__main__":
    main()
