"""Runs both engines through the cells: a warm-up of each, then repeats with the engines in turn."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from benchmarks.update.arm import ArmProcess, Setting
from benchmarks.update.cell import Arm, Cell, Measured, Outcome, Part, grow, largest_difference
from benchmarks.update.shapes import vocabulary_of
from treepo.packing import lay_out

Arms = dict[Arm, ArmProcess]


@contextmanager
def running(setting: Setting) -> Iterator[tuple[Arms, dict[Arm, str]]]:
    """Both engines, and the attention of each; ended at the end.

    Raises:
        RuntimeError: One of them cannot be built.
    """
    setting.log.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        arms = {arm: ArmProcess(setting, packed=arm is Arm.PACKED) for arm in Arm}
        for process in arms.values():
            stack.callback(process.close)
        yield arms, {arm: process.wait_ready() for arm, process in arms.items()}


def measure(
    arms: Arms,
    setting: Setting,
    cells: Sequence[Cell],
    *,
    repeats: int,
    seed: int,
    progress: Callable[[Outcome], None],
) -> list[Outcome]:
    """Measures cells.

    Args:
        arms: Both engines.
        setting: What they were built with.
        cells: The cells, in turn.
        repeats: Measurements of time, after the warm-up in which memory is counted.
        seed: Seed of the rows.
        progress: Told of each finished cell.

    Raises:
        RuntimeError: An engine failed.
    """
    vocabulary = vocabulary_of(setting.model)
    outcomes = []
    for cell in cells:
        outcomes.append(_measure(arms, cell, repeats=repeats, seed=seed, vocabulary=vocabulary))
        progress(outcomes[-1])
    return outcomes


def _measure(arms: Arms, cell: Cell, *, repeats: int, seed: int, vocabulary: int) -> Outcome:
    rows = grow(cell, seed=seed, vocabulary=vocabulary)
    found: dict[Part, dict[Arm, Measured]] = {part: {} for part in Part}
    log_probs: dict[Arm, list[float]] = {}
    for arm, process in arms.items():
        process.load(rows, cell.max_tokens or len(rows.tokens))
        peaks = {part: process.peak(part) for part in Part}
        batches, tokens = process.counts()
        for part, peak in peaks.items():
            found[part][arm] = Measured(seconds=[], peak=peak, micro_batches=batches, tokens=tokens)
        log_probs[arm] = process.log_probs()
    for repeat in range(repeats):
        # Every other round the other way round, so that neither always follows the same.
        for arm in list(Arm)[:: 1 if repeat % 2 == 0 else -1]:
            for part in Part:
                found[part][arm].seconds.append(arms[arm].seconds(part))
    return Outcome(
        cell=cell,
        row_tokens=len(rows.tokens),
        packed_tokens=len(lay_out(rows)),
        found=found,
        apart=largest_difference(log_probs[Arm.STOCK], log_probs[Arm.PACKED]),
    )
