"""The remedy for a name that is not known: the known one that was probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches

_CUTOFF = 0.6


def close_to(word: str, known: Iterable[str], *, most: int = 1, cutoff: float = _CUTOFF) -> list[str]:
    """The known names that look like a word, the closest first.

    Args:
        word: What was typed.
        known: The names that there are.
        most: At most so many.
        cutoff: How alike they must be, 0 to 1.
    """
    return get_close_matches(word, list(known), n=most, cutoff=cutoff)


def suggestion(word: str, known: Iterable[str], *, otherwise: str = "it must be one of ") -> str:
    """The remedy as words: the closest name, or all of them.

    Args:
        word: What was typed.
        known: The names that there are.
        otherwise: What is said before the list of all, where none is close.
    """
    names = list(known)
    close = close_to(word, names)
    return f"did you mean {close[0]}?" if close else f"{otherwise}{', '.join(names)}"
