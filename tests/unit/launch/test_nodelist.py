"""Slurm's host lists without Slurm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treepo.config import ConfigError
from treepo.launch.nodelist import expand_nodelist


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("login", ["login"]),
        ("a,b-1,c.d", ["a", "b-1", "c.d"]),
        ("gpu[08-11]", ["gpu08", "gpu09", "gpu10", "gpu11"]),
        ("gpu[1-2,7,10-11]", ["gpu1", "gpu2", "gpu7", "gpu10", "gpu11"]),
        ("gpu[099-101]", ["gpu099", "gpu100", "gpu101"]),
        ("r[1-2]n[3,5]-ib", ["r1n3-ib", "r1n5-ib", "r2n3-ib", "r2n5-ib"]),
        ("a[1,2],b,c[03]", ["a1", "a2", "b", "c03"]),
        ("node7, node[8-9]", ["node7", "node8", "node9"]),
    ],
)
def test_a_list_is_expanded_in_its_order(text: str, hosts: list[str]) -> None:
    assert expand_nodelist(text) == hosts


@given(st.integers(0, 500), st.integers(0, 60), st.integers(1, 5))
def test_a_range_keeps_its_width_and_length(first: int, more: int, width: int) -> None:
    hosts = expand_nodelist(f"n[{first:0{width}}-{first + more}]")
    assert hosts == [f"n{number:0{width}}" for number in range(first, first + more + 1)]


@pytest.mark.parametrize("text", ["", "a[1-2", "a1]", "a[[1]]", "a[x-y]", "a[3-1]", "a[]", "a[1-99999999]"])
def test_what_is_no_list_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="host list"):
        expand_nodelist(text)
