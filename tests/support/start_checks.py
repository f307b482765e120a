"""Runs some of the checks before a start."""

from types import ModuleType

from omegaconf import DictConfig

from treepo.start.checks import CHECKS
from treepo.start.declared import Start


def run_checks(config: DictConfig, *modules: ModuleType, accept_changes: bool = False) -> list[str]:
    """Runs the checks of some modules, in their order; the warnings."""
    start = Start(config=config, accept_changes=accept_changes)
    names = {module.__name__ for module in modules}
    return [warning for check in CHECKS if check.__module__ in names for warning in check(start) or ()]
