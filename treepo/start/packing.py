"""Whether trees can be packed: the refusal where that is asked for, and the warning where it is left to us."""

from collections.abc import Iterator

from treepo.start.declared import Start, reads
from treepo.verl.training.packing import READS, obstacle, packs


@reads("treepo", *READS)
def packing(start: Start) -> Iterator[str]:
    """Refuses packing that cannot run where it is asked for; warns where trees are trained row by row."""
    packs(start.config, start.options, look_up=False)
    if start.options.packing.enabled is not None:
        return
    unpacked = obstacle(start.config, look_up=False)
    if unpacked is not None:
        yield (
            f"shared tokens are computed once per trajectory: {unpacked}, or treepo.packing.enabled=false to have it so"
        )
