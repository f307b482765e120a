"""Packing is on wherever it is exact; elsewhere it is off, or refused in one line where it was asked for."""

import json
from pathlib import Path

import pytest
from omegaconf import DictConfig
from tiny_stack import compose_tiny, write_tiny_model

from treepo.config import ConfigError
from treepo.config.load import compose, resolve, tree_options
from treepo.packing.attention import MODEL_TYPES
from treepo.verl.training.packing import (
    ENGINE_MODULE,
    MODEL_TYPE,
    obstacle,
    packs,
    use_packed_engine,
    uses_packed_engine,
)

ACTOR, MODEL = "actor_rollout_ref.actor", "actor_rollout_ref.model"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny_model(tmp_path_factory.mktemp("switch") / "model")
    gemma = folder.parent / "gemma"
    gemma.mkdir()
    (gemma / "config.json").write_text(json.dumps({"model_type": "gemma2"}))
    (folder.parent / "broken").mkdir()
    (folder.parent / "broken" / "config.json").write_text('{"model_type": "no_such_model"}')
    return folder


def composed(folder: Path, *overrides: str) -> DictConfig:
    return compose_tiny(folder, [override.replace("@", f"{folder.parent}/") for override in overrides])


REFUSED = [
    (f"{ACTOR}.strategy=veomni", f"{ACTOR}.strategy=veomni: only verl's FSDP engine has a packed one; set it to fsdp2"),
    ("trainer.device=npu", "trainer.device=npu: attention over trees runs on cuda and cpu"),
    (f"{MODEL}.use_fused_kernels=true", "fused kernels take logits and log-probs by rows; set it to false"),
    (f"{ACTOR}.calculate_sum_pi_squared=true", "only log-probs and entropies are read out; set it to false"),
    (f"{MODEL}.enable_activation_offload=true", "tensors would come back in another layout than they left in"),
    ("distillation.enabled=true", "whole distributions are not read out; set it to false"),
    (f"{ACTOR}.fsdp_config.pad_to_length=true", "micro-batches have lengths of their own; set it to false"),
    (f"{ACTOR}.fsdp_config.qat.enable=true", "quantisation would see shared tokens once; set it to false"),
    (f"{MODEL}.path=@gemma", f"model type 'gemma2' (supported: {', '.join(MODEL_TYPES)}) is not packed"),
    (f"+{MODEL}.override_config.attention_dropout=0.1", "attention_dropout 0.1 is not packed"),
]


@pytest.mark.parametrize(("override", "words"), REFUSED)
def test_where_it_is_not_exact_it_is_off_or_refused_with_a_remedy(folder: Path, override: str, words: str) -> None:
    config = composed(folder, override)
    assert not packs(config, tree_options(config))
    asked = composed(folder, override, "treepo.packing.enabled=true")
    with pytest.raises(ConfigError) as refused:
        packs(asked, tree_options(asked))
    assert words in str(refused.value)
    assert str(refused.value).startswith("treepo.packing.enabled=true is refused with ")
    assert str(refused.value).endswith(", or treepo.packing.enabled=false")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        [f"{MODEL}.use_remove_padding=true"],
        [f"{ACTOR}.strategy=fsdp"],
        [f"{ACTOR}.use_dynamic_bsz=false", f"{ACTOR}.ppo_micro_batch_size_per_gpu=4"],
        [f"{ACTOR}.use_kl_loss=true", f"{ACTOR}.entropy_coeff=0.01"],
        [f"{MODEL}.enable_gradient_checkpointing=true", f"{MODEL}.lora_rank=8"],
        [f"{ACTOR}.ulysses_sequence_parallel_size=2", f"{MODEL}.use_remove_padding=true"],
        ["actor_rollout_ref.ref.ulysses_sequence_parallel_size=2", f"{MODEL}.use_remove_padding=true"],
    ],
)
def test_what_packing_takes_the_place_of_or_leaves_alone_is_no_obstacle(folder: Path, overrides: list[str]) -> None:
    config = composed(folder, *overrides)
    assert obstacle(config) is None
    assert packs(config, tree_options(config))


def test_it_can_be_turned_off(folder: Path) -> None:
    config = composed(folder, "treepo.packing.enabled=false")
    assert not packs(config, tree_options(config))


def test_a_model_on_a_hub_is_taken_to_be_supported_until_it_is_looked_up(folder: Path) -> None:
    config = composed(folder, f"{MODEL}.path=someone/some-model")
    assert obstacle(config, look_up=False) is None
    with pytest.raises(ConfigError, match=r"someone/some-model is refused"):
        obstacle(config)


def test_a_model_that_nothing_can_read_is_one_line(folder: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        obstacle(composed(folder, f"{MODEL}.path=@broken"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("given", ["null", "os", "[os,sys]"])
def test_verls_workers_are_told_by_its_own_options_and_keep_the_users_modules(folder: Path, given: str) -> None:
    from verl.utils.config import omega_conf_to_dataclass

    config = composed(folder, f"{MODEL}.external_lib={given}")
    assert not uses_packed_engine(config)
    use_packed_engine(config)
    assert uses_packed_engine(config)
    model = omega_conf_to_dataclass(config.actor_rollout_ref.model)
    others = {"null": [], "os": ["os"], "[os,sys]": ["os", "sys"]}[given]
    assert model.external_lib == [*others, ENGINE_MODULE]
    assert model.model_type == MODEL_TYPE


@pytest.mark.parametrize("preset", ["cpu_quickstart", "gpu_check", "qwen2_5_7b"])
def test_every_preset_is_packed(preset: str, folder: Path) -> None:
    config = compose(preset, [f"{MODEL}.path={folder}"])
    resolve(config)
    assert packs(config, tree_options(config))
