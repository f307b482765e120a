"""verl's plugin mechanism loads TreePO where it is installed, which adds to verl's registries and replaces nothing.

verl passes over a plugin's errors in silence, so that a test must load it. Checked against verl 0.9.1.
"""

import importlib
import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import verl
from fresh_process import run_fresh
from installed import GROUP, entry_points, install_metadata

from treepo import plugin
from treepo.advantage import ESTIMATORS
from treepo.verl.training.packing import MODEL_TYPE

LOADED = """
import json, sys
import verl
print(json.dumps(sorted(sys.modules)))
"""
REGISTRIES = """
import json, sys
import verl
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY
from verl.workers.engine import EngineRegistry
from verl.checkpoint_engine import CheckpointEngineRegistry
from verl.experimental.agent_loop.agent_loop import _agent_loop_registry
from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY
from verl.workers.rollout.base import _ROLLOUT_REGISTRY
from verl.workers.rollout.replica import RolloutReplicaRegistry

def named(thing):
    return f"{thing.__module__}.{thing.__qualname__}"

print(json.dumps({
    "estimators": {str(name): named(function) for name, function in ADV_ESTIMATOR_REGISTRY.items()},
    "engines": {
        f"{model} {backend} {device}": named(engine)
        for model, backends in EngineRegistry._engines.items()
        for backend, devices in backends.items()
        for device, engine in devices.items()
    },
    "loops": {name: str(entry) for name, entry in _agent_loop_registry.items()},
    "trainers": {name: named(trainer) for name, trainer in TRAINER_REGISTRY.items()},
    "adapters": {" ".join(name): adapter for name, adapter in _ROLLOUT_REGISTRY.items()},
    "checkpoint engines": {name: named(engine) for name, engine in CheckpointEngineRegistry._registry.items()},
    "replicas": {name: named(loader) for name, loader in RolloutReplicaRegistry._registry.items()},
    "vllm": "vllm" in sys.modules,
}))
"""


def answer(code: str, python_path: str, *, as_on_a_gpu: bool = False, **environment: str) -> Any:
    """What a fresh process prints last; without our platform for CPUs, which imports more of ours, where asked."""
    ours = ("VERL_USE_EXTERNAL_MODULES", "VERL_PLATFORM") if as_on_a_gpu else ()
    printed = run_fresh(code, path=python_path.split(os.pathsep), without=ours, environment=environment)
    assert "TreePO could not add" not in printed.err, printed.err
    return json.loads(printed.last)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> str:
    return install_metadata(tmp_path_factory.mktemp("installed"))


def test_the_project_declares_a_plugin_that_can_be_loaded() -> None:
    assert entry_points() == {"treepo": "treepo.plugin"}
    assert importlib.import_module(entry_points()["treepo"]) is plugin


def test_verl_still_loads_the_group_when_it_is_imported() -> None:
    text = inspect.getsource(verl)
    assert f'_entry_points(group="{GROUP}")' in text
    assert '"VERL_USE_EXTERNAL_PLUGINS", "auto"' in text


def test_importing_verl_loads_the_plugin_and_nothing_heavy(installed: str) -> None:
    without = answer(LOADED, installed, as_on_a_gpu=True, VERL_USE_EXTERNAL_PLUGINS="none")
    added = set(answer(LOADED, installed, as_on_a_gpu=True)) - set(without)
    ours = {name for name in added if name.split(".")[0] == "treepo"}
    assert ours == {"treepo", "treepo.logs", "treepo.plugin"}
    # What is left is part of Python, for reading the entry points.
    assert {name.split(".")[0] for name in added - ours} <= sys.stdlib_module_names


def test_it_adds_to_verls_registries_and_replaces_nothing(installed: str) -> None:
    plain = answer(REGISTRIES, installed, VERL_USE_EXTERNAL_PLUGINS="none")
    found = answer(REGISTRIES, installed)
    assert found["vllm"] is plain["vllm"]
    added = {}
    for registry, entries in plain.items():
        if isinstance(entries, dict):
            assert {name: found[registry][name] for name in entries} == entries, "what was there is as it was"
            added[registry] = set(found[registry]) - set(entries)
    device = {f"{MODEL_TYPE} {backend} cuda" for backend in ("fsdp", "fsdp2")}
    assert added == {
        "estimators": set(ESTIMATORS),
        "engines": device,
        "loops": set(),
        "trainers": set(),
        "adapters": set(),
        "checkpoint engines": {"gloo"},
        "replicas": set(),
    }


@pytest.mark.parametrize(
    "module",
    [
        "training.packed_engine",
        *(pytest.param(name, marks=pytest.mark.nightly) for name in ("training.estimators", "gloo_checkpoint_engine")),
    ],
)
def test_our_own_module_may_be_what_imports_verls_registry(installed: str, module: str) -> None:
    first = f"import verl, treepo.verl.{module}\n"
    found = answer(first + REGISTRIES, installed)
    assert set(ESTIMATORS) <= set(found["estimators"])
    assert f"{MODEL_TYPE} fsdp2 cuda" in found["engines"]
    assert "gloo" in found["checkpoint engines"]


def test_what_cannot_be_added_is_said_and_ends_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def broken() -> None:
        raise ImportError("no torch here")

    (tmp_path / "holds_a_registry.py").write_text("REGISTRY = {}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(plugin.ADDITIONS, "holds_a_registry", broken)
    module = importlib.import_module("holds_a_registry")
    monkeypatch.delitem(sys.modules, "holds_a_registry")
    assert module.REGISTRY == {}
    assert "TreePO could not add to holds_a_registry, and verl runs without it" in caplog.text
    assert "no torch here" in caplog.text
