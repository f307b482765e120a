"""The driver of one prompt: carries requests to the engine and segments back until the tree has grown."""

import asyncio
from collections.abc import Callable, Iterable

from treepo.rollout.completion import complete
from treepo.rollout.engine import SegmentEngine
from treepo.tree import Segment, SegmentRequest, Tree, TreeSampler


class RolloutError(RuntimeError):
    """A tree that could not be grown; the text names the prompt."""


async def grow_tree(sampler: TreeSampler, engine: SegmentEngine) -> Tree:
    """Grows one prompt's tree.

    All requests of a step are in flight together. Prompts are independent: run one call per prompt, as many at once
    as wanted, and none waits for another. The engine is closed at the end, whatever the end is: a cancelled caller gets
    its cancellation when the engine is closed.

    Args:
        sampler: A sampler that was not started yet.
        engine: The engine that decodes its segments.

    Returns:
        The finished tree.

    Raises:
        RolloutError: A request failed. The tasks of the others are cancelled and awaited first; what the engine does
            with a cancelled request is its own. The engine's exception is the cause.
    """
    in_flight: set[asyncio.Task[Segment]] = set()
    finished: set[asyncio.Task[Segment]] = set()

    def launch(requests: Iterable[SegmentRequest]) -> None:
        for request in requests:
            in_flight.add(asyncio.ensure_future(engine.decode_segment(sampler.prompt_tokens, request)))

    try:
        launch(sampler.start())
        while in_flight:
            finished, _ = await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
            in_flight -= finished
            for task in finished:
                segment = task.result()
                requests = sampler.receive(segment)
                if sampler.ended(segment.request_id):
                    engine.release(segment.request_id)
                launch(requests)
    except Exception as error:
        raise RolloutError(f"prompt {sampler.prompt_id}: its tree could not be grown: {error}") from error
    finally:
        await complete(_end(in_flight, finished, engine))
    assert sampler.done, "a sampler with no request in flight has finished"
    return sampler.tree()


def grow_at_once(sampler: TreeSampler, answer: Callable[[SegmentRequest], Segment]) -> Tree:
    """Grows one prompt's tree with segments that are there at once, step by step, as a simulated model gives them.

    Args:
        sampler: A sampler that was not started yet.
        answer: Gives the segment of a request.

    Returns:
        The finished tree.
    """
    requests = sampler.start()
    while requests:
        requests = [following for request in requests for following in sampler.receive(answer(request))]
    return sampler.tree()


async def _end(
    in_flight: set[asyncio.Task[Segment]], finished: set[asyncio.Task[Segment]], engine: SegmentEngine
) -> None:
    for task in in_flight:
        task.cancel()
    # Those that failed together with the first are looked at too, or asyncio would report each of them.
    await asyncio.gather(*in_flight, *finished, return_exceptions=True)
    await engine.close()
