"""The plan counts what rollouts and packed passes really take, and refuses in one line what cannot be planned."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_stack import write_tiny_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from benchmarks.plan.__main__ import app
from benchmarks.plan.against import RolloutCount, packed_speeds, rollout_counts
from benchmarks.plan.growth import Sampled, grow_trees, kv_blocks, sample_independently
from benchmarks.plan.hardware import HARDWARE, MODELS, find_model
from benchmarks.plan.step import Arm, Setting, plan
from benchmarks.plan.work import by_rows, forward_flops, log_probs, packed, update
from benchmarks.rollout.cell import Cell
from benchmarks.rollout.lengths import law
from treepo.config import ConfigError
from treepo.packing import Rows, lay_out, plan_micro_batches, share_over_ranks, walk_trees

CELL = Cell(prompts=4, prompt_length=11, width=8, segment_length=6, max_depth=5)
MEASURED = list(rollout_counts())
UNIT = [
    count
    for count in MEASURED
    if (count.cell.lengths, count.cell.budget) in {("lognormal:0.5", "fixed"), ("memoryless", "ramp")}
]


def sampled(lengths: str = "lognormal:0.5", *, seed: str = "0", independent: bool = False) -> Sampled:
    drawn = law(lengths, CELL.longest)
    assert drawn is not None
    sample = sample_independently if independent else grow_trees
    return sample(CELL, drawn, [9, 11, 12, 16], seed=seed, block=4)


# --- the rollout


def test_both_arms_of_all_measured_cells_are_compared() -> None:
    assert len(MEASURED) == 16
    assert len(UNIT) == 4


@pytest.mark.parametrize("count", UNIT, ids=lambda count: f"{count.cell.lengths} {count.cell.budget} {count.arm}")
def test_tokens_requests_and_cache_hits_are_those_that_vllm_counted(count: RolloutCount) -> None:
    assert count.predict() == (count.measured, count.context)


@pytest.mark.nightly
@pytest.mark.parametrize("count", MEASURED, ids=lambda count: f"{count.cell.lengths} {count.cell.budget} {count.arm}")
def test_the_same_holds_for_every_cell(count: RolloutCount) -> None:
    assert count.predict() == (count.measured, count.context)


@pytest.mark.parametrize("lengths", ["full", "memoryless", "lognormal:0.5"])
def test_the_rows_of_a_tree_share_exactly_the_tokens_that_were_decoded_once(lengths: str) -> None:
    found = sampled(lengths)
    prompts = sum([9, 11, 12, 16])
    assert sum(walk.size for walk in walk_trees(found.rows)) == found.generated + prompts
    assert len(found.rows) == found.requests == 4 * CELL.width
    assert found.longest == int((found.rows.lengths - found.rows.prompt_lengths).max()) <= CELL.longest


def test_independent_samples_share_their_prompt_alone() -> None:
    found = sampled(independent=True)
    assert sum(walk.size for walk in walk_trees(found.rows)) == found.generated + sum([9, 11, 12, 16])
    assert found.generated == int((found.rows.lengths - found.rows.prompt_lengths).sum())
    # Of every further request the block that is not whole, or the last one.
    assert found.computed == sum([9, 11, 12, 16]) + 7 * sum([1, 3, 4, 4])


@given(
    rows=st.lists(st.lists(st.integers(0, 1), min_size=3, max_size=14), min_size=1, max_size=8), block=st.integers(1, 5)
)
def test_kv_blocks_are_the_distinct_prefixes_that_end_a_block(rows: list[list[int]], block: int) -> None:
    # A block that is not whole is its row's own.
    prefixes = {tuple(row[:stop]) for row in rows for stop in range(block, len(row) + 1, block)}
    parts = sum(len(row) % block > 0 for row in rows)
    assert kv_blocks(Rows.of([row[:1] for row in rows], [row[1:] for row in rows]), block) == len(prefixes) + parts


def test_the_context_is_what_all_decoded_tokens_attend_to() -> None:
    found = sampled(independent=True)
    each = zip(found.rows.prompt_lengths.tolist(), found.rows.lengths.tolist(), strict=True)
    assert found.context == sum(sum(range(prompt + 1, length + 1)) for prompt, length in each)


# --- passes


def test_a_packed_pass_has_the_tokens_and_pairs_of_its_layout() -> None:
    rows = sampled().rows
    layout = lay_out(rows)
    found = packed(rows, ranks=1, max_tokens=len(rows.tokens))
    ancestors = sum(int(q < layout.ends[k]) for q in range(len(layout)) for k in range(q + 1))
    assert (found.tokens, found.pairs, found.micro_batches, found.total) == (len(layout), ancestors, 1, len(layout))


def test_a_packed_pass_over_ranks_is_that_of_the_busiest_with_what_is_computed_again() -> None:
    rows = sampled().rows
    found = packed(rows, ranks=8, max_tokens=60)
    plans = [
        plan_micro_batches(rows.select(share.rows), max_tokens=60)
        for share in share_over_ranks(walk_trees(rows), ranks=8)
    ]
    tokens = [sum(batch.packed_tokens for batch in each.batches) for each in plans]
    assert (found.tokens, found.total) == (max(tokens), sum(tokens))
    assert found.micro_batches == max(len(each.batches) for each in plans)
    assert found.total > len(lay_out(rows)), "trees are cut over two ranks each"


def test_rows_are_spread_evenly_and_a_single_rank_has_all() -> None:
    rows = sampled().rows
    lengths = rows.lengths.tolist()
    alone = by_rows(rows, ranks=1, max_tokens=10**6)
    assert alone.tokens == alone.total == alone.logits == sum(lengths)
    assert alone.pairs == sum(length * (length + 1) // 2 for length in lengths)
    spread = by_rows(rows, ranks=4, max_tokens=10**6)
    assert sum(lengths) / 4 <= spread.tokens <= sum(lengths) / 4 + max(lengths)


def test_flops_of_a_forward_pass_are_those_that_torch_counts(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    tokens = 24
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros((1, tokens), dtype=torch.int64), use_cache=False)
    # Eager attention computes all pairs.
    linear, attention = forward_flops(find_model(str(folder)), tokens=tokens, pairs=tokens**2, logits=tokens)
    assert counter.get_total_flops() == pytest.approx(linear + attention, rel=1e-3)


def test_packed_passes_are_as_much_faster_on_a_gpu_as_their_flops_are_fewer() -> None:
    shape = find_model("qwen2_5_7b")
    speeds = [speed for speed in packed_speeds() if speed.cell.row_length == 4096]
    assert len(speeds) == 2
    for speed in speeds:
        rows, own = speed.predict(shape)
        assert own.pairs / rows.pairs == pytest.approx(speed.attention, abs=5e-4)
        old = log_probs(shape, rows, ranks=1).flops / log_probs(shape, own, ranks=1).flops
        new = update(shape, rows, ranks=1, steps=0).flops / update(shape, own, ranks=1, steps=0).flops
        assert old == pytest.approx(speed.log_probs, rel=0.03)
        assert new == pytest.approx(speed.update, rel=0.06)


# --- models and settings


def test_parameters_of_the_named_models_are_the_published_numbers() -> None:
    assert {name: find_model(name).parameters for name in MODELS} == {
        "qwen2_5_0_5b": 494_032_768,
        "qwen2_5_1_5b": 1_543_714_304,
        "qwen2_5_7b": 7_615_616_512,
        # Without the norms of queries and keys.
        "qwen3_4b": 4_022_468_096 - 36 * 2 * 128,
        "llama3_1_8b": 8_030_261_248,
    }


def setting(**changes: object) -> Setting:
    given: dict = {
        "cell": Cell(prompts=64, prompt_length=64, width=8, segment_length=32, max_depth=6),
        "gpus": 8,
        "mini_batch": 16,
        "max_tokens": 4096,
        "reference": True,
        "sample": 16,
        "utilisation": 0.5,
        "seed": 0,
    }
    return Setting(**{**given, **changes})


def test_a_whole_step_is_planned_in_four_arms_and_a_smaller_sample_gives_about_the_same() -> None:
    shape, machine = find_model("qwen2_5_1_5b"), HARDWARE["h100"]
    whole = dict(plan(setting(), shape, machine))
    assert list(whole) == list(Arm)
    assert whole[Arm.GRPO].sampled.requests == 64 * 8
    assert whole[Arm.GRPO].updated.total == whole[Arm.GRPO].row_tokens == whole[Arm.GRPO].old.total
    trees = whole[Arm.TREES_PACKED]
    assert trees.updated.total < whole[Arm.GRPO_PACKED].updated.total < whole[Arm.GRPO].updated.total
    assert set(trees.costs) == {"rollout", "old log-probs", "reference", "update"}
    part = dict(plan(setting(sample=8), shape, machine))[Arm.TREES_PACKED]
    assert part.sampled.generated == pytest.approx(trees.sampled.generated, rel=0.2)
    assert part.costs["update"].flops == pytest.approx(trees.costs["update"].flops, rel=0.2)


def test_what_is_grown_keeps_the_trees_per_rank() -> None:
    assert setting(gpus=128, mini_batch=64, sample=10).grown == 10
    assert setting(gpus=8, mini_batch=64, sample=10).grown == 8
    assert setting(gpus=1, mini_batch=16, sample=4).grown == 16


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mini_batch": 24}, "--prompts 64 is no multiple of --mini-batch 24"),
        ({"gpus": 256}, r"--mini-batch 16 x --width 8 = 128 rows .* 256 GPUs; take a multiple of 32"),
        ({"gpus": 12}, r"cannot be shared evenly by 12 GPUs; take a multiple of 3"),
        ({"max_tokens": 200}, "--max-tokens 200 cannot hold a row of 264"),
        (
            {"cell": Cell(prompts=64, prompt_length=8, width=8, segment_length=8, max_depth=2, lengths="model")},
            "--lengths",
        ),
    ],
    ids=lambda given: str(given)[:40],
)
def test_a_step_that_cannot_be_is_refused_with_the_option(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        setting(**changes)


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        (["--model", "nowhere"], "error: --model nowhere is no folder with a config.json, and none of qwen2_5_0_5b"),
        (["--hardware", "b200"], "error: --hardware b200 is not known; there are a100, h100, h200"),
        (["--gpus", "8,many"], "error: --gpus 8,many is refused; give numbers above 0"),
        (["--gpus", "0"], "error: --gpus 0 is refused"),
        (["--lengths", "long"], "error: lengths 'long' are not known"),
        (["--memory-gib", "8", "--gpus", "8", "--sample", "8"], "error: the engine's share of 8 GiB has no room"),
        (["--budget", "large", "--gpus", "8"], "error: "),
    ],
    ids=lambda words: str(words)[:30],
)
def test_bad_input_is_one_line(words: list[str], refused: str) -> None:
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(refused)
    assert done.stderr.count("\n") == 1


def test_a_folder_of_a_model_is_planned_from_the_command_line(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    small = {"prompts": 8, "mini-batch": 4, "width": 4, "segment-length": 8, "max-depth": 3, "prompt-length": 20}
    words = [word for name, value in small.items() for word in (f"--{name}", str(value))]
    done = CliRunner().invoke(app, ["--model", str(folder), "--gpus", "2,4", *words])
    assert done.exit_code == 0, done.stderr
    assert "**2 GPUs: 8 prompts of 20 tokens x 4" in done.stdout
    assert "**4 GPUs: " in done.stdout
    assert done.stdout.count("| trees, packed |") == 4
