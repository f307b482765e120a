"""Presets: the published values, and every key one that verl reads, down to the conversions it does at its start."""

from pathlib import Path
from typing import Any

import pytest
import verl as verl_package
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from tiny_stack import write_tiny_model
from training_run import write_sums

import treepo
from treepo.config.load import CONFIG_DIR, compose, resolve
from treepo.start.checks import check

PRESETS = sorted(path.stem for path in CONFIG_DIR.glob("*.yaml") if path.stem != "treepo_trainer")
ACTOR, ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"

PUBLISHED = {
    "actor_rollout_ref.model.path": "Qwen/Qwen2.5-7B",
    "data.max_prompt_length": 1024,
    "data.max_response_length": 7 * 1024,
    "data.train_batch_size": 512,
    "treepo.width": 16,
    "treepo.segment_length": 512,
    "treepo.max_depth": 14,
    "treepo.max_divergence": 2,
    "treepo.initial_divergence": [2, 8],
    "treepo.fallback.candidates": "answered_or_eos",
    "treepo.fallback.cut": "random",
    "treepo.termination.answer": "boxed_and_eos",
    "treepo.termination.repetition.enabled": True,
    "treepo.termination.repetition.priority": "first",
    "treepo.advantage.subgroup_weighting": "average",
    "treepo.advantage.include_root": True,
    "treepo.advantage.reject_degenerate": False,
    "algorithm.adv_estimator": "treepo",
    f"{ROLLOUT}.n": 16,
    f"{ROLLOUT}.temperature": 1.0,
    f"{ROLLOUT}.top_p": 1.0,
    f"{ACTOR}.ppo_mini_batch_size": 32,
    f"{ACTOR}.optim.lr": 1e-6,
    f"{ACTOR}.optim.lr_warmup_steps": 10,
    f"{ACTOR}.optim.weight_decay": 0.1,
    f"{ACTOR}.optim.clip_grad": 1.0,
    f"{ACTOR}.clip_ratio_low": 0.2,
    f"{ACTOR}.clip_ratio_high": 0.28,
    f"{ACTOR}.clip_ratio_c": 10.0,
    f"{ACTOR}.loss_agg_mode": "token-mean",
    f"{ACTOR}.use_kl_loss": False,
    f"{ACTOR}.entropy_coeff": 0.0,
    "algorithm.use_kl_in_reward": False,
    "algorithm.filter_groups.enable": True,
    "algorithm.filter_groups.metric": "acc",
    "algorithm.filter_groups.max_inflight_gen_batches": 3,
    "reward.reward_manager.name": "dapo",
    "reward.reward_kwargs.max_resp_len": 7 * 1024,
    "reward.reward_kwargs.overlong_buffer_cfg.enable": True,
    "reward.reward_kwargs.overlong_buffer_cfg.len": 512,
    "reward.reward_kwargs.overlong_buffer_cfg.penalty_factor": 1.0,
    "trainer.test_freq": 10,
    "trainer.save_freq": 50,
    "trainer.total_epochs": 20,
}

# Ours, and what is handed on to Ray and to the reward manager. Where verl's configuration names a class, the conversion
# below finds a wrong key, but for the reward: verl never converts it.
FREE = ("run_dir", "treepo", "ray_kwargs.ray_init", "reward.reward_kwargs")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("presets")
    table = write_sums(folder / "table.parquet", 1024, seed=0)
    model = write_tiny_model(folder / "model")
    return [
        f"run_dir={folder / 'run'}",
        f"data.train_files=[{table}]",
        f"data.val_files=[{table}]",
        f"actor_rollout_ref.model.path={model}",
    ]


def resolved(preset: str, overrides: list[str]) -> DictConfig:
    config = compose(preset, overrides)
    resolve(config)
    return config


@pytest.fixture(scope="module")
def published() -> DictConfig:
    return resolved("qwen2_5_7b", [])


@pytest.mark.parametrize(("option", "value"), PUBLISHED.items(), ids=str)
def test_the_preset_of_the_published_run_holds_its_values(published: DictConfig, option: str, value: Any) -> None:
    assert OmegaConf.select(published, option) == value


def test_the_published_run_has_64_accelerators() -> None:
    trainer = compose("qwen2_5_7b", []).trainer
    assert trainer.nnodes * trainer.n_gpus_per_node == 64


def test_the_published_run_can_reach_the_longest_response_and_needs_no_longer_context() -> None:
    config = compose("qwen2_5_7b", [])
    assert config.treepo.max_depth * config.treepo.segment_length == config.data.max_response_length
    assert config.actor_rollout_ref.rollout.max_model_len == config.data.max_prompt_length + 7168


def test_the_published_run_reads_files_of_sets_that_the_project_prepares() -> None:
    data = compose("qwen2_5_7b", []).data
    sets = {path.stem for path in (Path(treepo.__file__).parent / "datasets" / "sets").glob("*.yaml")}
    assert {Path(file).stem for file in [*data.train_files, *data.val_files]} <= sets


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_passes_the_checks_without_a_warning(preset: str, files: list[str]) -> None:
    assert check(resolved(preset, files)) == []


