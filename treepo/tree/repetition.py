"""The repetition rule on plain text."""


def has_repetition(text: str, *, substring: int, count: int) -> bool:
    """Whether some substring of `substring` characters occurs `count` times in `text` without overlapping itself.

    The text is cut into blocks of half that length. Every occurrence of a substring contains a whole block, and that
    block occurs as often as the substring does; so only substrings around a block that is frequent enough need
    counting. Searching for the blocks is nearly all of the work.
    """
    # The first of the occurrences begins early enough to leave room for the others, and holds a block near its start.
    last_start = len(text) - substring * count
    if last_start < 0:
        return False
    block = (substring + 1) // 2
    for anchor in range(0, last_start + block, block):
        if text.count(text[anchor : anchor + block]) < count:
            continue
        for start in range(max(0, anchor - block + 1), min(anchor, last_start) + 1):
            if text.count(text[start : start + substring]) >= count:
                return True
    return False
