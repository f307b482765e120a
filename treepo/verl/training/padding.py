"""Where the padding rows of a batch go."""

from collections.abc import Sequence


def spread_padding(padding: Sequence[bool], *, ranks: int, mini_batches: int) -> list[int]:
    """Orders a batch so that every mini-batch of an update gets the same number of padding rows, give or take one.

    Trees give no fixed number of trajectories, so verl fills a batch up to whole mini-batches, and leaves the padding
    rows at the end of every rank's share: the last update of a step would stand on the few real rows left there, at
    the full learning rate.

    Args:
        padding: Which rows are padding, shape [rows]. Rank r holds the rows [r * rows / ranks, (r + 1) * rows / ranks),
            and takes its part of the first mini-batch from the front, of the next one behind it, and so on.
        ranks: Ranks that share the rows out; divides the rows of a mini-batch.
        mini_batches: Mini-batches of the batch; divides the rows of a rank.

    Returns:
        The new order, indices of rows, shape [rows]. Every row stays on its rank, real rows in their order.
    """
    share = len(padding) // ranks
    assert share * ranks == len(padding), "the ranks share the rows out evenly"
    assert share % mini_batches == 0, "a rank's share is a whole number of mini-batches"
    order: list[int] = []
    turn = 0
    for rank in range(ranks):
        rows = range(rank * share, (rank + 1) * share)
        real = iter([row for row in rows if not padding[row]])
        empty = [row for row in rows if padding[row]]
        parts: list[list[int]] = [[] for _ in range(mini_batches)]
        # In turn, and on the next rank from where this one stopped, so that the ranks' remainders do not add up.
        for row in empty:
            parts[turn % mini_batches].append(row)
            turn += 1
        for part in parts:
            order += [next(real) for _ in range(share // mini_batches - len(part))] + part
    return order
