r"""Comparing two answers: what reading decides, and what is left to math-verify.

Reading says yes where two answers are the same text, the same plain number or the same parts after harmless
normalisation. It says no between plain numbers or words, and in the classes of math-verify's own false positives that
docs/scoring.md names; the rest is for the caller's `prove`, math-verify in the judging process.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from treepo.rewards.brackets import bracketed, split
from treepo.rewards.numbers import plain_number
from treepo.rewards.spelling import FONT_GROUP, REMEMBERED, respell
from treepo.rewards.units import quantity

Prove = Callable[[str, str], bool | None]
"""Compares two expressions in the common spelling; None where that takes more than reading."""

DEEPEST = 4
"""Brackets in brackets that are taken apart; what is deeper is compared whole."""
MOST_PROVED = 8
"""Parts that math-verify may match in any order; longer lists it sees as a whole."""

# A broken escape (`\f` for `\frac`) or half a character: nothing that can be read.
_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_CONJUNCTION = re.compile(r",? ?(?:\\text\{ ?,? ?(?:and|or) ?\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])) ?")
_APPROXIMATION = re.compile(r"\\(?:approx|simeq)(?![A-Za-z]) ?")
# What an equation may define: a name, a function's value, a length, a tuple of letters. Possessive throughout: nothing
# here may try again and again on a hostile text.
_NAME = re.compile(
    r"\\?\|?(?:[A-Za-z ]|\\(?!frac|sqrt|pm|times|cdot|int|sum|begin|sin|cos|tan|log|ln)[A-Za-z]++(?:\{[^{}]*+\})?)++'*+"
    r"(?:_\{[^{}]*+\})?(?:\^\{?(?:-1|\*|\\ast|\\prime)\}?)?(?:\([^()=]*+\)|\[[^\[\]=]*+\])?\\?\|?"
    r"|\((?:[A-Za-z],)*+[A-Za-z]\)"
)
_FUNCTION = re.compile(r"[A-Za-z]\([a-z]\)")
_OPERATORS = re.compile(r"\\(?:frac|cdot|times|sqrt)(?![a-z])")
_ONE_UNKNOWN = re.compile(r"(?=[^a-z]*+([a-z]))(?:\1|[0-9 .+*/^(){}-])++")
_TIME = re.compile(r"([0-9]{1,2})(?::([0-9]{2}))? ?(?:\\text\{)? ?(?:([ap])\.? ?m\.?)? ?\}?", re.I)
_BASED = re.compile(r"[0-9A-F.]+_\{([0-9]{1,2})\}")
_TEXT = re.compile(r"[A-Za-z][A-Za-z '().-]*|\([A-Za-z]\)|\\emptyset")
_NO_WORDS = re.compile(r"\b(?:sqrt|sinh|cosh|tanh|arcsin|arccos|arctan|frac|infty|floor|ceil|rank|trace)\b")
_NOTHING = re.compile(r"(?:there (?:is|are) )?no (?:real )?solutions?|empty set|none")


def quick_verdict(gold: str, answer: str) -> bool | None:
    """What reading alone says of an answer.

    Args:
        gold: The ground truth.
        answer: The answer to judge.

    Returns:
        Whether they are equal, or None where math-verify has to decide.
    """
    one, other = plain_number(gold.strip()), plain_number(answer.strip())
    if one is not None and other is not None:
        return one.equals(other)
    if _UNREADABLE.search(answer) or not _balanced(respell(answer)):
        return False
    return compare(gold, answer, lambda _gold, _answer: None)


def _balanced(answer: str) -> bool:
    depth = 0
    for brace in re.findall(r"\\.|[{}]", answer, re.DOTALL):
        depth += (brace == "{") - (brace == "}")
        if depth < 0:
            return False
    return depth == 0


def compare(gold: str, answer: str, prove: Prove, depth: int = 0) -> bool | None:
    """Compares two answers: as words, as values of equations, part by part, and at last as expressions.

    Args:
        gold: The ground truth.
        answer: The answer to judge.
        prove: Decides about expressions.
        depth: Brackets around the two.
    """
    gold, answer = tidy(gold), tidy(answer)
    if gold == answer or not (gold and answer):
        return gold == answer != ""
    words = _compare_words(gold, answer)
    if words is not None:
        return words
    left, right = equation(gold), equation(answer)
    if left and right and _same_name(left[0], right[0]):
        same = compare(left[1], right[1], prove, depth)
        return same if same or _NAME.fullmatch(left[0]) else prove(gold, answer)
    if bool(left) != bool(right) and not parts(answer if left else gold):
        name, value = left or right or ("", "")
        if not _NAME.fullmatch(name) and _is_to_be_solved(name, value):
            return False
        return compare(value if left else gold, value if right else answer, prove, depth)
    ours, theirs = parts(gold), parts(answer)
    if not (ours or theirs or left or right):
        return _compare_values(gold, answer, prove)
    verdict = (
        _compare_parts(ours or ("", [gold]), theirs or ("", [answer]), prove, depth + 1) if depth < DEEPEST else None
    )
    return prove(gold, answer) if verdict is None else verdict


@lru_cache(maxsize=REMEMBERED)
def tidy(text: str) -> str:
    r"""The respelt answer without what says nothing: `x \in (5)` is `x=5`, `\sqrt{2}\approx 1.41` is `\sqrt{2}`."""
    text = respell(text)
    if "|" not in text:
        text = re.sub(r"\\in(?![A-Za-z])", "=", text)
    exact, *rest = _APPROXIMATION.split(text, maxsplit=1)
    if rest:
        last = exact.rpartition("=")[2]
        text = exact if last and not _NAME.fullmatch(last) else rest[0]
    font = FONT_GROUP.fullmatch(text)
    if font is not None and re.search("[0-9]", font[1]):
        text = respell(font[1])
    whole = bracketed(text)
    while whole is not None and (whole[0] == "{}" or (whole[0] == "()" and len(split(whole[1], ",;")) == 1)):
        text = whole[1]
        whole = bracketed(text)
    return text.strip().removeprefix("+")


def equation(text: str) -> tuple[str, str] | None:
    """The name and the value of `x=1`, `1=x`, `x=2-1=1`; of other equations both ends. None for a list of equations."""
    sides = [side.strip() for side in split(text, "=")]
    if len(sides) == 1 or not all(sides) or len(split(text, ",;")) > 1 or _CONJUNCTION.search(text):
        return None
    first, last = sides[0], sides[-1]
    return (last, first) if _NAME.fullmatch(last) and not _NAME.fullmatch(first) else (first, last)


def _same_name(one: str, other: str) -> bool:
    one, other = (re.sub(r"\s", "", name) for name in (one, other))
    return one == other or all(name == "y" or _FUNCTION.fullmatch(name) for name in (one, other))


def _is_to_be_solved(side: str, value: str) -> bool:
    """Whether neither side of an equation is an answer: `2x+3=5` is no 5, and `0=x^{2}+1` no `x^{2}+1`."""
    if plain_number(side) is not None:
        return re.search(r"(?<!\\)\b[a-z]|[0-9}][a-z]", value) is not None
    return plain_number(value) is not None and _ONE_UNKNOWN.fullmatch(_OPERATORS.sub("", side)) is not None


Parts = tuple[str, list[str]]


@lru_cache(maxsize=REMEMBERED)
def parts(text: str) -> Parts | None:
    r"""What a tidy answer is made of, None if it is of one piece.

    The frame is `""` of a list, `{}` of a set, `()`, `[)`, ... of a tuple or an interval, `cup` of a union. A list of
    lists keeps them together: `1,2;3,4` is two pairs.
    """
    pieces = _CONJUNCTION.split(text)
    if len(pieces) > 1:
        systems = all(len(split(piece, ",")) > 1 and "=" in piece for piece in pieces)
        text = (";" if systems else ",").join(pieces)
    for separator in ";,":
        items = [item for item in split(text, separator) if item]
        if len(items) > 1 or (items and items[0] != text):
            return "", [f"({item})" if separator == ";" and len(split(item, ",")) > 1 else item for item in items]
    sets = split(text, "\\cup")
    if len(sets) > 1:
        return "cup", sets
    whole = bracketed(text)
    if whole is None or (whole[0] == "\\{\\}" and re.search(r"[|:]|\\(?:mid|l?dots|in)(?![A-Za-z])", whole[1])):
        return None
    items = split(whole[1], ",;")
    return (whole[0].replace("\\", ""), items) if len(items) > 1 or whole[0] == "\\{\\}" else None


def _compare_parts(gold: Parts, answer: Parts, prove: Prove, depth: int) -> bool | None:
    """The verdict on the parts; None where math-verify has to look at the whole."""
    frames, ours, theirs = {gold[0], answer[0]}, gold[1], answer[1]
    if frames <= {"", "cup"} and "cup" in frames:
        return _match(ours, theirs, prove, depth) or None  # other parts may make the same whole
    if frames <= {"", "{}"}:
        if _names_several(ours) != _names_several(theirs):
            return _match(ours, theirs, prove, depth, ordered=True)
        if len(ours) != len(theirs):  # math-verify counts a repeated part once
            return False if any(len(set(map(tidy, items))) < len(items) for items in (ours, theirs)) else None
        if len(ours) > MOST_PROVED:
            return _match(ours, theirs, lambda _gold, _answer: None, depth)
        return _match(ours, theirs, prove, depth)
    if "cup" in frames or ("" in frames and (frames != {"", "()"} or 1 in (len(ours), len(theirs)))):
        return None
    if len(frames) == 2 and "" not in frames:
        return False  # an order, or the end of an interval, that math-verify overlooks
    systems = all(equation(tidy(item)) for item in (*ours, *theirs))
    return _match(ours, theirs, prove, depth, ordered=not systems)


def _names_several(items: Sequence[str]) -> bool:
    """Whether the items give values to different names, as in `x=1,y=2`."""
    equations = [equation(tidy(item)) for item in items]
    return len({found[0] for found in equations if found is not None and _NAME.fullmatch(found[0])}) > 1


def _match(
    gold: Sequence[str], answer: Sequence[str], prove: Prove, depth: int, *, ordered: bool = False
) -> bool | None:
    """Whether every part finds one of its own on the other side, in any order or in this one."""
    if len(gold) != len(answer):
        return False
    left, unsure = list(answer), False
    for one in gold:
        verdicts: list[bool | None] = []
        while True not in verdicts and len(verdicts) < (1 if ordered else len(left)):
            verdicts.append(compare(one, left[len(verdicts)], prove, depth))
        if not any(verdict is not False for verdict in verdicts):
            return False
        unsure |= True not in verdicts
        if ordered or True in verdicts:
            left.pop(len(verdicts) - 1)
    return None if unsure else True


def _compare_values(gold: str, answer: str, prove: Prove) -> bool | None:
    """Two answers of one piece: times of day, numbers with their units, expressions."""
    times = _times(gold), _times(answer)
    if all(times) and "m" in (gold + answer).lower():
        return not times[0].isdisjoint(times[1])
    if len({found[1] for found in map(_BASED.fullmatch, (gold, answer)) if found}) == 2:
        return False  # math-verify overlooks the base
    ours, theirs = quantity(gold), quantity(answer)
    if not theirs.value or ours.remark != theirs.remark or ours.measures_otherwise(theirs):
        return False
    sizes = ours.size(theirs), theirs.size(ours)
    if ours.value == theirs.value and sizes[0] == sizes[1]:
        return True
    one, other = plain_number(ours.value), plain_number(theirs.value)
    if one is not None and other is not None:
        return one._replace(value=one.value * sizes[0]).equals(other._replace(value=other.value * sizes[1]))
    if sizes[0] != sizes[1]:
        return False
    values = [ours.value, theirs.value]
    bare = [value.removesuffix(r"\%") for value in values]
    questions = [bare]
    if (bare[0] == values[0]) != (bare[1] == values[1]):  # one percent sign: the number, or a hundredth of it
        questions.append(
            [
                value if value == bared else rf"\frac{{{bared}}}{{100}}"
                for value, bared in zip(values, bare, strict=True)
            ]
        )
    if values != [gold, answer] and ours.measures is theirs.measures is None:
        questions.append([gold, answer])  # the words may have been letters
    verdicts = [prove(*question) for question in questions]
    return True if True in verdicts else verdicts[0]


def _times(text: str) -> set[int]:
    """Minutes since midnight that a time of day may mean; without a.m. or p.m. both, where the hour allows."""
    found = _TIME.fullmatch(text)
    if found is None or (found[2] is None and found[3] is None):
        return set()
    hour, minute = int(found[1]), int(found[2] or 0)
    halves = {"a": [0], "p": [12]}.get((found[3] or "").lower(), [0, 12])
    return {hour % 12 * 60 + half * 60 + minute for half in halves} if hour <= 12 else {hour * 60 + minute}


def _compare_words(gold: str, answer: str) -> bool | None:
    """The verdict where both answers are words, or one is words and the other a number."""
    texts = [_words(gold), _words(answer)]
    if any(text is not None and len(text) > 1 for text in texts):
        texts = [_words(gold, letters=True), _words(answer, letters=True)]  # beside a word, letters are no product
    if None not in texts:
        return texts[0] == texts[1]
    number = plain_number(gold) or plain_number(answer)
    return False if number is not None and texts != [None, None] and "e" not in texts else None


def _words(answer: str, *, letters: bool = False) -> str | None:
    """The common spelling of an answer in words (or a lone letter), None for anything else."""
    flat = FONT_GROUP.sub(r"\1", answer).strip().strip("'\".")
    if not _TEXT.fullmatch(flat):
        return None
    if len(flat.strip("()")) == 1:
        return flat.strip("()")  # its case tells one variable from another
    words = re.sub(r"[\s.'-]+", " ", flat).casefold().strip()
    if not letters and flat == answer and not flat.startswith("\\"):
        if _NO_WORDS.search(words) or not re.search(r"\b(?!(?:and|or)\b)[a-z]{2}", words):
            return None
        if " " not in words and words not in ("yes", "no", "odd") and not re.search("[a-z]{4}", words):
            return None
    words = re.sub(r"^(?:the|an?) (?=.)", "", words)
    return r"\emptyset" if _NOTHING.fullmatch(words) else words
