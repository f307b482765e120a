"""A checkpoint engine of verl's over gloo: new weights for servers apart from the trainer, without accelerators.

``actor_rollout_ref.rollout.checkpoint_engine.backend=gloo``; ``treepo.plugin`` adds it to verl's registry, and so does
``custom_backend_module`` with this module's name. verl's own engines need NCCL, HCCL or RDMA. Here bytes go from the
main memory of the trainer's first rank to that of every server's worker, whatever their type, bucket by bucket.
The group is made anew for every update, on a port of its own, so that servers may have come or gone; it is none
of torch's default groups, which belong to the trainer and to the worker (Ray's gloo groups would be part of those).

An update ends on all sides or on none: whoever fails leaves the group, which ends the others' next step at once, and
what is only silent does so after ``timeout_s``.

Checked against verl 0.9.1 (``verl/checkpoint_engine/base.py``); ``tests/seams/test_table.py`` holds it.
"""

import asyncio
import pickle
from collections.abc import AsyncGenerator, Iterable
from datetime import timedelta
from typing import Any

import ray
import torch
from torch.distributed import ProcessGroupGloo, TCPStore  # pyright: ignore[reportPrivateImportUsage]
from verl.checkpoint_engine.base import (
    CheckpointEngine,
    CheckpointEngineRegistry,
    TensorMeta,
    merge_weight_chunks,
    split_weight_chunks,
)


