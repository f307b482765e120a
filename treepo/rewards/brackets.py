"""What stands inside and outside of the brackets of an answer."""

import re

_TOKEN = re.compile(
    r"(?P<open>\\begin\{[a-z]+\}|\\\{|[(\[{])|(?P<close>\\end\{[a-z]+\}|\\\}|[)\]}])|\\[A-Za-z]+|\\.|[<>:]=|.",
    re.DOTALL,
)


def split(text: str, separators: str) -> list[str]:
    """What stands between the separators outside of all brackets, without the space around."""
    marks = (separators,) if separators.startswith("\\") else tuple(separators)
    if not any(mark in text for mark in marks):
        return [text]
    pieces, start, depth = [], 0, 0
    for token in _TOKEN.finditer(text):
        depth += (token.lastgroup == "open") - (token.lastgroup == "close")
        if depth == 0 and token[0] in marks:
            pieces.append(text[start : token.start()].strip())
            start = token.end()
    return [*pieces, text[start:].strip()]


def bracketed(text: str) -> tuple[str, str] | None:
    r"""The pair of brackets around a whole text and what it holds: `[0,1)` is `[)` and `0,1`; None without one."""
    first = _TOKEN.match(text)
    if first is None or first.lastgroup != "open" or first[0].startswith("\\begin"):
        return None
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += (token.lastgroup == "open") - (token.lastgroup == "close")
        if depth == 0:
            return (first[0] + token[0], text[first.end() : token.start()]) if token.end() == len(text) else None
    return None
