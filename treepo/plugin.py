"""What verl loads of an installed TreePO in every process: entry point ``treepo`` of the group ``verl.plugins``.

It adds to verl's registries and replaces nothing, so that a plain ``python -m verl.trainer.main_ppo`` knows the tree
estimators (``algorithm.adv_estimator=treepo``), the packed engine (``actor_rollout_ref.model.model_type``) and the
checkpoint engine over gloo (``actor_rollout_ref.rollout.checkpoint_engine.backend=gloo``). Trees need ``treepo train``
all the same; ``docs/verl.md`` says what each is good for.

verl 0.9.1 loads the group at the end of its own import and passes over errors in silence. Nothing of verl is imported
here at that time: a registry is added to when verl itself imports the module that holds it.
"""

import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)


def _add_estimators() -> None:
    # Which registers them; at its end, so that it may itself be what makes verl import its registry.
    importlib.import_module("treepo.verl.training.estimators")


def _add_packed_engine() -> None:
    importlib.import_module("treepo.verl.training.packed_engine")


def _add_checkpoint_engine() -> None:
    importlib.import_module("treepo.verl.gloo_checkpoint_engine")


ADDITIONS: dict[str, Callable[[], None]] = {
    "verl.trainer.ppo.core_algos": _add_estimators,
    "verl.workers.engine": _add_packed_engine,
    "verl.checkpoint_engine": _add_checkpoint_engine,
}
"""verl's module that holds a registry, and what is added once it has been imported."""


def _add(name: str) -> None:
    try:
        ADDITIONS[name]()
    except Exception:
        # verl without trees is still verl: what a process never asks for must not end it.
        logger.warning("TreePO could not add to %s, and verl runs without it", name, exc_info=True)


class _Watch(MetaPathFinder):
    """Leaves finding to the other finders, and adds to a module once it has been executed."""

    def __init__(self) -> None:
        self._finding: set[str] = set()

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname not in ADDITIONS or fullname in self._finding:
            return None
        self._finding.add(fullname)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._finding.discard(fullname)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def execute_and_add(module: ModuleType) -> None:
                execute(module)
                _add(fullname)

            loader.exec_module = execute_and_add
        return spec


def _install() -> None:
    sys.meta_path.insert(0, _Watch())
    for name in ADDITIONS:
        if name in sys.modules:
            _add(name)


_install()
