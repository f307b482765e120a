"""One table of what we hold on to in verl and vLLM: complete, true of what is installed, and the page's own.

A function whose code has changed is read again, and what uses it beside it; then
``python tests/support/seams.py`` writes the new digests and the page.
"""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import seams
from training_run import ROOT

# Held otherwise: what we set on objects of the host, and the host's plain attributes.
ATTRIBUTES = {
    # verl's worker group: ranks by role.
    "_dispatch_info",
    # verl's server: requests between gate and engine, in _park_until_admitted and generate.
    "_admitting",
    # transformers' name of a model's attention.
    "_attn_implementation",
    # verl's agent loop with tools: those of one prompt, in its __init__, run and _call_tool.
    "_active_tools",
    "_active_tool_schemas",
    # verl's registry of tool parsers, in get_tool_parser.
    "_registry",
    # verl's registry of the trainer's end of a server, in get_rollout_class.
    "_ROLLOUT_REGISTRY",
}
MODULES = sorted((ROOT / "treepo/verl").rglob("*.py"))
# verl's own interfaces for platforms and checkpoint engines, which plugins are meant to implement.
INTERFACES = {ROOT / "treepo/verl/cpu/platform.py", ROOT / "treepo/verl/gloo_checkpoint_engine.py"}


@pytest.fixture(scope="module")
def functions() -> dict[str, str]:
    found: dict[str, str] = {}
    for seam in seams.read_table():
        found |= seam.functions
    return found


def test_every_function_is_there_with_the_code_that_it_was_used_after(functions: dict[str, str]) -> None:
    # The sets for CPUs and GPUs pin different versions of vLLM.
    taken = seams.taken_from()
    other = {package for package in taken if seams.version(package) != taken[package]}
    assert "verl" not in other, "read the seams again, then run python tests/support/seams.py"
    for name in functions:
        seams.resolve(name)
    here = {name: digest for name, digest in functions.items() if name.split(".")[0] not in other}
    assert {name: seams.digest(name) for name in here} == here


def test_every_use_is_of_a_module_that_is_there() -> None:
    assert {seam.used_by for seam in seams.read_table() if not (ROOT / seam.used_by).is_file()} == set()


def test_the_page_shows_the_table() -> None:
    page = seams.PAGE.read_text()
    shown = page.partition(seams.BEGIN)[2].partition(seams.END)[0]
    assert shown.strip() == seams.page_table(), "run python tests/support/seams.py"


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path not in INTERFACES], ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_method_of_the_host_that_a_class_overrides_is_in_the_table(path: Path, functions: dict[str, str]) -> None:
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    held = {name.rpartition(".")[2] for name in functions}
    assert {name for name in seams.overridden(module) if name.rpartition(".")[2] not in held} == set()


def private_names(path: Path) -> Iterator[str]:
    """What a module reads of others under a name with an underscore."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.startswith("__"):
            continue
        owner = node.value
        if isinstance(owner, ast.Name) and owner.id in ("self", "cls"):
            continue
        yield node.attr


def test_every_private_name_of_the_host_that_a_module_reads_is_in_the_table(functions: dict[str, str]) -> None:
    held = {name.rpartition(".")[2] for name in functions} | ATTRIBUTES
    read = {name for path in MODULES for name in private_names(path)}
    ours = {"_treepo"}
    assert read - held - ours == set()
    assert read >= ATTRIBUTES, "what nothing reads any more leaves the list"


def test_a_digest_is_of_the_code_and_not_of_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    bodies = {
        "as_it_was": 'def held(a):\n    """Words."""\n    return a + 1  # because\n',
        "reworded": 'def held(a):\n    """Other words."""\n    # So.\n    return (a + 1)\n',
        "changed": "def held(a):\n    return a + 2\n",
    }
    found = {}
    for name, body in bodies.items():
        (tmp_path / f"{name}.py").write_text(body)
        found[name] = seams.digest(f"{name}:held")
    assert found["as_it_was"] == found["reworded"] != found["changed"]
