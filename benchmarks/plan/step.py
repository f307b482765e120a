"""One training step on a number of accelerators, in four arms: grown, laid out and counted."""

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from omegaconf import OmegaConf

from benchmarks.plan.growth import Sampled, grow_trees, sample_independently, scaled
from benchmarks.plan.hardware import Hardware
from benchmarks.plan.work import Cost, Pass, by_rows, cache_bytes, log_probs, packed, rollout, update
from benchmarks.rollout.cell import Cell
from benchmarks.rollout.lengths import draw_prompt_lengths, law
from treepo.config import ConfigError
from treepo.config.load import compose
from treepo.start.memory.engine import engine_memory
from treepo.start.memory.model_shape import ModelShape

BLOCK = 16
"""Tokens of a KV block, vLLM's default."""


class Arm(StrEnum):
    """How trajectories come about, and how they are trained on."""

    GRPO = "GRPO"
    GRPO_PACKED = "GRPO, packed"
    TREES = "trees, by rows"
    TREES_PACKED = "trees, packed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is planned.

    Attributes:
        cell: Tree options, prompt length, law of lengths, and the engine's slots; its prompts are those of a step.
        gpus: Accelerators.
        mini_batch: Prompts of one update of the weights.
        max_tokens: Tokens of a micro-batch.
        reference: Whether a reference model's log-probs are computed, too.
        sample: Prompts that are grown, at most; the rest is in proportion.
        utilisation: Share of the peak operations that kernels reach.
        seed: Draws prompt lengths, trees and response lengths.
    """

    cell: Cell
    gpus: int
    mini_batch: int
    max_tokens: int
    reference: bool
    sample: int
    utilisation: float
    seed: int

    def __post_init__(self) -> None:
        cell, rows = self.cell, self.mini_batch * self.cell.width
        if law(cell.lengths, cell.longest) is None:
            raise ConfigError("--lengths model needs a model that answers; give full, memoryless or lognormal:SPREAD")
        if cell.prompts % self.mini_batch:
            raise ConfigError(f"--prompts {cell.prompts} is no multiple of --mini-batch {self.mini_batch}")
        if rows % self.gpus:
            least = self.gpus // math.gcd(self.gpus, cell.width)
            raise ConfigError(
                f"--mini-batch {self.mini_batch} x --width {cell.width} = {rows} rows cannot be shared evenly by "
                f"{self.gpus} GPUs; take a multiple of {least}"
            )
        most = cell.prompt_length + BLOCK // 2 + cell.longest
        if most > self.max_tokens:
            raise ConfigError(f"--max-tokens {self.max_tokens} cannot hold a row of {most}; raise it")

    @property
    def grown(self) -> int:
        """Prompts that are grown: about as many as asked for, so that a rank gets as many trees as in a mini-batch."""
        unit = self.mini_batch // math.gcd(self.mini_batch, self.gpus)
        return min(self.mini_batch, unit * max(1, self.sample // unit))


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One arm.

    Attributes:
        sampled: The rollout of the whole step.
        at_once: Sequences that an engine decodes at once.
        old: What old log-probs run on, of the busiest rank.
        updated: What updates run on.
        costs: By part, of one accelerator.
        row_tokens: Tokens of all rows of the step.
    """

    sampled: Sampled
    at_once: int
    old: Pass
    updated: Pass
    costs: Mapping[str, Cost]
    row_tokens: int


def plan(setting: Setting, shape: ModelShape, hardware: Hardware) -> Iterator[tuple[Arm, Planned]]:
    """Plans every arm.

    Raises:
        ConfigError: The engine has no room for the model's weights and one trajectory.
    """
    cell, grown = setting.cell, setting.grown
    prompts = draw_prompt_lengths(
        random.Random(f"prompts {setting.seed}"), count=grown, mean=cell.prompt_length, block_size=BLOCK
    )
    lengths = law(cell.lengths, cell.longest)
    assert lengths is not None
    seed, times = f"{setting.seed} 1", cell.prompts / grown
    sampled = {
        False: sample_independently(cell, lengths, prompts, seed=seed, block=BLOCK),
        True: grow_trees(cell, lengths, prompts, seed=seed, block=BLOCK),
    }
    room = _room_blocks(shape, hardware, cell)
    steps = cell.prompts // setting.mini_batch
    for arm in Arm:
        mini = sampled[arm in (Arm.TREES, Arm.TREES_PACKED)]
        run_on = packed if arm in (Arm.GRPO_PACKED, Arm.TREES_PACKED) else by_rows

        def passes(batch: int, mini: Sampled = mini, run_on: Callable[..., Pass] = run_on) -> Pass:
            # As many ranks as give each of them its number of trees; where that is less than one, all of them to one.
            ranks = max(1, grown * setting.gpus // batch)
            found = run_on(mini.rows, ranks=ranks, max_tokens=setting.max_tokens)
            return replace(
                found.times(batch * ranks / (grown * setting.gpus)), total=round(found.total * batch / grown)
            )

        # Old log-probs take the whole step at once, updates one mini-batch after the other.
        old, updated = passes(cell.prompts), passes(setting.mini_batch).times(steps)
        whole = scaled(mini, times)
        decoding, at_once = rollout(shape, whole, gpus=setting.gpus, slots=cell.slots, room_blocks=room)
        costs = {"rollout": decoding, "old log-probs": log_probs(shape, old, ranks=setting.gpus)}
        if setting.reference:
            costs["reference"] = costs["old log-probs"]
        costs["update"] = update(shape, updated, ranks=setting.gpus, steps=steps)
        yield (
            arm,
            Planned(
                sampled=whole,
                at_once=at_once,
                old=old,
                updated=updated,
                costs=costs,
                row_tokens=round(int(mini.rows.lengths.sum()) * times),
            ),
        )


def _room_blocks(shape: ModelShape, hardware: Hardware, cell: Cell) -> float:
    """KV blocks that fit beside the weights in the engine's share, as a dry run counts it."""
    longest = cell.prompt_length + cell.longest
    config = compose("treepo_trainer", ["actor_rollout_ref.model.path=x"])
    OmegaConf.resolve(config)
    engine = engine_memory(
        config.actor_rollout_ref.rollout,
        shape,
        longest=longest,
        cpu_cache=None,
        accelerator_gib=hardware.memory_gib,
    )
    blocks = engine.room / (BLOCK * cache_bytes(shape))
    if blocks * BLOCK < longest:
        raise ConfigError(
            f"the engine's share of {hardware.memory_gib:g} GiB has no room for the weights and a trajectory of "
            f"{longest:,} tokens; take --hardware with more memory, or a smaller model"
        )
    return blocks
