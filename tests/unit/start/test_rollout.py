"""What trees cannot be grown from or on is refused before any process starts, in one line with its remedy."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import DictConfig
from start_checks import run_checks
from tiny_stack import compose_tiny, mode_overrides, write_tiny_model
from training_run import write_sums

from treepo.config import ConfigError
from treepo.start import data, environment, rollout, training

ROLLOUT = "actor_rollout_ref.rollout"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rollout")
    write_tiny_model(folder / "model")
    write_sums(folder / "text.parquet", 8, seed=0)
    return folder


def composed(folder: Path, *overrides: str, table: Path | None = None) -> DictConfig:
    files = [f"data.{name}=[{table or folder / 'text.parquet'}]" for name in ("train_files", "val_files")]
    return compose_tiny(folder / "model", [*files, "data.train_batch_size=8", *overrides])


def refused(config: DictConfig) -> str:
    with pytest.raises(ConfigError) as error:
        run_checks(config, rollout, environment, data)
    assert "\n" not in str(error.value)
    return str(error.value)


def with_column(folder: Path, name: str, values: list[Any]) -> Path:
    table = pq.read_table(folder / "text.parquet")
    path = folder / f"{name}.parquet"
    pq.write_table(table.append_column(name, pa.array(values)), path)
    return path


def test_a_sound_rollout_passes(folder: Path) -> None:
    config = composed(folder)
    run_checks(config, rollout, environment, data)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["name=vlm"], "did you mean vllm?"),
        (["name=hf"], "it must be one of vllm, sglang"),
        (["name=trtllm"], "to the end of the response; set it to vllm"),
        (["name=sglang"], "treepo.rollout.seeded_requests=true is refused"),
        (["ignore_eos=true"], "ignore_eos=true is refused"),
        (["temperature=0"], "temperature=0 is refused: the trajectories of a prompt would all be the same"),
        (["temperature=1e-6"], "raise it, the published run has 1.0"),
        (["enable_rollout_routing_replay=true"], "set it to false"),
        (["full_determinism=true"], "full_determinism=true is refused with trainer.device=cpu"),
        (["multi_turn.enable=true"], "nothing answers the model's turns"),
        (["agent.default_agent_loop=own_loop"], "set it to single_turn_agent, or to tool_agent for verl's tools"),
        (["max_model_len=100"], "need 256"),
        (["enable_prefix_caching=false"], "set it to true"),
        (["disaggregation.enabled=true"], "set treepo.rollout.backend=portable"),
    ],
)
def test_what_trees_cannot_do_is_one_line_with_its_remedy(folder: Path, overrides: list[str], words: str) -> None:
    line = refused(composed(folder, *(f"{ROLLOUT}.{override}" for override in overrides)))
    assert words in line


def test_the_engines_backend_asks_for_vllm(folder: Path) -> None:
    unseeded = [f"{ROLLOUT}.name=sglang", "treepo.rollout.seeded_requests=false"]
    line = refused(composed(folder, *unseeded, "treepo.rollout.backend=in_engine"))
    assert f"treepo.rollout.backend=in_engine is refused with {ROLLOUT}.name=sglang" in line
    config = composed(folder, *unseeded)
    run_checks(config, rollout, environment, data)


def test_a_model_whose_context_is_too_short_is_refused_where_nothing_else_limits_it(folder: Path) -> None:
    config = composed(folder, f"{ROLLOUT}.max_model_len=null")
    run_checks(config, rollout, environment, data)
    described = folder / "model" / "config.json"
    before = described.read_text()
    described.write_text(json.dumps({**json.loads(before), "max_position_embeddings": 255}))
    try:
        assert "need 256, and the model's context has 255 tokens" in refused(config)
    finally:
        described.write_text(before)


def test_rows_with_pictures_or_another_agent_loop_are_refused_by_number(folder: Path) -> None:
    pictures = with_column(folder, "images", [None] * 5 + [["a.png"]] + [None] * 2)
    assert f"{pictures} row 5 has images (data.image_key)" in refused(composed(folder, table=pictures))
    loops = with_column(folder, "agent_name", ["single_turn_agent"] * 3 + ["own_loop"] * 5)
    assert f"{loops} row 3 asks for the agent loop own_loop" in refused(composed(folder, table=loops))


def test_columns_that_ask_for_nothing_are_no_obstacle(folder: Path) -> None:
    for name, values in {"images": [[]] * 8, "agent_name": ["single_turn_agent"] * 8}.items():
        config = composed(folder, table=with_column(folder, name, values))
        run_checks(config, rollout, environment, data)


# --- dedicated servers

SEPARATE = "trainer.v1.separate_async.parameter_sync_step"
ENGINE = f"{ROLLOUT}.checkpoint_engine"
FSDP = "actor_rollout_ref.actor.fsdp_config"
BYPASS = "algorithm.rollout_correction.bypass_mode=true"
TWO_UPDATES = (f"{SEPARATE}=2", "actor_rollout_ref.actor.ppo_mini_batch_size=4")


def separate(folder: Path, *overrides: str) -> DictConfig:
    sizes = ["data.train_batch_size=8", "actor_rollout_ref.actor.ppo_mini_batch_size=8"]
    return composed(folder, *mode_overrides("separate_async"), *sizes, *overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        (f"{ROLLOUT}.n_gpus_per_node=2", "ray_kwargs.ray_init.num_gpus=3", "actor_rollout_ref.hybrid_engine=false"),
        # A cluster that runs has what it has.
        (f"{ROLLOUT}.nnodes=9", "ray_kwargs.ray_init.address=auto"),
        ("treepo.rollout.backend=portable", "treepo.rollout.seeded_requests=false"),
        (*TWO_UPDATES, BYPASS),
        (*TWO_UPDATES, "actor_rollout_ref.actor.strategy=fsdp"),
        (f"{ENGINE}.backend=mine", f"{ENGINE}.custom_backend_module=my.module"),
        ("actor_rollout_ref.model.lora_rank=8", "actor_rollout_ref.model.lora.merge=true"),
    ],
    ids=str,
)
def test_servers_of_their_own_pass(folder: Path, overrides: tuple[str, ...]) -> None:
    run_checks(separate(folder, *overrides), rollout, training)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([f"{ROLLOUT}.nnodes=0"], "the servers need accelerators of their own besides the trainer's"),
        ([f"{ROLLOUT}.n_gpus_per_node=0"], f"{ROLLOUT}.nnodes=1 x {ROLLOUT}.n_gpus_per_node=0 is refused"),
        ([f"{ROLLOUT}.n_gpus_per_node=3", f"{ROLLOUT}.tensor_model_parallel_size=2"], "2 each (tensor x data x pipe"),
        (["ray_kwargs.ray_init.num_gpus=1"], "take 2; set it to 2"),
        ([f"{ENGINE}.backend=naive"], "set it to gloo"),
        ([f"{ENGINE}.backend=nccl"], f"{ENGINE}.backend=nccl is refused"),
        ([f"{ENGINE}.backend=naive", "trainer.device=cuda"], "set it to nccl (or gloo, by way of main memory)"),
        (["actor_rollout_ref.model.lora_rank=8"], "would never have the adapters; set it to true"),
        (["reward.reward_model.enable=true"], "never make room for the reward model; set it to true"),
        (["treepo.rollout.backend=portable"], "treepo.rollout.seeded_requests=true is refused"),
        ([f"{SEPARATE}=0"], f"{SEPARATE}=0 is refused: it is the updates of a step"),
        ([f"{SEPARATE}=2"], "data.train_batch_size=8 must be that many times"),
        ([*TWO_UPDATES], f"{SEPARATE}=2 is refused with trainer.device=cpu: verl would not keep the weights"),
        (
            [*TWO_UPDATES, "trainer.device=cuda", f"{ENGINE}.backend=nccl", f"{FSDP}.param_offload=true"],
            f"{SEPARATE}=2 is refused with {FSDP}.param_offload=true",
        ),
        (
            [*TWO_UPDATES, "trainer.device=cuda", f"{ENGINE}.backend=nccl", f"{FSDP}.offload_policy=true"],
            "set algorithm.rollout_correction.bypass_mode=true",
        ),
    ],
    ids=str,
)
def test_servers_of_their_own_that_cannot_start_or_learn_are_one_line(
    folder: Path, overrides: list[str], words: str
) -> None:
    with pytest.raises(ConfigError) as error:
        run_checks(separate(folder, *overrides), rollout, training)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