def test_the_base_of_all_presets_saves_tests_and_reaches_its_longest_response_on_the_engine_that_was_run() -> None:
    config = resolved("treepo_trainer", [])
    assert (config.trainer.save_freq, config.trainer.test_freq, config.trainer.max_actor_ckpt_to_keep) == (20, 10, 3)
    assert config.treepo.max_depth * config.treepo.segment_length == config.data.max_response_length
    assert (config.actor_rollout_ref.actor.strategy, config.actor_rollout_ref.ref.strategy) == ("fsdp2", "fsdp2")


@pytest.mark.parametrize("preset", [*PRESETS, "treepo_trainer"])
def test_every_preset_saves_and_tests(preset: str) -> None:
    trainer = compose(preset, []).trainer
    assert min(trainer.save_freq, trainer.test_freq, trainer.max_actor_ckpt_to_keep) > 0


@pytest.mark.parametrize("preset", PRESETS)
def test_every_key_of_a_preset_is_one_of_verls(preset: str) -> None:
    verl = Path(verl_package.__file__).parent / "trainer" / "config"
    with initialize_config_dir(str(verl), version_base=None):
        known = set(names_without_a_class(hydra_compose("ppo_trainer")))
    names = names_without_a_class(compose(preset, []))
    assert [name for name in names if name not in known and not name.startswith(FREE)] == []


def names_without_a_class(config: DictConfig, prefix: str = "") -> list[str]:
    names = []
    for key in config:
        inner = config._get_node(str(key))
        name = f"{prefix}{key}"
        if not isinstance(inner, DictConfig) or inner._is_none() or not len(inner):
            names.append(name)
        elif "_target_" not in inner or name.startswith("reward"):
            names += names_without_a_class(inner, f"{name}.")
    return names


@pytest.mark.parametrize("preset", PRESETS)
def test_every_part_of_a_preset_converts_as_verl_converts_it_at_its_start(preset: str, files: list[str]) -> None:
    from verl.utils.config import omega_conf_to_dataclass
    from verl.workers.config import FSDPActorConfig, HFModelConfig, RolloutConfig

    config = resolved(preset, files)
    actor: FSDPActorConfig = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    rollout: RolloutConfig = omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    model: HFModelConfig = omega_conf_to_dataclass(config.actor_rollout_ref.model)
    omega_conf_to_dataclass(config.actor_rollout_ref.rollout.checkpoint_engine)
    omega_conf_to_dataclass(config.algorithm)
    # The engine is built from these, each found in another place than the user sets it.
    assert actor.engine.strategy == "fsdp2"
    assert actor.optim.clip_grad == 1.0
    assert (actor.clip_ratio_low, actor.clip_ratio_high, actor.get("clip_ratio_c")) == (0.2, 0.28, 10.0)
    assert actor.use_dynamic_bsz == rollout.log_prob_use_dynamic_bsz
    assert rollout.response_length == config.data.max_response_length
    assert model.tokenizer is not None


def test_the_reward_is_made_of_the_score_and_the_length_penalty_and_the_accuracy_of_neither(files: list[str]) -> None:
    import asyncio

    import numpy as np
    import torch
    from verl import DataProto
    from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls
    from verl.utils.tokenizer import hf_tokenizer

    from treepo.rewards.math import compute_score

    config = resolved("qwen2_5_7b", files)
    tokenizer = hf_tokenizer(config.actor_rollout_ref.model.path)

    async def scored(text: str, length: int) -> dict[str, Any]:
        tokens = tokenizer.encode(text, add_special_tokens=False)
        tokens += [tokenizer.eos_token_id] * (length - len(tokens))
        responses = torch.tensor([tokens])
        data = DataProto.from_dict(
            tensors={"responses": responses, "attention_mask": torch.ones_like(responses)},
            non_tensors={
                "data_source": np.array(["tests/sums"], dtype=object),
                "reward_model": np.array([{"ground_truth": "12"}], dtype=object),
                "extra_info": np.array([{}], dtype=object),
            },
        )
        manager = get_reward_manager_cls(config.reward.reward_manager.name)(config, tokenizer, compute_score)
        return await manager.run_single(data)

    def outcome(text: str, length: int) -> tuple[float, float]:
        result = asyncio.run(scored(text, length))
        return float(result["reward_score"]), result["reward_extra_info"]["acc"]

    assert outcome(r"\boxed{12}", 1000) == (1.0, 1.0)
    assert outcome(r"\boxed{13}", 1000) == (-1.0, 0.0)
    assert outcome(r"\boxed{12}", 7168 - 512) == (1.0, 1.0)
    assert outcome(r"\boxed{12}", 7168 - 256) == (0.5, 1.0)
    assert outcome(r"\boxed{13}", 7168) == (-2.0, 0.0)


def test_the_presets_are_named_in_the_docs() -> None:
    recipes = (Path(__file__).resolve().parents[3] / "docs" / "recipes.md").read_text()
    assert [preset for preset in PRESETS if f"`{preset}`" not in recipes] == []
