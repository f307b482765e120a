r"""Finding ``\boxed{...}`` in a response, whole or piece by piece.

Braces nest to any depth and ``\{``, ``\}`` and ``\\`` are skipped. A box counts once its closing brace has come, also
when an earlier box around it was never closed. The tree sampler and the math reward share this scanner, so that what
ends a path is what is later scored.
"""

import re
from dataclasses import dataclass

_BOX = re.compile(r"\\boxed\s*\{")
# Inside a box every brace matters, and so does what hides one. Order: a box, an unfinished command at the very end of
# the text, an escaped character, a plain brace.
_INSIDE = re.compile(r"(?P<box>\\boxed\s*\{)|(?P<cut>\\(?:b(?:o(?:x(?:e(?:d\s*)?)?)?)?)?\Z)|\\.|[{}]", re.DOTALL)
_CUT = re.compile(r"\\(?:b(?:o(?:x(?:e(?:d\s*)?)?)?)?)?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxScan:
    r"""What has been seen of the boxes of one response so far; feed it the text piece by piece.

    Attributes:
        complete: Whether some ``\boxed{...}`` has been closed.
        open_boxes: For every box still open, the brace depth at which it began, outermost first.
        depth: Braces now open, counted from the first open box.
        pending: End of the text so far that may be the beginning of ``\boxed{`` or of an escaped brace.
    """

    complete: bool = False
    open_boxes: tuple[int, ...] = ()
    depth: int = 0
    pending: str = ""

    @property
    def begun(self) -> bool:
        """Whether some box has been opened, complete or not."""
        return self.complete or bool(self.open_boxes)

    def feed(self, text: str) -> "BoxScan":
        """The scan after ``text`` as well; a complete one stays as it is."""
        inside = self.open_boxes or self.pending
        if self.complete or not (inside or "\\" in text):
            return self
        after, _ = _scan(self, self.pending + text)
        return self if after == self else after


def boxed_answers(text: str) -> list[str]:
    r"""The contents of all complete boxes of ``text``, in the order in which the boxes open.

    A box inside a box comes after the one around it, so the last entry of ``\boxed{\boxed{5}}`` is ``5``.
    """
    _, spans = _scan(BoxScan(), text)
    return [text[start:end] for start, end in sorted(spans)]


def last_boxed(text: str) -> str | None:
    """The content of the complete box that opens last, or None without a complete box."""
    answers = boxed_answers(text)
    return answers[-1] if answers else None


def _scan(scan: BoxScan, text: str) -> tuple[BoxScan, list[tuple[int, int]]]:
    """Reads ``text`` (the scan's pending end included); returns the new scan and the spans that boxes closed over."""
    depth = scan.depth
    open_boxes = list(scan.open_boxes)
    starts = [0] * len(open_boxes)
    spans: list[tuple[int, int]] = []
    pending = ""
    position = 0
    while True:
        # Outside a box only the next box is of interest: the search skips all else at once.
        found = (_INSIDE if open_boxes else _BOX).search(text, position)
        if found is None:
            break
        position = found.end()
        mark = found[0]
        if mark.startswith("\\boxed") and mark.endswith("{"):
            open_boxes.append(depth)
            starts.append(position)
            depth += 1
        elif open_boxes and found.lastgroup == "cut":
            pending = mark
        elif mark == "{":
            depth += 1
        elif mark == "}":
            depth -= 1
            if depth == open_boxes[-1]:
                open_boxes.pop()
                spans.append((starts.pop(), found.start()))
    if not open_boxes:
        depth = 0
        cut = _CUT.search(text, max(position, text.rfind("\\")))
        pending = cut[0] if cut else ""
    after = BoxScan(
        complete=scan.complete or bool(spans),
        open_boxes=tuple(open_boxes),
        depth=depth,
        # White space between the command and its brace may be endless; none of it needs keeping.
        pending=pending.rstrip(),
    )
    return after, spans
