"""Files that are written whole or not at all, their checksums, and one writer per folder."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from treepo.datasets.errors import DataError

UNFINISHED = ".unfinished"
"""Ending of what a killed run may leave; the next run writes over it."""


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
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


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Makes the folder and holds it for one preparation; the lock goes with the process, however it ends.

    Raises:
        DataError: Another preparation holds it, or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise DataError(f"--output {folder} cannot be written to ({error.strerror}); give another folder") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(f"--output {folder}: another preparation is writing there; wait for it") from error
        yield
    finally:
        os.close(descriptor)
