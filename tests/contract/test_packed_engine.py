"""The packed engine computes what verl's own does on the same rows: log-probs, losses, gradients, weights."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_ranks import LIMIT, SEQUENCE_CASES, SEQUENCE_ROWS, adapters, rows_of_rank
from examples import examples
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from training_run import ROOT

from benchmarks.engine_passes import (
    CASES,
    FLOAT32_BOUND,
    NOISE_BOUND,
    apart,
    compare,
    exceeded,
    infer,
    run_case,
    run_engine,
    write_model,
)
from benchmarks.engines import build_engine, make_batch, policy_loss, process_group
from benchmarks.packing_passes import grow_rows
from treepo.packing import Rows, lay_out
from treepo.packing.attention import IMPLEMENTATION
from treepo.verl.training.packed_engine import PackedFSDPEngine
from treepo.verl.training.packing import MODEL_TYPE

CUDA = os.environ.get("TREEPO_TEST_DEVICE", "cpu") == "cuda"
# A GPU adds up in another order in every kernel, and AdamW magnifies it; a wrong mask is off by a thousand times that.
TOLERANCE = FLOAT32_BOUND if CUDA else 1e-5
MICRO_BATCH = 400

Engines = tuple[Any, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    torch.set_num_threads(1)
    with process_group():
        yield write_model(tmp_path_factory.mktemp("engines"))


@pytest.fixture(scope="module")
def engines(folder: Path) -> Engines:
    """verl's own and the packed one; tests that update make their own."""
    return build_engine(folder, packed=False), build_engine(folder, packed=True)


def agree(found: dict[str, float]) -> None:
    assert {name: error for name, error in found.items() if not error <= TOLERANCE} == {}


def special_rows() -> tuple[Rows, torch.Tensor]:
    """Every kind of row at once, and which are without a loss."""
    prompt, other, lonely = [5, 6, 7, 8], [5, 6, 9], [11, 12]
    trunk = [21, 22, 23, 24, 25]
    prompts = [prompt, prompt, prompt, prompt, other, other, other, lonely, [3] * 6, [3] * 6, prompt]
    answers = [
        [*trunk, 31, 32, 33],
        [*trunk, 41],
        # Cut inside the segment that the others share, and a row twice.
        trunk[:3],
        [*trunk, 41],
        # A plain group: it shares nothing but the prompt.
        [51, 52, 53],
        [61, 62],
        [],
        [71, 72, 73, 74],
        # Padding.
        [3],
        [3],
        [],
    ]
    masked = torch.tensor([prompt == [3] * 6 for prompt in prompts])
    return Rows.of(prompts, answers), masked


@pytest.mark.parametrize("batching", [{"max_tokens": 400}, {"max_tokens": 13}, {"rows_per_batch": 11}], ids=str)
def test_special_rows_give_the_same_numbers(engines: Engines, batching: dict[str, Any]) -> None:
    rows, masked = special_rows()
    batches = [[make_batch(rows, **batching, masked=masked, calculate_entropy=True)] for _ in engines]
    loss = policy_loss(entropy_coeff=0.01, use_kl_loss=True)
    stock, packed = (run_engine(engine, batch, loss, steps=0) for engine, batch in zip(engines, batches, strict=True))
    agree(apart(packed, stock))


def test_observed_tokens_in_the_middle_of_a_response_have_no_part_in_the_update(engines: Engines) -> None:
    rows = grow_rows(random.Random(3), prompts=3, width=4)
    batches = [make_batch(rows, max_tokens=MICRO_BATCH, calculate_entropy=True) for _ in engines]
    whole = run_engine(engines[0], [batches[0]], policy_loss(), steps=0)
    for batch in batches:
        # By their ids, so that what is shared is observed by all; the last token is the model's.
        masks = [(answer % 3 != 0).long() for answer in batch["responses"].unbind(0)]
        for mask in masks:
            mask[-1:] = 1
        assert any(0 in mask.tolist() for mask in masks)
        observed = torch.nested.as_nested_tensor(masks, layout=torch.jagged)
        batch["loss_mask"], batch["response_mask"] = observed, observed
    stock, packed = (
        run_engine(engine, [batch], policy_loss(), steps=0) for engine, batch in zip(engines, batches, strict=True)
    )
    agree(apart(packed, stock))
    # The mask is heeded: without it the gradient is another.
    assert max(apart(whole, stock).values()) > 100 * TOLERANCE


