"""What a machine with accelerators lacks is one line before a start; drivers and accelerators are simulated."""

import re
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from treepo.config import ConfigError
from treepo.config.load import compose
from treepo.evaluation.config import compose_evaluation
from treepo.start import accelerators


def test_fewer_accelerators_than_asked_for_are_refused_with_the_option() -> None:
    accelerators.check_accelerators(8, 8, option="trainer.n_gpus_per_node")
    with pytest.raises(ConfigError, match=r"^trainer.n_gpus_per_node=8 is refused: 0 accelerators are visible"):
        accelerators.check_accelerators(0, 8, option="trainer.n_gpus_per_node")


def test_a_machine_without_a_compiler_or_headers_is_refused_by_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerators.shutil, "which", lambda name: "/usr/bin/gcc" if name == "gcc" else None)
    with pytest.raises(ConfigError, match=r"Python\.h does not exist, .*python3-dev$"):
        accelerators.check_compiler({}, tmp_path)
    (tmp_path / "Python.h").touch()
    accelerators.check_compiler({}, tmp_path)
    monkeypatch.setattr(accelerators.shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match=r"^no C compiler is found .*install gcc$"):
        accelerators.check_compiler({}, tmp_path)


ROWS = "actor_rollout_ref.model.use_remove_padding=false"
ATTENTION = "+actor_rollout_ref.model.override_config.attn_implementation=sdpa"


@pytest.mark.parametrize("overrides", [[], [ROWS], [ATTENTION]], ids=str)
def test_verls_engine_without_flash_attn_is_refused_with_the_options_that_go_without(overrides: list[str]) -> None:
    config = compose("qwen2_5_7b", overrides)
    with pytest.raises(ConfigError, match=f"^flash-attn is not installed.*{re.escape(f'{ROWS} and {ATTENTION}')}"):
        accelerators.check_flash_attention(config, packed=False, found=False)
    accelerators.check_flash_attention(config, packed=True, found=False)
    accelerators.check_flash_attention(config, packed=False, found=True)


def test_both_options_go_without_flash_attn_and_a_critic_needs_them_too() -> None:
    accelerators.check_flash_attention(compose("qwen2_5_7b", [ROWS, ATTENTION]), packed=False, found=False)
    config = compose("qwen2_5_7b", [ROWS, ATTENTION, "critic.enable=true"])
    with pytest.raises(ConfigError, match=r"critic\.model\.use_remove_padding=false"):
        accelerators.check_flash_attention(config, packed=True, found=False)


def test_a_torch_without_cuda_is_refused_with_the_command_that_makes_the_other_set() -> None:
    with pytest.raises(ConfigError, match=r"^an\.option asks for accelerators, .* without CUDA; .*setup\.sh --gpu"):
        accelerators.check_driver(0, usable=False, built_for=None, option="an.option")


def test_a_driver_older_than_torchs_cuda_is_refused_although_it_shows_its_accelerators() -> None:
    accelerators.check_driver(8, usable=True, built_for="13.0", option="an.option")
    # Their number is the next check's.
    accelerators.check_driver(0, usable=False, built_for="13.0", option="an.option")
    with pytest.raises(ConfigError, match=r"^8 accelerators are visible .* too old for CUDA 13\.0, .*580 or newer$"):
        accelerators.check_driver(8, usable=False, built_for="13.0", option="an.option")


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine with two accelerators, torch for CUDA 13, gcc and headers, without flash-attn."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(accelerators, "check_node", lambda _: None)
    monkeypatch.setattr(accelerators.shutil, "which", lambda name: "/usr/bin/gcc")
    monkeypatch.setattr(accelerators, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(accelerators, "find_spec", lambda name: None)
    # As for a model that packing supports; it would be read from a hub.
    monkeypatch.setattr(accelerators, "packs", lambda config, options: options.packing.enabled is not False)
    (tmp_path / "Python.h").touch()
    return monkeypatch


def training(count: int, *more: str) -> DictConfig:
    return compose("qwen2_5_7b", [f"trainer.n_gpus_per_node={count}", "trainer.nnodes=1", *more])


def test_a_node_with_all_that_a_packed_training_needs_passes(simulated: pytest.MonkeyPatch) -> None:
    accelerators.check_training_node(training(2), alone=True)
    # Of several nodes Ray counts the accelerators.
    accelerators.check_training_node(training(8), alone=False)
    with pytest.raises(ConfigError, match=r"^trainer\.n_gpus_per_node=8 is refused"):
        accelerators.check_training_node(training(8), alone=True)


def test_servers_of_their_own_on_the_only_node_need_accelerators_besides_the_trainers(
    simulated: pytest.MonkeyPatch,
) -> None:
    servers = [f"actor_rollout_ref.rollout.{option}=1" for option in ("nnodes", "n_gpus_per_node")]
    accelerators.check_training_node(training(2, *servers), alone=True)
    apart = ["trainer.v1.trainer_mode=separate_async", *servers]
    accelerators.check_training_node(training(1, *apart), alone=True)
    with pytest.raises(
        ConfigError, match=r"rollout\.nnodes x actor_rollout_ref\.rollout\.n_gpus_per_node=3 is refused"
    ):
        accelerators.check_training_node(training(2, *apart), alone=True)


@pytest.mark.parametrize("alone", [True, False])
def test_every_node_of_a_training_is_asked_for_driver_compiler_and_flash_attn(
    simulated: pytest.MonkeyPatch, alone: bool
) -> None:
    with pytest.raises(ConfigError, match=r"^flash-attn is not installed"):
        accelerators.check_training_node(training(2, "treepo.packing.enabled=false"), alone=alone)
    simulated.setattr(accelerators.shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match=r"^no C compiler"):
        accelerators.check_training_node(training(2), alone=alone)
    simulated.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="too old for CUDA"):
        accelerators.check_training_node(training(2), alone=alone)


def test_every_node_is_asked_for_what_every_machine_must_have(simulated: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise ConfigError("no room")

    simulated.setattr(accelerators, "check_node", refuse)
    with pytest.raises(ConfigError, match="no room"):
        accelerators.check_training_node(compose("cpu_quickstart", []), alone=True)
    with pytest.raises(ConfigError, match="no room"):
        accelerators.check_evaluation_node(compose_evaluation("quickstart", ["evaluation.model=x"]), alone=True)


def test_a_training_on_cpus_is_not_asked_for_accelerators(simulated: pytest.MonkeyPatch) -> None:
    simulated.setattr(accelerators, "check_this_machine", lambda **_: pytest.fail("it is"))
    accelerators.check_training_node(compose("cpu_quickstart", []), alone=True)


def test_an_evaluation_is_asked_for_all_but_flash_attn_and_one_on_cpus_for_nothing(
    simulated: pytest.MonkeyPatch,
) -> None:
    given = ["evaluation.model=x", "evaluation.accelerators_per_node=8"]
    config = compose_evaluation("avg16", given)
    accelerators.check_evaluation_node(config, alone=False)
    with pytest.raises(ConfigError, match=r"^evaluation\.accelerators_per_node=8 is refused"):
        accelerators.check_evaluation_node(config, alone=True)
    simulated.setattr(accelerators, "check_this_machine", lambda **_: pytest.fail("it is"))
    accelerators.check_evaluation_node(compose_evaluation("quickstart", ["evaluation.model=x"]), alone=True)
