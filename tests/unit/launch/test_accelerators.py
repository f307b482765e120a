"""What a Ray cluster lacks is said per rank."""

from typing import Any

from treepo.launch.nodes.accelerators import shortage


def node(rank: int | None, *, accelerators: float = 8, alive: bool = True, kind: str = "GPU") -> dict[str, Any]:
    return {
        "Alive": alive,
        "NodeManagerHostname": f"host{rank}",
        "Resources": {"CPU": 4.0, kind: accelerators} if accelerators else {"CPU": 4.0},
        "Labels": {} if rank is None else {"treepo-rank": str(rank)},
    }


def test_a_whole_cluster_lacks_nothing() -> None:
    assert shortage([node(1), node(0)], ranks=2, count=8) == ([], [])
    assert shortage([node(0, kind="NPU")], ranks=1, count=8) == ([], [])


def test_missing_dead_and_poor_nodes_are_named() -> None:
    nodes = [node(0, accelerators=0), node(1, alive=False), node(2, accelerators=4), node(None)]
    assert shortage(nodes, ranks=4, count=8) == (
        ["rank 1 is not in the Ray cluster", "rank 3 is not in the Ray cluster"],
        ["rank 0 (host0) has 0 of 8 accelerators", "rank 2 (host2) has 4 of 8 accelerators"],
    )
