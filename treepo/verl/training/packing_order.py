"""The order of a batch whose trees are packed: whole trees per mini-batch and rank, packed tokens in balance."""

from collections import defaultdict
from collections.abc import Sequence

from treepo.packing import Walk, share_by_room, share_over_ranks, walk_paths
from treepo.verl.rollout.rows import TreeFields, path_of


def packing_order(
    uids: Sequence[str],
    fields: Sequence[TreeFields],
    *,
    prompt_lengths: Sequence[int],
    padding: Sequence[bool],
    ranks: int,
    mini_batches: int,
) -> tuple[list[int], float]:
    """Orders a batch so that shared tokens meet on one rank in one mini-batch.

    Padding rows are spread over the mini-batches first, as `treepo.verl.training.padding` has it. Then whole trees
    are shared out among the mini-batches, and those of each among the ranks. A tree is cut only where equal numbers of
    rows leave no other way; a prompt is in one mini-batch wherever possible, which verl by itself does not see to.

    Args:
        uids: verl's id of the prompt group of every row.
        fields: What every row carries of its tree; a padding row's is not read.
        prompt_lengths: Tokens of every row's prompt.
        padding: Which rows are padding.
        ranks: Data-parallel ranks; divides the rows of a mini-batch.
        mini_batches: Mini-batches; divides the rows.

    Returns:
        The new order, indices of rows, rank by rank and in each mini-batch by mini-batch; and the packed tokens of the
        busiest rank over the mean rank's.
    """
    count = len(uids)
    assert count % (ranks * mini_batches) == 0, "ranks share the rows of every mini-batch out evenly"
    empty = [row for row in range(count) if padding[row]]
    pads = [empty[turn::mini_batches] for turn in range(mini_batches)]
    trees = _trees(uids, fields, prompt_lengths, padding)
    parts = share_by_room(trees, rooms=[count // mini_batches - len(rows) for rows in pads])
    order: list[list[int]] = [[] for _ in range(ranks)]
    tokens = [0] * ranks
    for units, rows in zip(parts, pads, strict=True):
        fillers = [_padding_row(row, prompt_lengths[row]) for row in rows]
        for rank, share in enumerate(share_over_ranks([*units, *fillers], ranks=ranks)):
            order[rank] += share.rows
            tokens[rank] += share.packed_tokens
    return [row for rows in order for row in rows], max(tokens) * ranks / sum(tokens)


def _trees(
    uids: Sequence[str], fields: Sequence[TreeFields], prompt_lengths: Sequence[int], padding: Sequence[bool]
) -> list[Walk]:
    groups: dict[str, list[int]] = defaultdict(list)
    for row, uid in enumerate(uids):
        if not padding[row]:
            groups[uid].append(row)
    return [
        walk_paths(
            rows=rows,
            prompt_length=prompt_lengths[rows[0]],
            paths=[path_of(fields[row]) for row in rows],
        )
        for rows in groups.values()
    ]


def _padding_row(row: int, prompt_length: int) -> Walk:
    return Walk(order=(row,), lengths=(prompt_length + 1,), shared=(0,))
