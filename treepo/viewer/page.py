"""Trees as a page that needs nothing but a browser: one file, or a folder whose pieces are read when needed.

Texts of prompts and responses are whatever a model wrote. They are in the page as base64 or as escaped JSON, the script
makes text nodes of them alone, and the page's own policy lets no script run but its own and loads nothing else.
"""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from treepo.files.whole import whole_folder, write_text_whole
from treepo.viewer.load import DumpError
from treepo.viewer.pieces import Index, pack, script_json
from treepo.viewer.shown import ShownTree

STYLES = ("page.css", "tree.css")
SCRIPTS = ("model.js", "colours.js", "store.js", "list.js", "drawing.js", "path.js", "page.js")
LARGEST_FILE = 200_000_000
"""Characters of one file that browsers still open."""
_MARK = "<!-- trees of treepo view -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A page on disk.

    Attributes:
        page: The file to open.
        trees: Trees in it.
        groups: Groups that they are listed under.
        size: Bytes of all its files.
    """

    page: Path
    trees: int
    groups: int
    size: int


def write_page(trees: Iterable[ShownTree], out: Path, *, title: str) -> Written:
    """Writes the page, whole or not at all; one that is there is replaced.

    Args:
        trees: The trees, those of a group one after the other.
        out: A file ending in ``.html`` for everything in one file, or else a folder for ``index.html`` and ``pieces/``.
        title: Of the page.

    Raises:
        DumpError: There is no tree, they are too many for one file, or the folder holds something else.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    return _write_file(trees, out, title) if out.suffix == ".html" else _write_folder(trees, out, title)


def _write_file(trees: Iterable[ShownTree], out: Path, title: str) -> Written:
    index = Index()
    pieces: list[str] = []
    size = 0
    for piece in pack(trees, index):
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST_FILE:
            raise DumpError(
                f"{out}: too many trees for one file; choose with --step or --prompt, or name a folder with --out"
            )
    write_text_whole(out, _render(index, title, pieces))
    return _written(index, out, out.stat().st_size)


def _write_folder(trees: Iterable[ShownTree], out: Path, title: str) -> Written:
    page = out / "index.html"
    if out.exists() and not out.is_dir():
        raise DumpError(f"{out} is a file; name a folder, or a file that ends in .html")
    if out.is_dir() and any(out.iterdir()) and not (page.is_file() and _MARK in page.read_text(errors="replace")[:200]):
        raise DumpError(f"{out} holds other files; name a new folder with --out")
    # Beside its place, so that a page that someone has open, or one of a killed command, is never half of two.
    with whole_folder(out) as unfinished:
        (unfinished / "pieces").mkdir()
        index = Index()
        size = 0
        for number, piece in enumerate(pack(trees, index)):
            size += (unfinished / "pieces" / f"{number}.js").write_text(f'receive({number},"{piece}");\n')
        size += (unfinished / "index.html").write_bytes(_render(index, title, None).encode(errors="replace"))
    return _written(index, page, size)


def _written(index: Index, page: Path, size: int) -> Written:
    return Written(page=page, trees=len(index.rows), groups=len(index.groups), size=size)


def _render(index: Index, title: str, pieces: list[str] | None) -> str:
    if not index.rows:
        raise DumpError("there is no tree to show")
    environment = Environment(
        loader=PackageLoader("treepo.viewer"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = _joined(STYLES), _joined(SCRIPTS)
    # Pieces of a folder are scripts: browsers count files beside the page as its own, or by their scheme.
    sources = ["'self'", "file:"] if pieces is None else []
    return environment.get_template("page.html.jinja").render(
        mark=_MARK,
        title=title,
        style=style,
        script=script,
        policy="; ".join(
            [
                "default-src 'none'",
                f"style-src '{_digest(style)}'",
                " ".join(["script-src", f"'{_digest(script)}'", *sources]),
                "base-uri 'none'",
                "form-action 'none'",
            ]
        ),
        index=script_json(index.plain()),
        pieces=pieces or [],
    )


def _joined(names: tuple[str, ...]) -> str:
    folder = files("treepo.viewer") / "templates"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
