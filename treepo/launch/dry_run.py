"""What ``--dry-run`` prints: the configuration, the memory it expects, and what the job's own checks say of it."""

import sys
from collections.abc import Callable, Sequence

from omegaconf import DictConfig, OmegaConf

from treepo.config import ConfigError
from treepo.launch.nodes.run import REFUSED


def dry_run(config: DictConfig, *, check: Callable[[], Sequence[str]], memory: Callable[[], str]) -> int:
    """Prints all of it; starts and writes nothing.

    Args:
        config: The composed configuration, resolved.
        check: The job's checks; gives warnings, or raises `ConfigError`.
        memory: The estimate as a table; raises `ConfigError` where there is none.

    Returns:
        The exit status: 0 the job would start, 2 it would be refused. A missing estimate does not change it.
    """
    sys.stdout.write(OmegaConf.to_yaml(config))
    warnings: Sequence[str] = ()
    refusal = None
    try:
        warnings = check()
    except ConfigError as error:
        refusal = error
    sys.stdout.write(f"\n{_estimated(memory, refused=refusal is not None)}\n\n")
    # Before what goes to the other stream, so that it is read last.
    sys.stdout.flush()
    for warning in warnings:
        sys.stderr.write(f"warning: {warning}\n")
    if refusal is None:
        return 0
    sys.stderr.write(f"error: {refusal}\n")
    return REFUSED


def _estimated(memory: Callable[[], str], *, refused: bool) -> str:
    try:
        return memory()
    except ConfigError as error:
        return f"no estimate: {error}"
    except (ArithmeticError, LookupError, TypeError, ValueError):
        # An option of another type than its own; the refusal names it.
        if not refused:
            raise
        return "no estimate: the configuration is refused"