def test_a_mini_batch_without_a_single_response_token_has_no_gradient_and_no_error(folder: Path) -> None:
    engine = build_engine(folder, packed=True)
    batch = make_batch(Rows.of([[5, 6], [5, 7]], [[], []]), max_tokens=MICRO_BATCH)
    with engine.train_mode():
        result = engine.forward_backward_batch(
            batch, lambda model_output, **_: (model_output["log_probs"].values().sum(), {})
        )
        assert result["loss"] == [0.0]
        assert all(float(value.grad.full_tensor().abs().sum()) == 0 for value in engine.module.parameters())


@pytest.mark.parametrize("case", [name for name in CASES if name.startswith("float32")])
def test_updates_leave_the_same_weights(folder: Path, case: str) -> None:
    rows = grow_rows(random.Random(1), prompts=3, width=4)
    agree(compare(folder, rows, CASES[case], seed=1, steps=3))


@pytest.mark.parametrize("mode", ["seq-mean-token-sum", "seq-mean-token-mean", "token-sum"])
def test_the_other_ways_to_add_up_a_loss_agree(engines: Engines, mode: str) -> None:
    rows = grow_rows(random.Random(2), prompts=2, width=4)
    found = [
        run_engine(engine, [make_batch(rows, max_tokens=MICRO_BATCH)], policy_loss(loss_agg_mode=mode), steps=0)
        for engine in engines
    ]
    agree(apart(found[1], found[0]))


def test_a_temperature_divides_the_logits(engines: Engines) -> None:
    rows = grow_rows(random.Random(3))
    stock, packed, plain = (
        infer(engine, make_batch(rows, max_tokens=MICRO_BATCH, temperature=temperature))
        for engine, temperature in ((engines[0], 0.7), (engines[1], 0.7), (engines[1], 1.0))
    )
    for ours, verls, other in zip(packed, stock, plain, strict=True):
        assert torch.allclose(ours, verls, rtol=TOLERANCE, atol=1e-6)
        assert not torch.allclose(ours, other, rtol=1e-2)


def test_a_reference_model_gives_the_same_log_probs(folder: Path) -> None:
    rows = grow_rows(random.Random(4), prompts=2)
    stock, packed = (
        infer(build_engine(folder, packed=packed, forward_only=True), make_batch(rows, max_tokens=MICRO_BATCH))
        for packed in (False, True)
    )
    for ours, verls in zip(packed, stock, strict=True):
        assert ((ours - verls).abs().max() / verls.abs().max()).item() <= TOLERANCE


def test_adapters_learn_the_same(folder: Path) -> None:
    rows = grow_rows(random.Random(5), prompts=2, width=4)
    outcomes = []
    for packed in (False, True):
        torch.manual_seed(0)
        engine = build_engine(folder, packed=packed, lora_rank=4)
        batches = [make_batch(rows, max_tokens=MICRO_BATCH)]
        outcomes.append(run_engine(engine, batches, policy_loss(), steps=3))
    found = apart(outcomes[1], outcomes[0])
    # One of an adapter's factors starts at zero and consists of AdamW's first steps, which magnify rounding.
    assert found.pop("weights") < 1e-3
    agree(found)


@settings(max_examples=examples(6), deadline=None)
@given(
    seed=st.integers(0, 10_000),
    prompts=st.integers(1, 3),
    width=st.integers(1, 6),
    response_length=st.integers(1, 24),
    limit=st.floats(0, 1),
)
def test_random_trees_give_the_same_numbers(
    engines: Engines, seed: int, prompts: int, width: int, response_length: int, limit: float
) -> None:
    shape: dict[str, Any] = {"prompts": prompts, "width": width, "response_length": response_length}
    rows = grow_rows(random.Random(seed), prompt_length=6, **shape)
    assume(int((rows.lengths - rows.prompt_lengths).sum()) > 0)
    longest = int(rows.lengths.max())
    batching: dict[str, Any] = {"max_tokens": longest + int(limit * (len(rows.tokens) - longest)), "seed": seed}
    stock, packed = (run_engine(engine, [make_batch(rows, **batching)], policy_loss(), steps=0) for engine in engines)
    agree(apart(packed, stock, floor=1e-3))


