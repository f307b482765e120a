"""A verl platform without an accelerator."""

import resource
import types
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry

_CPU = torch.device("cpu")


def _resident_bytes(*_: object) -> int:
    return psutil.Process().memory_info().rss


def _peak_bytes(*_: object) -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _free_and_total(*_: object) -> tuple[int, int]:
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def _device_module() -> types.ModuleType:
    """What verl expects of ``torch.cuda``, answered for the host."""
    module = types.ModuleType("treepo.verl.cpu.device")

    def nothing(*_: object, **__: object) -> None:
        return None

    members = {
        # "No accelerator": verl then skips the housekeeping of device memory.
        "is_available": lambda: False,
        "device_count": lambda: 1,
        "current_device": lambda: _CPU,
        "get_device_name": lambda *_: "CPU",
        "manual_seed": torch.manual_seed,
        "manual_seed_all": torch.manual_seed,
        "get_rng_state": lambda *_: torch.get_rng_state(),
        "set_rng_state": lambda state, *_: torch.set_rng_state(state),
        "memory_allocated": _resident_bytes,
        "memory_reserved": _resident_bytes,
        "max_memory_allocated": _peak_bytes,
        "max_memory_reserved": _peak_bytes,
        "mem_get_info": _free_and_total,
    }
    members |= dict.fromkeys(
        (
            "set_device",
            "synchronize",
            "empty_cache",
            "ipc_collect",
            "reset_peak_memory_stats",
            "reset_accumulated_memory_stats",
        ),
        nothing,
    )
    for name, member in members.items():
        setattr(module, name, member)
    return module


@PlatformRegistry.register(platform="cpu")
class PlatformCPU(PlatformBase):
    """The host's processors as the one device of every worker."""

    _module = _device_module()

    @property
    def device_name(self) -> str:
        """Name of the torch device type."""
        return "cpu"

    @property
    def vendor_name(self) -> str:
        """Name of the vendor; a CPU needs none."""
        return "cpu"

    @property
    def device_module(self) -> types.ModuleType:
        """The stand-in for ``torch.cuda``."""
        return self._module

    def is_available(self) -> bool:
        """A CPU is always there."""
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        """Never found by itself: the CPU is used only where ``VERL_PLATFORM=cpu`` asks for it."""
        return False

    def current_device(self) -> torch.device:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A device object: verl calls ``tensor.to(...)`` with it, and a bare integer would mean an accelerator."""
        return _CPU

    def device_count(self) -> int:
        """One device per worker."""
        return 1

    def set_device(self, device_index: int) -> None:
        """There is only one."""

    def synchronize(self, device_index: int | None = None) -> None:
        """CPU operations are synchronous."""

    def manual_seed(self, seed: int) -> None:
        """Seeds torch."""
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        """Seeds torch."""
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        """The host's allocator has no such settings."""

    def empty_cache(self) -> None:
        """The host's allocator keeps no cache."""

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        """No compute capability."""
        return None, None

    def communication_backend_name(self) -> str:
        """Backend of torch.distributed."""
        return "gloo"

    def visible_devices_envvar(self) -> str:
        """The variable that verl sets on its servers; nothing reads it here."""
        return "CUDA_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """No profiler ranges."""
        yield

    def profiler_start(self) -> None:
        """No device profiler."""

    def profiler_stop(self) -> None:
        """No device profiler."""

    def ray_resource_name(self) -> str:
        """A logical resource: ``ray.init(num_gpus=N)`` declares N slots with no device behind them."""
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        """Keeps Ray from touching the visible devices."""
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        """No device memory to share: weights travel to the servers through POSIX shared memory."""
        return False

    def cudart(self) -> None:
        """No CUDA runtime."""
        return
