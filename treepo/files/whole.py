"""Files and folders that are written whole or not at all."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".unfinished"
"""Ending of what a killed process may leave; the next one writes over it."""


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file beside its place and moves it there once it is complete and on the disk.

    Args:
        path: Its place; the folder exists.
        write: Writes the content to the path it is given.
    """
    unfinished = path.with_name(path.name + UNFINISHED)
    write(unfinished)
    with unfinished.open("rb+") as file:
        os.fsync(file.fileno())
    unfinished.replace(path)


def write_text_whole(path: Path, text: str) -> None:
    """Writes a text as UTF-8; what that cannot express, as half of a surrogate pair, becomes a question mark."""
    write_whole(path, lambda unfinished: unfinished.write_bytes(text.encode("utf-8", errors="replace")))


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Gives an empty folder beside a folder's place, and moves it there when the block has ended without an exception.

    Args:
        path: Its place; what is there is replaced.
    """
    unfinished = path.with_name(path.name + UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        shutil.rmtree(path, ignore_errors=True)
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
