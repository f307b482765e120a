"""Each patch of the CPU platform still fits what it patches, and is still needed."""

import inspect
from importlib.metadata import PackageNotFoundError, packages_distributions

import pytest
from fresh_process import run_fresh

CPU = {"VERL_PLATFORM": "cpu", "VERL_ENGINE_DEVICE": "cuda", "VERL_USE_EXTERNAL_MODULES": "treepo.verl.cpu"}


def source(thing: object) -> str:
    return inspect.getsource(thing)  # type: ignore[arg-type]


def run(code: str, *, patched: bool = True) -> str:
    """Runs code in a process of its own: the patches change the process they are applied in."""
    return run_fresh(code, without=list(CPU), environment=CPU if patched else {}).out.strip()


def test_verl_has_no_cpu_platform_of_its_own() -> None:
    names = run(
        "from verl.plugin.platform import PlatformRegistry as r; print(sorted(r.registered_names()))", patched=False
    )
    assert "cpu" not in names


def test_verl_loads_the_platform_through_its_own_door() -> None:
    printed = run(
        "import verl; from verl.plugin.platform import get_platform as g; p = g(); "
        "print(type(p).__name__, p.device_name, p.current_device(), p.communication_backend_name())",
    )
    assert printed.endswith("PlatformCPU cpu cpu gloo")


def test_the_platform_answers_everything_that_verl_may_ask() -> None:
    printed = run(
        "import verl; from verl.plugin.platform import PlatformBase, get_platform; "
        "print(sorted(PlatformBase.__abstractmethods__ - set(dir(get_platform()))))",
    )
    assert printed.endswith("[]")


def test_verl_asks_for_a_doubled_backend() -> None:
    from verl.utils import distributed

    for function in (distributed.initialize_global_process_group, distributed.initialize_global_process_group_ray):
        assert 'f"cpu:gloo,{get_device_name()}:{get_nccl_backend()}"' in source(function)


def test_torch_refuses_the_doubled_backend_and_the_patch_mends_it() -> None:
    start = (
        "import torch.distributed as d; "
        "d.init_process_group('cpu:gloo,cpu:gloo', init_method='tcp://127.0.0.1:0', rank=0, world_size=1); "
        "print(d.get_backend())"
    )
    with pytest.raises(Exception, match=r"(?i)duplicate"):
        run(start, patched=False)
    assert run("import verl; " + start).endswith("gloo")


@pytest.mark.skipif("vllm" in packages_distributions().get("vllm", ()), reason="the GPU set has a distribution vllm")
def test_verl_asks_for_the_version_of_a_distribution_named_vllm() -> None:
    assert run("import verl; from importlib.metadata import version; print(version('vllm'))").endswith("+cpu")
    with pytest.raises(PackageNotFoundError):
        run("from importlib.metadata import version; version('vllm')", patched=False)


def test_verl_pins_the_offloaded_reference_model() -> None:
    from verl.workers.engine.fsdp import transformer_impl

    assert "CPUOffloadPolicy(pin_memory=True)" in source(transformer_impl)
    printed = run(
        "import verl; from torch.distributed.fsdp import CPUOffloadPolicy as p; print(p(pin_memory=True).pin_memory)",
    )
    assert printed.endswith("False")


def test_vllms_cpu_linear_layers_drop_their_weight_unless_replaced() -> None:
    from vllm.model_executor.layers import utils

    assert list(inspect.signature(utils.dispatch_cpu_unquantized_gemm).parameters) == ["layer", "remove_weight"]
    assert "remove_weight" in source(utils.dispatch_cpu_unquantized_gemm)
    kept = run(
        "import torch, verl\n"
        "from treepo.verl.cpu.patches import keep_plain_weights\n"
        "keep_plain_weights()\n"
        "from vllm.model_executor.layers import utils\n"
        "layer = torch.nn.Linear(64, 64)\n"
        "utils.dispatch_cpu_unquantized_gemm(layer, remove_weight=True)\n"
        "layer.weight.data.zero_()\n"
        "print(float(layer.cpu_linear(torch.ones(1, 64), layer.weight, None).sum()))",
    )
    assert kept.endswith("0.0")
