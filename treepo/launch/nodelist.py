"""Slurm's compressed host lists, without Slurm's own tools, which are seldom inside a container."""

import itertools
import re
from collections.abc import Iterator

from treepo.config import ConfigError

_RANGE = re.compile(r"(?P<first>\d+)(?:-(?P<last>\d+))?")
_MOST_HOSTS = 100_000


def expand_nodelist(text: str) -> list[str]:
    """The hosts of a list as ``gpu[01-03,07],rack[1-2]n[1-4],login``, in its order.

    Args:
        text: The list; several brackets in one name multiply, the last one running fastest.

    Returns:
        One name per host; leading zeros are kept.

    Raises:
        ConfigError: The list cannot be read.
    """
    hosts = [host for name in _split(text) for host in _expand(name, text)]
    if not hosts:
        raise ConfigError(f"the host list {text!r} is empty")
    return hosts


def _split(text: str) -> Iterator[str]:
    """Splits at the commas outside brackets."""
    depth, start = 0, 0
    for place, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if depth not in (0, 1):
            raise ConfigError(f"the host list {text!r} cannot be read: its brackets do not match")
        if letter == "," and depth == 0:
            yield text[start:place].strip()
            start = place + 1
    if depth:
        raise ConfigError(f"the host list {text!r} cannot be read: its brackets do not match")
    if last := text[start:].strip():
        yield last


def _expand(name: str, text: str) -> list[str]:
    parts = re.split(r"\[([^\]]*)\]", name)
    choices = [_numbers(part, text) if index % 2 else [part] for index, part in enumerate(parts)]
    return ["".join(pieces) for pieces in itertools.product(*choices)]


def _numbers(ranges: str, text: str) -> list[str]:
    numbers: list[str] = []
    for item in ranges.split(","):
        match = _RANGE.fullmatch(item.strip())
        if match is None:
            raise ConfigError(f"the host list {text!r} cannot be read: {item!r} is no range of numbers")
        first, last = match["first"], match["last"] or match["first"]
        if not 0 <= int(last) - int(first) < _MOST_HOSTS:
            raise ConfigError(f"the host list {text!r} cannot be read: {item!r} does not count up")
        numbers += [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return numbers