def test_in_bfloat16_it_is_as_close_to_float32_as_verl_is(folder: Path) -> None:
    rows = grow_rows(random.Random(6), prompts=2, width=4)
    packed, noise = (
        compare(folder, rows, CASES[case], seed=6, steps=2)
        for case in ("bfloat16 against verl in float32", "noise: verl in bfloat16 against verl in float32")
    )
    assert {name: (error, noise[name]) for name, error in packed.items() if error > NOISE_BOUND * noise[name]} == {}


def test_an_error_beyond_a_bound_is_named_with_its_case_and_number() -> None:
    fine = {label: {"log-probs": 1e-6, "gradients": 1e-6} for label in CASES}
    assert exceeded(fine) == []
    for label, expected in (("float32", "5.0e-05"), ("bfloat16 against verl in float32", "2.0e-06")):
        assert exceeded({**fine, label: {"log-probs": 1e-6, "gradients": 1e-3}}) == [
            f"{label}: gradients 1.0e-03, at most {expected} is allowed"
        ]
    assert len(exceeded({**fine, "float32": {"log-probs": float("nan"), "gradients": 1e-6}})) == 1


def test_what_was_computed_is_reported(engines: Engines) -> None:
    rows = grow_rows(random.Random(7), prompts=2, width=4, response_length=60)
    tree_tokens = len(lay_out(rows))
    batch = make_batch(rows, max_tokens=len(rows.tokens))
    with engines[1].train_mode():
        metrics = engines[1].forward_backward_batch(batch, policy_loss())["metrics"]
    assert metrics["packing/packed_tokens"] == [tree_tokens]
    assert metrics["packing/row_tokens"] == [len(rows.tokens)]
    assert metrics["packing/repeated_tokens"] == [0]
    assert metrics["packing/batches"] == [1]
    with engines[1].train_mode():
        split = engines[1].forward_backward_batch(make_batch(rows, max_tokens=100), policy_loss())["metrics"]
    assert split["packing/packed_tokens"] == [tree_tokens + split["packing/repeated_tokens"][0]]
    assert split["packing/batches"][0] > 1


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"calculate_sum_pi_squared": True}, "calculate_sum_pi_squared"),
        ({"distillation_use_topk": True}, "distillation_use_topk"),
        ({"use_fused_kernels": True}, "use_fused_kernels"),
        ({"temperature": torch.ones(8)}, "a temperature per row"),
        ({"max_tokens": 20}, "a row is longer than max_token_len_per_gpu=20"),
        ({"max_tokens": None, "rows_per_batch": 3}, "8 rows cannot make micro-batches of micro_batch_size_per_gpu=3"),
    ],
    ids=str,
)
def test_what_it_cannot_give_is_refused(engines: Engines, asked: dict[str, Any], words: str) -> None:
    rows = grow_rows(random.Random(8))
    batch = make_batch(
        rows, **{"max_tokens": MICRO_BATCH, **{name: asked[name] for name in asked if name != "temperature"}}
    )
    if "temperature" in asked:
        batch["temperature"] = asked["temperature"]
    with engines[1].eval_mode(), pytest.raises(ValueError, match=words):
        engines[1].infer_batch(batch)


def test_a_model_or_an_option_that_it_cannot_serve_is_refused_before_weights_are_loaded(folder: Path) -> None:
    with pytest.raises(ValueError, match="attention_dropout"):
        build_engine(folder, packed=True, override_config={"attention_dropout": 0.1})
    with pytest.raises(ValueError, match="use_fused_kernels"):
        build_engine(folder, packed=True, use_fused_kernels=True)


def test_its_attention_stays_out_of_saved_models_and_of_the_rollouts_configuration(engines: Engines) -> None:
    engine = engines[1]
    assert engine.module.config._attn_implementation == IMPLEMENTATION
    assert IMPLEMENTATION not in engine.module.config.to_json_string(use_diff=False)
    assert engine.model_config.model_type == "language_model"


def test_verls_registry_gives_the_packed_engine_by_name_and_its_own_otherwise() -> None:
    from verl.workers.engine.base import EngineRegistry

    for strategy in ("fsdp", "fsdp2"):
        assert EngineRegistry.get_engine_cls(MODEL_TYPE, strategy) is PackedFSDPEngine
        for kind in ("language_model", "value_model"):
            assert not issubclass(EngineRegistry.get_engine_cls(kind, strategy), PackedFSDPEngine)


