"""Waits until a Ray cluster has its accelerators.

``python -m treepo.launch.nodes.accelerators ADDRESS NODES COUNT SECONDS OPTION``; the option is the one that says the
count.

A process of its own, so that the launcher is no Ray driver: it must not fail with the cluster it watches.
"""

import logging
import sys
import time
from typing import Any

from treepo.launch.nodes.ray_node import RANK_LABEL

_POLL_SECONDS = 0.5
_KINDS = ("GPU", "NPU")


def shortage(nodes: list[dict[str, Any]], *, ranks: int, count: int) -> tuple[list[str], list[str]]:
    """The nodes that are missing, and those with too few accelerators, a phrase each.

    Args:
        nodes: As ``ray.nodes()`` gives them.
        ranks: How many nodes there must be.
        count: How many accelerators each must have.
    """
    found: dict[int, tuple[str, float]] = {}
    for node in nodes:
        if node["Alive"] and RANK_LABEL in node["Labels"]:
            offered = sum(node["Resources"].get(kind, 0) for kind in _KINDS)
            found[int(node["Labels"][RANK_LABEL])] = (node["NodeManagerHostname"], offered)
    missing = [f"rank {rank} is not in the Ray cluster" for rank in range(ranks) if rank not in found]
    short = [
        f"rank {rank} ({host}) has {offered:g} of {count} accelerators"
        for rank, (host, offered) in sorted(found.items())
        if offered < count
    ]
    return missing, short


def main() -> int:
    """Waits; 0 when all are there, 1 after printing what is missing."""
    import ray

    address, option = sys.argv[1], sys.argv[5]
    ranks, count, seconds = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    limit = time.monotonic() + seconds
    ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        while any(lacking := shortage(ray.nodes(), ranks=ranks, count=count)):
            missing, short = lacking
            # What a node offers is settled when it joins: waiting adds nodes alone.
            if not missing or time.monotonic() > limit:
                sys.stdout.write(f"{'; '.join(missing + short)} ({option}={count})\n")
                return 1
            time.sleep(_POLL_SECONDS)
    finally:
        ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
