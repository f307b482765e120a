"""Arrows run down only, and the pure rooms import nothing of the host."""

import ast
import functools
from collections import Counter
from pathlib import Path

import pytest
from training_run import ROOT

# What each room may import of the others; the ground (config, datasets, rewards, processes) is open to all.
GROUND = {"config", "datasets", "files", "rewards", "processes"}
ALLOWED: dict[str, set[str]] = {
    "tree": set(),
    "advantage": set(),
    "packing": {"tree"},
    "environment": {"tree"},
    "rollout": {"environment", "tree"},
    "viewer": {"tree"},
    "quickstart": {"viewer"},
    "start": {"verl", "advantage", "packing"},
    "logs": set(),
    "__main__": {"commands"},
    "commands": {"start", "launch", "verl", "evaluation", "quickstart", "viewer"},
    # verl loads it, and it loads nothing of ours before verl has what is added to.
    "plugin": {"verl"},
    "launch": {"start", "verl", "evaluation"},
    "evaluation": {"rollout", "advantage", "tree", "viewer"},
    "verl": {"rollout", "environment", "advantage", "packing", "viewer", "tree", "evaluation"},
    **{name: set() for name in GROUND},
}
# The same within a room that has rooms of its own; what stands beside them is listed, too.
WITHIN: dict[str, dict[str, set[str]]] = {
    "config": {
        "policies": set(),
        "presets": set(),
        "group": set(),
        "suggestion": set(),
        "growth": {"group", "policies"},
        "options": {"group", "growth", "policies"},
        "validation": {"options", "suggestion"},
        "load": {"options", "presets", "suggestion", "validation"},
        "__init__": {"growth", "options", "policies", "validation"},
    },
    "launch": {
        "nodelist": set(),
        "schedulers": {"nodelist"},
        "cluster": {"schedulers"},
        "pools": set(),
        "nodes": {"cluster", "schedulers"},
        "options": {"cluster", "nodes"},
        "dry_run": {"nodes"},
        "training": {"cluster", "dry_run", "nodes", "options", "pools"},
        "evaluation": {"cluster", "dry_run", "nodes", "options", "pools"},
        "__init__": set(),
    },
    "verl": {
        "cpu": set(),
        "weight_sockets": set(),
        "gloo_checkpoint_engine": set(),
        "own_checks": set(),
        "tool_checks": set(),
        "rollout": {"weight_sockets"},
        "training": {"rollout", "weight_sockets"},
        "serving": {"rollout"},
        "__init__": set(),
    },
    "evaluation": {
        "keep": set(),
        "options": {"keep"},
        "config": {"keep", "options"},
        "ask": {"keep", "config", "options"},
        "count": {"keep"},
        "show": {"keep", "count"},
        "__init__": {"keep"},
        "__main__": {"keep", "count", "show"},
    },
}
HOST = {"verl", "vllm", "ray", "transformers", "transfer_queue"}
PURE = {
    "tree": HOST | {"torch", "numpy"},
    "advantage": HOST,
    # Its attention enters the models of transformers by their own interface.
    "packing": HOST - {"transformers"},
    "environment": HOST | {"torch", "numpy"},
    "rollout": HOST | {"torch"},
    "rewards": HOST | {"torch"},
    "viewer": HOST | {"torch", "numpy"},
}


def room(path: Path) -> str:
    return path.relative_to(ROOT / "treepo").parts[0].removesuffix(".py")


@functools.cache
def imports(path: Path) -> list[tuple[str, ...]]:
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return [tuple(name.split(".")) for name in found]


FILES = [
    path
    for path in sorted((ROOT / "treepo").rglob("*.py"))
    if path.parent != ROOT / "treepo" or path.stem != "__init__"
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_from_rooms_below_it(path: Path) -> None:
    here = room(path)
    ours = {name[1] for name in imports(path) if name[0] == "treepo" and len(name) > 1}
    assert ours <= ALLOWED[here] | GROUND | {here}
    assert "recipe" not in {name[0] for name in imports(path)}


@pytest.mark.parametrize(
    "path", [path for path in FILES if room(path) in WITHIN], ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_part_of_a_room_imports_only_from_parts_below_it(path: Path) -> None:
    outer = room(path)
    inner = path.relative_to(ROOT / "treepo" / outer).parts[0].removesuffix(".py")
    ours = {name[2] for name in imports(path) if name[:2] == ("treepo", outer) and len(name) > 2}
    assert ours <= WITHIN[outer][inner] | {inner}


@pytest.mark.parametrize("name", sorted(PURE))
def test_a_pure_room_knows_nothing_of_the_host(name: str) -> None:
    files = [path for path in FILES if room(path) == name]
    assert files
    assert {found[0] for path in files for found in imports(path)} & PURE[name] == set()


def test_only_one_room_imports_verl_and_ray() -> None:
    holders = {room(path) for path in FILES if {name[0] for name in imports(path)} & {"verl", "ray", "vllm"}}
    # The launcher asks Ray for its nodes, in a process of its own.
    assert holders == {"verl", "launch"}
    asking = {path.name for path in FILES if room(path) == "launch" and ("ray",) in imports(path)}
    assert asking == {"accelerators.py"}


def test_the_ground_stands_on_nothing_but_the_ground() -> None:
    for path in FILES:
        if room(path) in GROUND:
            ours = {name[1] for name in imports(path) if name[0] == "treepo" and len(name) > 1}
            assert ours <= GROUND


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    places = ("treepo", "recipe", "benchmarks")
    lengths = {path: len(path.read_text().splitlines()) for place in places for path in (ROOT / place).rglob("*.py")}
    assert {str(path) for path, length in lengths.items() if length > 300} == set()


def test_no_folder_holds_more_files_than_a_reader_can_survey() -> None:
    places = ("treepo", "recipe", "benchmarks", "tests")
    counts = Counter(path.parent.relative_to(ROOT) for place in places for path in (ROOT / place).rglob("*.py"))
    assert {str(folder): count for folder, count in counts.items() if count > 14} == {}
