"""Trees as one HTML page that needs nothing but itself.

Texts of prompts and responses are whatever a model wrote: the template escapes every value, and the page's own policy
lets no script run but the one below and loads nothing from anywhere.
"""

import base64
import hashlib
import math
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from treepo.viewer.layout import Block, Run, lay_out
from treepo.viewer.schema import TreeRecord

_SCRIPT = """
const step = document.getElementById("step"), prompt = document.getElementById("prompt");
function filter() {
  for (const tree of document.querySelectorAll("section.tree")) {
    tree.hidden = (step.value !== "" && tree.dataset.step !== step.value)
      || (prompt.value !== "" && tree.dataset.prompt !== prompt.value);
  }
}
function fold(open) {
  for (const part of document.querySelectorAll("section.tree:not([hidden]) details.run")) part.open = open;
}
step.addEventListener("change", filter);
prompt.addEventListener("change", filter);
document.getElementById("unfold").addEventListener("click", () => fold(true));
document.getElementById("fold").addEventListener("click", () => fold(false));
filter();
"""
_JOINERS = "\u200c\u200d"  # they shape scripts and emoji, and hide nothing
_WIDTH, _LINE, _LABEL = 760, 18, 230  # of the drawing, in pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Stroke:
    """One block of the drawing: a line at `y` from `x` to `end`, reached from the height `above`."""

    block: Block
    x: float
    end: float
    y: float
    above: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A tree as a picture: tokens run to the right, every trajectory ends on a line of its own."""

    width: int
    height: int
    strokes: tuple[Stroke, ...]
    ends: tuple[tuple[float, float, Run], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeView:
    """What the template draws of one tree.

    Attributes:
        record: The tree.
        nesting: Every run where its part of the page begins, and None where the innermost open part ends.
        drawing: The picture.
        scale: The largest advantage, by size.
    """

    record: TreeRecord
    nesting: tuple[Run | None, ...]
    drawing: Drawing
    scale: float


def render_page(records: Iterable[TreeRecord], *, title: str) -> str:
    """Draws trees.

    Args:
        records: The trees, at least one.
        title: Of the page.

    Returns:
        The page, complete.

    Raises:
        ValueError: There is no tree.
    """
    trees = [_view(record) for record in records]
    if not trees:
        raise ValueError("there is no tree to draw")
    environment = Environment(
        loader=PackageLoader("treepo.viewer"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"visible": visible, "signed": _signed, "surprise": _surprise}
    environment.globals |= {"colour": _colour}
    return environment.get_template("page.html.jinja").render(
        title=title,
        trees=trees,
        steps=sorted({view.record.step for view in trees}),
        prompts={view.record.prompt.uid: view.record.prompt.text for view in trees},
        script=_SCRIPT,
        script_hash=base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode(),
    )


def visible(text: str) -> str:
    """The text with a mark in the place of every character that is not seen and can mislead, as ⟨202E⟩."""
    return "".join(
        f"⟨{ord(character):04X}⟩"
        if unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in "\n\t" + _JOINERS
        else character
        for character in text
    )


def _view(record: TreeRecord) -> TreeView:
    runs = lay_out(record)
    longest = max(node.start + len(node.tokens) for node in record.nodes)
    strokes: list[Stroke] = []
    ends: list[tuple[float, float, Run]] = []
    lines = 0.0
    root = _height((runs[0].row + runs[-1].row) / 2)
    for run, above in _walk(runs, root):
        y = _height(run.row)
        lines = max(lines, run.row)
        for block in run.blocks:
            x, end = (
                _WIDTH * position / longest
                for position in (block.node.start, block.node.start + len(block.node.tokens))
            )
            strokes.append(Stroke(block=block, x=x, end=end, y=y, above=above))
            above = y
        if run.leaves:
            ends.append((_WIDTH * (run.start + run.length) / longest, y, run))
    advantages = [abs(stroke.block.advantage) for stroke in strokes if stroke.block.advantage is not None]
    leaves = [abs(leaf.advantage) for _, _, run in ends for leaf in run.leaves if leaf.advantage is not None]
    drawing = Drawing(width=_WIDTH + _LABEL, height=int(_height(lines + 1)), strokes=tuple(strokes), ends=tuple(ends))
    return TreeView(
        record=record, nesting=tuple(_nesting(runs)), drawing=drawing, scale=max([*advantages, *leaves], default=0.0)
    )


def _walk(runs: list[Run], root: float) -> Iterator[tuple[Run, float]]:
    """Every run, and the height of what it hangs from."""
    pending = [(run, root) for run in reversed(runs)]
    while pending:
        run, above = pending.pop()
        yield run, above
        pending += [(child, _height(run.row)) for child in reversed(run.children)]


def _nesting(runs: list[Run]) -> Iterator[Run | None]:
    pending: list[Run | None] = [*reversed(runs)]
    while pending:
        run = pending.pop()
        yield run
        if run is not None:
            pending += [None, *reversed(run.children)]


def _height(row: float) -> float:
    return _LINE * (row + 0.75)


def _colour(advantage: float | None, scale: float) -> str:
    """Blue for a positive advantage, red for a negative one, fainter toward zero, grey where there is none."""
    if advantage is None:
        return "rgb(150 150 150)"
    strength = round(abs(advantage) / scale, 2) if scale else 0.0
    red, green, blue = (37, 99, 200) if advantage >= 0 else (205, 55, 45)
    faded = [round(190 + (channel - 190) * strength) for channel in (red, green, blue)]
    return f"rgb({faded[0]} {faded[1]} {faded[2]})"


def _signed(value: float | None) -> str:
    return "none" if value is None else f"{value:+.3f}"


def _surprise(log_prob: float) -> int:
    """How unlikely a token was, from 0 to 4: less than 0.9, 0.5, 0.1 and 0.01."""
    return sum(log_prob < math.log(limit) for limit in (0.9, 0.5, 0.1, 0.01))
