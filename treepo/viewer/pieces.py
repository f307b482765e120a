"""Trees as the page's script reads them: an index of all, and the trees themselves in compressed pieces."""

import base64
import gzip
import json
import os.path
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from treepo.viewer.shown import ShownNode, ShownTrajectory, ShownTree, depths, forks

PIECE = 1_000_000
"""Characters of JSON after which a piece is closed."""
PROMPT = 2000
"""Characters of a prompt in the index, which the search reads; the whole one is with its tree."""
_DIGITS = 4


@dataclass(slots=True)
class Index:
    """What the page knows of every tree before it opens a piece.

    Attributes:
        groups: Names of the groups, in their order.
        rows: One per tree: group, uid, prompt (both by number but the uid), ground truth, trajectories, mean accuracy,
            mean reward, nodes, forks, trajectories from fallbacks, depth, tokens, piece, place in the piece.
    """

    groups: list[str] = field(default_factory=list)
    rows: list[list[object]] = field(default_factory=list)
    _prompts: dict[str, int] = field(default_factory=dict)

    def add(self, tree: ShownTree, *, piece: int, place: int) -> None:
        """Lists a tree."""
        if not self.groups or self.groups[-1] != tree.group:
            self.groups.append(tree.group)
        leaves = tree.trajectories
        self.rows.append(
            [
                len(self.groups) - 1,
                tree.uid,
                self._prompts.setdefault(tree.prompt, len(self._prompts)),
                _as_text(tree.ground_truth),
                len(leaves),
                _mean([leaf.accuracy for leaf in leaves]),
                _mean([leaf.reward for leaf in leaves]),
                len(tree.nodes),
                forks(tree),
                sum(leaf.from_fallback for leaf in leaves),
                max(depths(tree)),
                sum(node.length for node in tree.nodes),
                piece,
                place,
            ]
        )

    def plain(self) -> dict[str, object]:
        """The index as JSON values; prompts without what frames all of them, as a chat template does."""
        before, after = _frame(list(self._prompts))
        prompts = [text[before : len(text) - after] for text in self._prompts]
        return {"groups": self.groups, "rows": self.rows, "prompts": [_shorten(text) for text in prompts]}


def pack(trees: Iterable[ShownTree], index: Index) -> Iterator[str]:
    """Packs trees.

    Args:
        trees: The trees, those of a group one after the other.
        index: Every tree is listed in it.

    Yields:
        Pieces in the order of their numbers: base64 of gzipped JSON, a list of trees.
    """
    waiting: list[str] = []
    size, number = 0, 0
    for tree in trees:
        index.add(tree, piece=number, place=len(waiting))
        waiting.append(_json(plain_tree(tree)))
        size += len(waiting[-1])
        if size >= PIECE:
            yield _compress(waiting)
            waiting, size, number = [], 0, number + 1
    if waiting:
        yield _compress(waiting)


def script_json(value: object) -> str:
    """JSON that cannot end the ``<script>`` element it stands in, nor begin a comment there."""
    return _json(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)  # escapes all that is not ASCII


def _compress(parts: Sequence[str]) -> str:
    return base64.b64encode(gzip.compress(f"[{','.join(parts)}]".encode(), compresslevel=6, mtime=0)).decode()


def plain_tree(tree: ShownTree) -> dict[str, object]:
    """A tree as the page's script reads it: JSON values, without what is not known."""
    return {
        "prompt": tree.prompt,
        "truth": _as_text(tree.ground_truth),
        "stats": tree.stats,
        "nodes": [_node(node) for node in tree.nodes],
        "trajectories": [_trajectory(trajectory) for trajectory in tree.trajectories],
    }


def _node(node: ShownNode) -> dict[str, object]:
    return _known(
        id=node.id,
        parent=node.parent,
        length=node.length,
        observed=node.observed or None,
        text=None if node.pieces is not None and _joined(node.pieces) == node.text else node.text,
        pieces=node.pieces,
        tokens=node.tokens,
        logProbs=_rounded(node.log_probs),
        entropies=_rounded(node.entropies),
        versions=node.weight_versions,
    )


def _joined(pieces: Sequence[str | None]) -> str:
    return "".join(piece or "" for piece in pieces)


def _trajectory(trajectory: ShownTrajectory) -> dict[str, object]:
    advantages = trajectory.advantages
    if advantages is not None:
        advantages = [_round(own) if isinstance(own, int | float) else _rounded(own) for own in advantages]
    return _known(
        leaf=trajectory.leaf,
        reason=trajectory.reason,
        fallback=trajectory.from_fallback or None,
        finishStep=trajectory.finish_step,
        accuracy=trajectory.accuracy,
        reward=trajectory.reward,
        fields={name: _as_text(value) for name, value in trajectory.fields.items()},
        advantages=advantages,
        text=trajectory.text,
    )


def _known(**values: Any) -> dict[str, object]:
    """Those that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def _rounded(values: Sequence[float] | None) -> list[float] | None:
    return None if values is None else [round(value, _DIGITS) for value in values]


def _round(value: float) -> float:
    return round(value, _DIGITS)


def _as_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, ensure_ascii=False)


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean, where every one is known."""
    known = [value for value in values if value is not None]
    return _round(fmean(known)) if known and len(known) == len(values) else None


def _shorten(text: str) -> str:
    text = text.strip()
    return text if len(text) <= PROMPT else f"{text[: PROMPT - 500]} … {text[-500:]}"


def _frame(prompts: Sequence[str]) -> tuple[int, int]:
    """Characters that all prompts begin with and end on, whole lines or marks like ``<|im_end|>`` of them."""
    if len(prompts) < 2:
        return 0, 0
    begin = os.path.commonprefix(list(prompts))  # noqa: RUF071 - characters are meant
    before = max(begin.rfind(end) + len(end) if end in begin else 0 for end in ("\n", "|>"))
    rest = [text[before:][::-1] for text in prompts]
    last = os.path.commonprefix(rest)[::-1]  # noqa: RUF071
    starts = [place for start in ("\n", "<|") if (place := last.find(start)) >= 0]
    return before, len(last) - min(starts) if starts else 0
