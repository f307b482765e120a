"""What we hold on to in verl and vLLM: where a function is, a digest of its code, and the page's table of both."""

import ast
import functools
import hashlib
import importlib
import importlib.metadata
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import yaml
from training_run import ROOT

TABLE = ROOT / "tests/seams/table.yaml"
PAGE = ROOT / "docs/verl.md"
BEGIN, END = "<!-- seams: begin -->", "<!-- seams: end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seam:
    """One use that a module makes of functions of the host.

    Attributes:
        used_by: The module, from the root of the checkout.
        why: What for, as the page says it.
        functions: Name to digest; a name is ``package.module:Class.method``.
    """

    used_by: str
    why: str
    functions: dict[str, str]


def read_table() -> list[Seam]:
    """The table, in its order."""
    return [Seam(**entry) for entry in yaml.safe_load(TABLE.read_text())["seams"]]


def taken_from() -> dict[str, str]:
    """The version of each package that the digests are of."""
    return yaml.safe_load(TABLE.read_text())["taken_from"]


def resolve(name: str) -> Any:
    """The function, or the class, by its name in the table.

    Raises:
        AttributeError: It is not there any more.
    """
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        # A class behind a Ray actor.
        found = getattr(getattr(found, "__ray_metadata__", None), "modified_class", found)
        found = getattr(found, part)
    return found


def digest(name: str) -> str:
    """Of a function's code alone, without comments, docstring, layout or decorators."""
    found = resolve(name)
    function: Any = found.fget if isinstance(found, property) else found
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    body: Any = tree.body[0]
    body.decorator_list = []
    if ast.get_docstring(body) is not None:
        body.body = body.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(body).encode()).hexdigest()[:12]


@functools.cache
def version(package: str) -> str:
    """The installed version, without what a build adds; a distribution may have another name than its package."""
    for name in (package, f"{package}-cpu", package.replace("_", "")):
        try:
            return importlib.metadata.distribution(name).metadata["Version"].split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    raise importlib.metadata.PackageNotFoundError(package)


def page_table() -> str:
    """The table of ``docs/verl.md``, between its two marks."""
    lines = ["| module | of verl and vLLM | why |", "| --- | --- | --- |"]
    for seam in read_table():
        names = ", ".join(f"`{name.partition(':')[2]}`" for name in seam.functions)
        lines.append(f"| `{seam.used_by}` | {names} | {seam.why} |")
    return "\n".join(lines)


def overridden(module: Any) -> Iterator[str]:
    """The table's names of all methods of the host that classes of one of our modules override."""
    for _, ours in inspect.getmembers(module, inspect.isclass):
        if ours.__module__ != module.__name__:
            continue
        for name, member in vars(ours).items():
            if name.startswith("__") or not isinstance(member, FunctionType | property | classmethod):
                continue
            for base in ours.__mro__[1:]:
                if name in vars(base) and base.__module__.split(".")[0] in ("verl", "vllm"):
                    yield f"{base.__module__}:{base.__qualname__}.{name}"
                    break


def write() -> None:
    """Writes the digests of what is installed into the table, and the table into the page."""
    entries = [
        {"used_by": seam.used_by, "why": seam.why, "functions": {name: digest(name) for name in seam.functions}}
        for seam in read_table()
    ]
    table = {"taken_from": {package: version(package) for package in taken_from()}, "seams": entries}
    TABLE.write_text(yaml.safe_dump(table, sort_keys=False, width=1000))
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{page_table()}\n{END}{after}")


if __name__ == "__main__":
    write()