@CheckpointEngineRegistry.register("gloo")  # pyright: ignore[reportAttributeAccessIssue]
class GlooCheckpointEngine(CheckpointEngine):
    """Sends the weights of the trainer's first rank to the workers of all servers; holds a bucket on either side.

    Args:
        bucket_size: Bytes of a bucket, ``update_weights_bucket_megabytes``; larger tensors go in several.
        is_master: Whether this is the trainer's first rank.
        timeout_s: Seconds after which a silent process ends the update for the others,
            ``checkpoint_engine.engine_kwargs.gloo.timeout_s``.
    """

    def __init__(self, bucket_size: int, is_master: bool = False, timeout_s: float = 600.0) -> None:
        self.bucket_size = bucket_size
        self.is_master = is_master
        self._timeout = timedelta(seconds=timeout_s)
        self._store: TCPStore | None = None
        self._group: ProcessGroupGloo | None = None

    def prepare(self) -> dict[str, Any]:
        """Opens the meeting place of a new group.

        Returns:
            Its ``host`` and ``port``; nothing where it is not here.
        """
        self.finalize()
        if not self.is_master:
            return {}
        host = ray.util.get_node_ip_address().strip("[]")
        self._store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=self._timeout)
        return {"host": host, "port": self._store.port}

    @classmethod
    def build_topology(
        cls, actor_wg_world_size: int, rollout_world_size: int, metadata: list[dict[str, Any]]
    ) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """The arguments of `init_process_group`, for the trainer's ranks and for the servers' workers.

        Args:
            actor_wg_world_size: The trainer's ranks, of which only the first joins.
            rollout_world_size: The servers' workers.
            metadata: What `prepare` has returned, the trainer's first rank first.
        """
        size = 1 + rollout_world_size

        def arguments(ranks: list[int]) -> dict[str, list[Any]]:
            alike = {"size": size, **metadata[0]}
            return {"rank": ranks, **{name: [value] * len(ranks) for name, value in alike.items()}}

        return arguments([0] + [-1] * (actor_wg_world_size - 1)), arguments(list(range(1, size)))

    def init_process_group(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, rank: int, size: int, host: str, port: int
    ) -> None:
        """Joins the group, and returns once all are there.

        Args:
            rank: The place in the group, 0 sends; below 0 this process stays out.
            size: Members of the group.
            host: Where they meet.
            port: Where they meet.

        Raises:
            RuntimeError: They have not met in time.
        """
        if rank < 0:
            return
        try:
            if self._store is None:
                self._store = TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=self._timeout)
            self._group = ProcessGroupGloo(self._store, rank, size, self._timeout)
        except RuntimeError as error:
            self.finalize()
            raise RuntimeError(
                f"the trainer and the workers of its servers have not met at {host}:{port} to exchange weights within "
                f"{self._timeout.total_seconds():g} s ({_first_line(error)}; this was {rank} of {size}, 0 is the "
                "trainer): one of them is gone, or cannot reach the others"
            ) from error

    def finalize(self) -> None:
        """Leaves the group."""
        self._group = self._store = None

    async def send_weights(self, weights: Iterable[tuple[str, torch.Tensor]], global_steps: int | None = None) -> None:
        """Sends the weights.

        Args:
            weights: Names and whole tensors, contiguous, on any device.
            global_steps: The training step; nothing reads it here.

        Raises:
            RuntimeError: A server's worker has failed; whatever `weights` raises, which the others are told.
        """
        if self._group is None:
            # Every tensor is gathered from all ranks of the trainer.
            for _ in weights:
                pass
            return
        try:
            try:
                await self._send_buckets(weights)
            except _BrokenOffError:
                raise
            except Exception as error:
                await self._send(f"{type(error).__name__}: {error}")
                await self._all_done()
                raise
            await self._all_done()
        except BaseException:
            self.finalize()
            raise

    async def receive_weights(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, global_steps: int | None = None
    ) -> AsyncGenerator[tuple[str, torch.Tensor], None]:
        """Receives the weights.

        Args:
            global_steps: The training step; nothing reads it here.

        Yields:
            Names and whole tensors in main memory.

        Raises:
            RuntimeError: The trainer or another server's worker has failed.
        """
        try:
            async for name, weight in merge_weight_chunks(self._receive_chunks(), self.bucket_size):  # pyright: ignore[reportArgumentType]
                yield name, weight
            await self._all_done()
        except BaseException:
            self.finalize()
            raise

    async def _send_buckets(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        bucket = torch.empty(self.bucket_size, dtype=torch.uint8)
        pieces: list[TensorMeta] = []
        end = 0
        async for piece, chunk in split_weight_chunks(weights, self.bucket_size):  # pyright: ignore[reportArgumentType]
            assert chunk is not None, "the bytes are asked for with their description"
            # The receiver looks at the bytes as numbers of this type.
            start = -(-end // piece.dtype.itemsize) * piece.dtype.itemsize
            if start + piece.chunk_size > self.bucket_size:
                await self._send(pieces, bucket[:end])
                pieces, start = [], 0
            piece.offset, end = start, start + piece.chunk_size
            pieces.append(piece)
            with torch.no_grad():
                bucket[start:end].copy_(chunk)
        if pieces:
            await self._send(pieces, bucket[:end])
        await self._send(None)

    async def _send(self, what: list[TensorMeta] | str | None, data: torch.Tensor | None = None) -> None:
        """Sends a bucket; or why no more follows, None at the end."""
        words = torch.frombuffer(bytearray(pickle.dumps(what)), dtype=torch.uint8)
        await self._broadcast(torch.tensor([words.numel(), 0 if data is None else data.numel()]))
        await self._broadcast(words)
        if data is not None:
            await self._broadcast(data)

    async def _receive_chunks(self) -> AsyncGenerator[tuple[TensorMeta, torch.Tensor], None]:
        while True:
            sizes = torch.zeros(2, dtype=torch.int64)
            await self._broadcast(sizes)
            words, data = (torch.empty(int(size), dtype=torch.uint8) for size in sizes)
            await self._broadcast(words)
            what = pickle.loads(words.numpy().tobytes())
            if what is None:
                return
            if isinstance(what, str):
                await self._all_done()
                raise RuntimeError(f"the trainer could not send its weights: {what}")
            await self._broadcast(data)
            for piece in what:
                yield piece, data[piece.offset : piece.offset + piece.chunk_size]

    async def _broadcast(self, tensor: torch.Tensor) -> None:
        await self._exchange("broadcast", tensor, 0)

    async def _all_done(self) -> None:
        """Waits until all have what was sent."""
        await self._exchange("barrier")

    async def _exchange(self, operation: str, *arguments: Any) -> None:
        assert self._group is not None, "the group is joined before weights are exchanged"
        try:
            # A thread, since the process has other calls to answer. No variable holds the group: an error would keep
            # it, and its connections, for as long as it is looked at.
            await asyncio.to_thread(lambda: getattr(self._group, operation)(*arguments).wait())
        except RuntimeError as error:
            raise _BrokenOffError(
                f"the exchange of weights broke off ({_first_line(error)}; this was {self._group.rank()} of "
                f"{self._group.size()}, 0 is the trainer): another of them has failed, with its own error, or is gone"
            ) from error


class _BrokenOffError(RuntimeError):
    """The group is of no more use."""


def _first_line(error: RuntimeError) -> str:
    return str(error).splitlines()[0]
