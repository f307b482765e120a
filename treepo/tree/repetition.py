"""The repetition rule on plain text."""

from collections import Counter


def has_repetition(text: str, *, substring: int, count: int, new_from: int) -> bool:
    """Whether some substring occurs often enough in a text, at least once with its end in the new part.

    Occurrences may overlap. Counting every substring would cost the product of the lengths. So first a cheap look at
    samples: of `count` occurrences two begin at the same distance from a grid with `count - 1` characters between its
    points, and these two hold the same sample of the text at a grid point. Text without two equal samples, and that is
    nearly all text, does not repeat itself; otherwise only substrings around the equal samples need counting.

    Args:
        text: The text.
        substring: Length of the substring in characters.
        count: How often it must occur, at least 2.
        new_from: Where the new part of the text begins.
    """
    grid = min(count - 1, substring)
    sample = substring - grid + 1
    points = range(0, len(text) - sample + 1, grid)
    samples = [text[point : point + sample] for point in points]
    if len(set(samples)) == len(samples):
        return False
    frequent = {found for found, times in Counter(samples).items() if times > 1 and _occurs(text, found, count)}
    return any(
        text.rfind(text[start : start + substring]) + substring > new_from
        and _occurs(text, text[start : start + substring], count)
        for point, found in zip(points, samples, strict=True)
        if found in frequent
        for start in range(max(0, point - grid + 1), min(point, len(text) - substring) + 1)
    )


def _occurs(text: str, part: str, count: int) -> bool:
    """Whether `part` occurs `count` times in `text`, overlaps included."""
    position = -1
    for _ in range(count):
        position = text.find(part, position + 1)
        if position < 0:
            return False
    return True
