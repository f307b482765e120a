"""Keeps what an earlier start has written."""

from pathlib import Path


def set_aside(path: Path) -> Path:
    """Renames a file or folder that an earlier start has written, so that nothing is written over it.

    Returns:
        Its new name: ``NAME.before``, or the first of ``NAME.before2``, ``NAME.before3``, ... that is free.
    """
    number, aside = 1, path.with_name(f"{path.name}.before")
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.before{number}")
    return path.rename(aside)
