"""The expected memory follows from the model's shape and the configuration."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tiny_stack import write_tiny_model
from training_run import ROOT
from transformers import AutoModelForCausalLM

from treepo.config import ConfigError
from treepo.config.load import compose
from treepo.start.memory.estimate import Estimate, estimate
from treepo.start.memory.line import GIB, Kind
from treepo.start.memory.model_shape import ModelShape, read_shape

# The published config.json of Qwen2.5-7B.
QWEN_7B = (
    'model_type="qwen2",vocab_size=152064,hidden_size=3584,intermediate_size=18944,num_hidden_layers=28,'
    "num_attention_heads=28,num_key_value_heads=4,tie_word_embeddings=false"
)
# The published config.json of the models of the smaller presets.
SHAPES = {
    "qwen2_5_0_5b_1gpu": (
        'model_type="qwen2",vocab_size=151936,hidden_size=896,intermediate_size=4864,num_hidden_layers=24,'
        "num_attention_heads=14,num_key_value_heads=2,tie_word_embeddings=true"
    ),
    "qwen2_5_1_5b_8gpu": (
        'model_type="qwen2",vocab_size=151936,hidden_size=1536,intermediate_size=8960,num_hidden_layers=28,'
        "num_attention_heads=12,num_key_value_heads=2,tie_word_embeddings=true"
    ),
    "qwen3_4b_8gpu": (
        'model_type="qwen3",vocab_size=151936,hidden_size=2560,intermediate_size=9728,num_hidden_layers=36,'
        "num_attention_heads=32,num_key_value_heads=8,head_dim=128,tie_word_embeddings=true"
    ),
}


def shape_7b() -> ModelShape:
    return read_shape(Path("nowhere"), QWEN_7B)


def expected(*overrides: str) -> Estimate:
    given = ["trainer.nnodes=8", "trainer.n_gpus_per_node=8", "actor_rollout_ref.model.path=x", *overrides]
    config = compose("treepo_trainer", given)
    OmegaConf.resolve(config)
    return estimate(config, shape_7b(), accelerator_gib=80.0)


def sizes(found: Estimate) -> dict[str, float]:
    lines = (*found.update, *found.rollout, *found.cache)
    return {line.name: line.size for line in lines}


def test_parameters_of_qwen_7b_are_the_published_number() -> None:
    assert shape_7b().parameters == 7_615_616_512


SHARED = (
    "actor_rollout_ref.actor.ulysses_sequence_parallel_size=4",
    "actor_rollout_ref.model.use_remove_padding=true",
)


def test_parameters_are_those_that_transformers_counts(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path)
    counted = sum(part.numel() for part in AutoModelForCausalLM.from_pretrained(model).parameters())
    assert read_shape(model, None).parameters == counted
    assert read_shape(Path("nowhere"), str(model / "config.json")).parameters == counted


def test_states_are_float32_and_sharded_over_all_accelerators() -> None:
    found = sizes(expected())
    share = 7_615_616_512 * 4 / 64
    assert (found["weights"], found["gradients"], found["optimiser"]) == (share, share, 2 * share)
    half = sizes(expected("actor_rollout_ref.actor.fsdp_config.fsdp_size=8"))
    assert half["weights"] == 8 * share
    # A shard cannot be spread over more accelerators than there are.
    assert sizes(expected("actor_rollout_ref.actor.fsdp_config.fsdp_size=512"))["weights"] == share


def test_offloaded_states_are_there_for_the_update_alone() -> None:
    found = expected(
        "actor_rollout_ref.actor.fsdp_config.param_offload=true",
        "actor_rollout_ref.actor.fsdp_config.optimizer_offload=true",
    )
    assert {"weights", "optimiser"} <= {line.name for line in found.update}
    assert [line.name for line in found.rollout] == ["rollout engine"]
    assert {line.name for line in expected().rollout} == {"rollout engine", "weights", "optimiser"}


def test_states_that_stay_on_the_host_are_counted_nowhere() -> None:
    found = expected("actor_rollout_ref.actor.fsdp_config.offload_policy=true")
    assert [line.kind for line in found.update] == [Kind.GATHERED, Kind.ACTIVATIONS, Kind.LOGITS]
    assert [line.kind for line in found.rollout] == [Kind.ENGINE]


def test_no_two_uses_of_memory_are_called_alike() -> None:
    found = expected("actor_rollout_ref.actor.use_kl_loss=true", *SHARED)
    lines = (*found.update, *found.rollout[:1], *found.cache)
    assert {line.kind for line in lines} == set(Kind)
    assert len({line.name for line in lines}) == len(lines)


def test_a_reference_model_counts_where_there_is_one() -> None:
    assert "reference weights" not in sizes(expected())
    with_reference = sizes(expected("actor_rollout_ref.actor.use_kl_loss=true"))
    assert with_reference["reference weights"] == with_reference["weights"]
    offloaded = "actor_rollout_ref.ref.fsdp_config.param_offload=true"
    assert "reference weights" not in sizes(expected("actor_rollout_ref.actor.use_kl_loss=true", offloaded))


def test_packed_updates_hold_a_chunk_of_logits_whatever_the_micro_batch() -> None:
    chunk = 882 * 152_064 * 12 + 152_064 * 3584 * 4
    for tokens in (8192, 65536):
        assert sizes(expected(f"actor_rollout_ref.actor.ppo_max_token_len_per_gpu={tokens}"))["logits"] == chunk
    few = sizes(expected("actor_rollout_ref.actor.ppo_max_token_len_per_gpu=500"))
    assert few["logits"] == 500 * 152_064 * 12 + 152_064 * 3584 * 4


def test_ranks_that_share_sequences_hold_the_keys_of_all_their_tokens() -> None:
    tokens = "actor_rollout_ref.actor.ppo_max_token_len_per_gpu=8192"
    alone, shared = sizes(expected(tokens)), sizes(expected(tokens, *SHARED))
    # 4 ranks; keys and values of 4 heads of 128, in bfloat16, their gradients in float32 twice.
    assert shared["gathered keys"] == 4 * 8192 * 2 * 4 * 128 * (2 + 8)
    assert "gathered keys" not in alone
    assert "gathered keys" not in sizes(expected("treepo.packing.enabled=false", *SHARED))
    # What a rank computes by itself is bounded as before, and fixed numbers of rows are shared.
    assert shared["activations"] == alone["activations"]
    fixed = "actor_rollout_ref.actor.use_dynamic_bsz=false", "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=4"
    assert 4 * sizes(expected(*fixed, *SHARED))["activations"] == sizes(expected(*fixed))["activations"]


def test_activations_grow_with_the_micro_batch_and_shrink_with_checkpointing() -> None:
    rows = "treepo.packing.enabled=false"
    short, long = (
        sizes(expected(rows, f"actor_rollout_ref.actor.ppo_max_token_len_per_gpu={n}")) for n in (8192, 16384)
    )
    for name in ("activations", "logits"):
        assert long[name] == 2 * short[name]
    assert long["logits"] == 16384 * 152064 * 8
    whole = sizes(expected("actor_rollout_ref.model.enable_gradient_checkpointing=false"))
    assert whole["activations"] > 10 * sizes(expected())["activations"]
    assert "logits" not in sizes(expected("actor_rollout_ref.model.use_fused_kernels=true"))


def test_the_cache_of_a_trajectory_is_that_of_its_full_length() -> None:
    options = ["data.max_prompt_length=1024", "data.max_response_length=7168"]
    single = expected("actor_rollout_ref.rollout.tensor_model_parallel_size=1", *options)
    # 28 layers, keys and values, 4 heads of 128, bfloat16: 56 KiB per token.
    assert sizes(single)["cache per trajectory"] == 8192 * 57344
    room = 0.5 * 80 * GIB - 7_615_616_512 * 2
    assert f"{int(room / (8192 * 57344)):,} without shared prefixes" in single.trajectories
    assert (
        sizes(expected("actor_rollout_ref.rollout.tensor_model_parallel_size=2", *options))["cache per trajectory"]
        == 8192 * 57344 / 2
    )


def test_an_engine_that_never_sleeps_counts_in_the_update_too() -> None:
    assert "rollout engine" not in {line.name for line in expected().update}
    awake = expected("actor_rollout_ref.rollout.free_cache_engine=false")
    assert "rollout engine" in {line.name for line in awake.update}


def test_every_line_says_its_formula_and_the_rest_is_named() -> None:
    text = str(expected())
    for line in (*expected().update, *expected().cache):
        assert f"= {line.formula}" in text
    assert "not counted: the CUDA context" in text


@pytest.mark.parametrize(("nodes", "warned"), [(1, True), (8, False)])
def test_a_rollout_that_leaves_too_little_of_the_accelerator_is_warned_of(nodes: int, warned: bool) -> None:
    config = compose("qwen2_5_7b", [f"trainer.nnodes={nodes}", "actor_rollout_ref.model.path=x"])
    OmegaConf.resolve(config)
    found = estimate(config, shape_7b(), accelerator_gib=80.0)
    assert bool(found.tight) == warned == ("\nwarning: the rollout expects 74.6 of 80 GiB" in str(found))


@pytest.mark.parametrize(
    ("part", "remedy"),
    [
        ("update", "actor_rollout_ref.actor.ppo_max_token_len_per_gpu=8192"),
        ("update", "actor_rollout_ref.actor.fsdp_config.offload_policy=true"),
        ("rollout", "actor_rollout_ref.rollout.gpu_memory_utilization=0.6"),
        ("rollout", "actor_rollout_ref.actor.fsdp_config.optimizer_offload=true"),
    ],
)
def test_every_option_that_a_warning_names_lowers_what_it_warns_of(part: str, remedy: str) -> None:
    def found(*overrides: str) -> Estimate:
        config = compose("qwen2_5_7b", ["trainer.nnodes=1", "actor_rollout_ref.model.path=x", *overrides])
        OmegaConf.resolve(config)
        return estimate(config, shape_7b(), accelerator_gib=24.0)

    (warning,) = [line for line in found().tight if line.startswith(f"the {part}")]
    assert remedy.split("=")[0] in warning
    assert sum(line.size for line in getattr(found(remedy), part)) < sum(line.size for line in getattr(found(), part))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "config.json does not exist; to estimate without the model give --model-shape"),
        ("hidden_size=64", "lacks vocab_size, intermediate_size, num_hidden_layers, num_attention_heads"),
        ("hidden_size=many", "cannot be read"),
        (QWEN_7B + ",num_experts=8", "mixture of experts"),
    ],
)
def test_a_shape_that_is_not_available_is_one_line(given: str | None, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        read_shape(tmp_path, given)
    assert "\n" not in str(error.value)


def test_the_table_of_the_smaller_presets_is_what_a_dry_run_expects() -> None:
    expected_rows = []
    for preset, shape in SHAPES.items():
        config = compose(preset, [])
        OmegaConf.resolve(config)
        for size in (24, 80):
            found = estimate(config, read_shape(Path("nowhere"), shape), accelerator_gib=size)
            update, rollout = (sum(line.size for line in lines) / GIB for lines in (found.update, found.rollout))
            assert max(update, rollout) < size - 2
            fit = re.search(r"that fit: ([\d,]+)", found.trajectories)
            assert fit is not None
            expected_rows.append(f"| `{preset}` | {size} | {update:.1f} | {rollout:.1f} | {fit[1]} |")
    page = (ROOT / "docs/recipes.md").read_text().splitlines()
    assert [line for line in page if line in expected_rows] == expected_rows, "\n".join(expected_rows)
