"""The repetition rule on plain text."""

from collections import Counter


def has_repetition(text: str, *, substring: int, count: int) -> bool:
    """Whether some substring of `substring` characters occurs `count` times in `text` without overlapping itself.

    Counting every substring would cost the product of the lengths. So first a cheap look at samples: of `count`
    occurrences two begin at the same distance from a grid with `count - 1` characters between its points, and these
    two hold the same sample of the text at a grid point. Text without two equal samples, and that is nearly all text,
    does not repeat itself; otherwise only substrings around the equal samples need counting.
    """
    if len(text) < substring * count:
        return False
    grid = min(count - 1, substring)
    sample = substring - grid + 1
    points = range(0, len(text) - sample + 1, grid)
    samples = [text[point : point + sample] for point in points]
    if len(set(samples)) == len(samples):
        return False
    frequent = {found for found, times in Counter(samples).items() if times > 1 and text.count(found) >= count}
    return any(
        text.count(text[start : start + substring]) >= count
        for point, found in zip(points, samples, strict=True)
        if found in frequent
        for start in range(max(0, point - grid + 1), min(point, len(text) - substring) + 1)
    )
