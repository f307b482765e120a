"""What a node of a training or an evaluation must have: what every machine must, and on accelerators a driver and more.

Looked at on every node when a start is about to begin; a dry run is often made elsewhere.
"""

import os
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from sysconfig import get_path

from omegaconf import DictConfig, OmegaConf

from treepo.config import ConfigError
from treepo.config.load import tree_options
from treepo.start.machine import check_node
from treepo.verl.training.packing import packs

_PLATFORM = "ray_kwargs.ray_init.runtime_env.env_vars.VERL_PLATFORM"


def check_training_node(config: DictConfig, *, alone: bool) -> None:
    """Refuses a machine on which a training would fail minutes later.

    Args:
        config: The whole configuration, resolved; accelerators are judged for CUDA alone.
        alone: Whether this is the only node; of several Ray counts the accelerators.

    Raises:
        ConfigError: One line that names what is missing and the remedy.
    """
    check_node(os.environ)
    if config.trainer.device != "cuda":
        return
    wanted, option = config.trainer.n_gpus_per_node, "trainer.n_gpus_per_node"
    if config.trainer.v1.trainer_mode == "separate_async":
        servers = config.actor_rollout_ref.rollout
        wanted += servers.nnodes * servers.n_gpus_per_node
        option += " + actor_rollout_ref.rollout.nnodes x actor_rollout_ref.rollout.n_gpus_per_node"
    check_this_machine(wanted=wanted if alone else 0, option=option)
    packed = packs(config, tree_options(config))
    check_flash_attention(config, packed=packed, found=find_spec("flash_attn") is not None)


def check_evaluation_node(config: DictConfig, *, alone: bool) -> None:
    """The same for an evaluation, which trains nothing.

    Args:
        config: The whole configuration, resolved; accelerators are not judged for one for CPUs.
        alone: Whether this is the only node.

    Raises:
        ConfigError: One line that names what is missing and the remedy.
    """
    check_node(os.environ)
    if OmegaConf.select(config, _PLATFORM) == "cpu":
        return
    wanted = config.actor_rollout_ref.rollout.n_gpus_per_node if alone else 0
    check_this_machine(wanted=wanted, option="evaluation.accelerators_per_node")


def check_this_machine(*, wanted: int, option: str) -> None:
    """Refuses this machine where kernels cannot run on it, or it has too few accelerators.

    Args:
        wanted: Accelerators that it must have.
        option: The option that asks for them.

    Raises:
        ConfigError: One line that names what is missing and the remedy.
    """
    # Only here: it takes seconds to import.
    import torch

    found = torch.cuda.device_count()
    check_driver(found, usable=torch.cuda.is_available(), built_for=torch.version.cuda, option=option)
    check_accelerators(found, wanted, option=option)
    check_compiler(os.environ, Path(get_path("include")))


def check_driver(found: int, *, usable: bool, built_for: str | None, option: str) -> None:
    """Refuses a torch that can use no accelerator of this machine.

    Args:
        found: Accelerators that the driver shows, which an old one does, too.
        usable: Whether torch can use them.
        built_for: The CUDA that torch is built for, as ``13.0``; None for a build without.
        option: The option that asks for accelerators.

    Raises:
        ConfigError: It is built without CUDA, or the driver is older than its CUDA.
    """
    if built_for is None:
        raise ConfigError(
            f"{option} asks for accelerators, and this environment's torch {version('torch')} is built without CUDA; "
            "make and activate one with the GPU set (bash scripts/setup.sh --gpu), or take a preset for CPUs, as "
            "--preset cpu_quickstart"
        )
    if found and not usable:
        raise ConfigError(
            f"{found} accelerators are visible here, and torch cannot use them: their driver is too old for CUDA "
            f"{built_for}, which it is built for (nvidia-smi); update it, for CUDA 13 to 580 or newer"
        )


def check_accelerators(found: int, wanted: int, *, option: str) -> None:
    """Refuses more accelerators than there are.

    Args:
        found: Those that are visible.
        wanted: Those that are asked for.
        option: The option that asks for them.

    Raises:
        ConfigError: There are too few.
    """
    if found < wanted:
        raise ConfigError(
            f"{option}={wanted} is refused: {found} accelerators are visible here (CUDA_VISIBLE_DEVICES, the driver); "
            "lower it, or take a preset for CPUs, as --preset cpu_quickstart"
        )


def check_compiler(environment: Mapping[str, str], include: Path) -> None:
    """Refuses an environment in which Triton, which vLLM and torch use on accelerators, can build nothing.

    Args:
        environment: The environment variables.
        include: The folder of Python's headers.

    Raises:
        ConfigError: A C compiler or ``Python.h`` is missing.
    """
    if not any(shutil.which(name) for name in (environment.get("CC"), "clang", "gcc", "cc") if name):
        raise ConfigError(
            "no C compiler is found (CC, clang, gcc, cc), and Triton builds what starts its kernels with one; install "
            "gcc"
        )
    if not (include / "Python.h").is_file():
        raise ConfigError(
            f"{include}/Python.h does not exist, and Triton builds what starts its kernels with it; install Python's "
            "headers, as with apt-get install python3-dev"
        )


def check_flash_attention(config: DictConfig, *, packed: bool, found: bool) -> None:
    """Refuses verl's own engine on accelerators without flash-attn where its options call for it.

    Args:
        config: The whole configuration, resolved.
        packed: Whether trees are packed: then the actor and the reference model do without.
        found: Whether flash-attn is installed.

    Raises:
        ConfigError: It is needed and not there.
    """
    if found:
        return
    roles = [*(() if packed else ("actor_rollout_ref.model",)), *(("critic.model",) if config.critic.enable else ())]
    for role in roles:
        model = OmegaConf.select(config, role)
        attention = model.override_config.get("attn_implementation", "flash_attention_2")
        if model.use_remove_padding or attention == "flash_attention_2":
            raise ConfigError(
                "flash-attn is not installed, and verl's own engine needs it (the actor's only where trees are not "
                f"packed): install it (README.md, Install), or set {role}.use_remove_padding=false and "
                f"+{role}.override_config.attn_implementation=sdpa"
            )