def train_together(folder: Path, out: Path, ranks: int) -> list[dict[str, Any]]:
    """What several processes found that trained together."""
    if CUDA and torch.cuda.device_count() < ranks:
        pytest.skip("ranks need an accelerator each")
    script = Path(__file__).resolve().parents[1] / "support" / "engines" / "engine_ranks.py"
    logs = [(out / f"{rank}.log").open("w+") for rank in range(ranks)]
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(folder), str(out), str(rank), str(ranks)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
        )
        for rank, log in enumerate(logs)
    ]
    try:
        for process, log in zip(processes, logs, strict=True):
            assert process.wait(timeout=1200) == 0, Path(log.name).read_text()[-3000:]
    finally:
        for process, log in zip(processes, logs, strict=True):
            process.kill()
            log.close()
    return [torch.load(out / f"{rank}.pt", weights_only=False) for rank in range(ranks)]


@pytest.fixture(scope="module")
def ranks(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes found."""
    return train_together(folder, tmp_path_factory.mktemp("ranks"), 2)


def test_two_ranks_with_unequal_trees_agree_with_verl(ranks: list[dict[str, Any]]) -> None:
    for found in ranks:
        agree(apart(found["packed"], found["stock"]))
    assert torch.equal(
        ranks[0]["packed"].gradients["model.norm.weight"], ranks[1]["packed"].gradients["model.norm.weight"]
    )


def test_two_ranks_run_as_many_micro_batches_though_one_needs_fewer(ranks: list[dict[str, Any]]) -> None:
    counts = [found["packed"].metrics["packing/batches"] for found in ranks]
    assert counts[0] == counts[1]
    assert counts[1][0] > 1
    assert len(lay_out(rows_of_rank(1))) <= LIMIT


def test_a_row_that_is_too_long_on_one_rank_is_refused_on_all(ranks: list[dict[str, Any]]) -> None:
    assert [bool(found["refusal"]) for found in ranks] == [True, True]


@pytest.mark.parametrize("case", SEQUENCE_CASES)
def test_two_ranks_that_share_every_micro_batch_agree_with_verl_on_one(
    folder: Path, ranks: list[dict[str, Any]], case: str
) -> None:
    expected = run_case(folder, SEQUENCE_ROWS, CASES[case], packed=False, seed=1, steps=2)
    for found in ranks:
        agree(apart(found["sequence"][case], expected))
    first, second = (found["sequence"][case] for found in ranks)
    assert torch.equal(first.log_probs, second.log_probs)
    assert first.losses == second.losses


def test_adapters_learn_the_same_on_two_ranks_that_share_every_micro_batch(
    folder: Path, ranks: list[dict[str, Any]]
) -> None:
    expected = adapters(folder, packed=False, sequence_ranks=1)
    for rank in ranks:
        found = apart(rank["adapters"], expected)
        # As on one rank, see above.
        assert found.pop("weights") < 1e-3
        agree(found)


def test_two_ranks_that_share_sequences_give_a_reference_models_log_probs(
    folder: Path, ranks: list[dict[str, Any]]
) -> None:
    engine = build_engine(folder, packed=False, forward_only=True)
    expected = infer(engine, make_batch(SEQUENCE_ROWS, max_tokens=LIMIT, temperature=0.7))
    for found in ranks:
        for ours, verls in zip(found["reference"], expected, strict=True):
            assert ((ours - verls).abs().max() / verls.abs().max()).item() <= TOLERANCE


def test_ranks_that_share_sequences_report_their_tokens_and_balance(ranks: list[dict[str, Any]]) -> None:
    for found in ranks:
        metrics = found["sequence"]["float32"].metrics
        (tokens,), (of_rank,) = (metrics[f"packing/{name}"] for name in ("packed_tokens", "sequence_rank_tokens"))
        (batches,), (imbalance,) = (metrics[f"packing/{name}"] for name in ("batches", "sequence_rank_imbalance"))
        # One token in every micro-batch may be a copy.
        assert tokens / 2 <= of_rank <= tokens / 2 + batches
        assert 1 <= imbalance < 2
        assert "packing/sequence_rank_tokens" not in found["packed"].metrics


@pytest.mark.nightly
def test_four_ranks_that_share_rows_and_sequences_agree_with_two_of_verls(
    folder: Path, ranks: list[dict[str, Any]], tmp_path: Path
) -> None:
    for rank, found in enumerate(train_together(folder, tmp_path, 4)):
        agree(apart(found["packed"], ranks[rank // 2]["stock"]))
