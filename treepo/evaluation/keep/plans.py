"""Whether two plans of a run, or parts of them, are the same."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from treepo.config import ConfigError

_ABSENT = "(not set)"


def refuse_other(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuses to resume a run that was begun with another plan.

    Args:
        folder: The run's folder.
        before: The plan that is there, or a part of it, as plain values.
        now: The plan of this start, or the same part of it.

    Raises:
        ConfigError: They differ; one line that names what does, as in ``options.temperature=0.6, now 1.0``.
    """
    old, new = (dict(_flat(json.loads(json.dumps(plan)), "")) for plan in (before, now))
    names = [name for name in {**old, **new} if old.get(name, _ABSENT) != new.get(name, _ABSENT)]
    if names:
        found = "; ".join(f"{name}={old.get(name, _ABSENT)}, now {new.get(name, _ABSENT)}" for name in names)
        raise ConfigError(f"{folder} was begun with {found}; give the same options, or another folder")


def _flat(options: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
