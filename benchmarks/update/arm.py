"""One engine in a process of its own, so that what one holds is not counted to the other, and both wait in turn."""

import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.update.cell import Part
from treepo.packing import Rows

_END_SECONDS = 30.0
# Small enough that weights hardly move: both arms measure the same model throughout.
_LEARNING_RATE = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What both engines are built with.

    Attributes:
        model: Folder of the model.
        device: ``cpu`` or ``cuda``. On CUDA layers compute in bfloat16, with gradient checkpointing.
        threads: Threads of PyTorch on the CPU.
        log: Folder of what the processes print.
    """

    model: Path
    device: str
    threads: int
    log: Path


class ArmProcess:
    """The parent's end of an engine.

    Args:
        setting: What both are built with.
        packed: The packed engine, or verl's own.
    """

    def __init__(self, setting: Setting, *, packed: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._name = "packed" if packed else "stock"
        self._log = setting.log / f"{self._name}.log"
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, setting, packed, self._log), daemon=True)
        self._process.start()
        theirs.close()

    def wait_ready(self) -> str:
        """Until the engine stands; says which attention it computes with."""
        return self._receive()

    def load(self, rows: Rows, max_tokens: int) -> None:
        """The rows of what is measured next."""
        self._call("load", rows.tokens.tolist(), rows.lengths.tolist(), rows.prompt_lengths.tolist(), max_tokens)

    def peak(self, part: Part) -> int:
        """Runs a part and gives the most bytes that it holds at once."""
        return self._call("peak", part)

    def seconds(self, part: Part) -> float:
        """Runs a part and gives its time."""
        return self._call("seconds", part)

    def counts(self) -> tuple[int, int]:
        """Micro-batches of the last part, and the tokens that the model ran on."""
        return self._call("counts")

    def log_probs(self) -> list[float]:
        """Of every response token, from the last time that log-probs were the part."""
        return self._call("log_probs")

    def close(self) -> None:
        """Ends the process."""
        with suppress(OSError):
            self._connection.send(None)
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _call(self, name: str, *arguments: object) -> Any:
        self._connection.send((name, arguments))
        return self._receive()

    def _receive(self) -> Any:
        try:
            fine, answer = self._connection.recv()
        except EOFError:
            fine, answer = False, "its process ended"
        if not fine:
            raise RuntimeError(f"the {self._name} engine failed; everything it printed: {self._log}\n{answer}")
        return answer


def _serve(connection: Connection, setting: Setting, packed: bool, log: Path) -> None:
    """The child: builds the engine and answers until it is told None."""
    output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output, stream.fileno())
    try:
        with _engine(setting, packed=packed) as server:
            connection.send((True, server.attention))
            while (asked := connection.recv()) is not None:
                name, arguments = asked
                connection.send((True, getattr(server, name)(*arguments)))
    except Exception:
        connection.send((False, traceback.format_exc()))


@contextmanager
def _engine(setting: Setting, *, packed: bool) -> Iterator["_Server"]:
    # Chosen before anything imports verl.
    if setting.device == "cpu":
        os.environ |= {"VERL_PLATFORM": "cpu", "VERL_ENGINE_DEVICE": "cuda"}
        os.environ["VERL_USE_EXTERNAL_MODULES"] = "treepo.verl.cpu"
    import torch

    from benchmarks.engines import process_group

    torch.set_num_threads(setting.threads)
    with process_group():
        yield _Server(setting, packed=packed)


class _Server:
    """The child's engine and the rows that it has at hand."""

    def __init__(self, setting: Setting, *, packed: bool) -> None:
        import torch

        from benchmarks.engines import build_engine, policy_loss

        self._cuda = setting.device == "cuda"
        flash = self._cuda and find_spec("flash_attn") is not None
        self._stock_attention = "flash_attention_2" if flash else "sdpa"
        # Without flash-attn verl's engine computes log-probs token by token in a loop.
        loop = ", log-probs token by token" if self._cuda and not flash else ""
        self.attention = ("flash by paths" if self._cuda else "chains") if packed else self._stock_attention + loop
        self._engine = build_engine(
            setting.model,
            packed=packed,
            autocast=self._cuda,
            learning_rate=_LEARNING_RATE,
            attention=self._stock_attention,
            enable_gradient_checkpointing=self._cuda,
        )
        # Weights, gradients and AdamW's state in float32: both engines stay if half of the memory is left over.
        held = 16 * sum(parameter.numel() for parameter in self._engine.module.parameters())
        self._takes_turns = self._cuda and 4 * held > torch.cuda.get_device_properties(0).total_memory
        self._loss = policy_loss()
        # The optimizer's state is made in its first step, and belongs to no cell.
        self.load([1, 2, 3, 4], [4], [2], 4)
        self.seconds(Part.UPDATE)

    def load(self, tokens: list[int], lengths: list[int], prompt_lengths: list[int], max_tokens: int) -> None:
        import torch

        from benchmarks.engines import make_batch

        rows = Rows(
            tokens=torch.tensor(tokens), lengths=torch.tensor(lengths), prompt_lengths=torch.tensor(prompt_lengths)
        )
        self._row_tokens = len(tokens)
        unpadded = self._stock_attention.startswith("flash")
        # verl's trainer asks for entropies with old log-probs always, and in updates where a loss has them.
        self._batches = {
            part: make_batch(
                rows, max_tokens=max_tokens, use_remove_padding=unpadded, calculate_entropy=part is Part.LOG_PROBS
            )
            for part in Part
        }

    def peak(self, part: Part) -> int:
        from benchmarks.update.memory import peak_bytes

        with self._on_device():
            return peak_bytes(self._pass(part))

    def seconds(self, part: Part) -> float:
        import torch

        run = self._pass(part)
        with self._on_device():
            start = time.perf_counter()
            run()
            if self._cuda:
                torch.cuda.synchronize()
            return time.perf_counter() - start

    def counts(self) -> tuple[int, int]:
        metrics = self._result["metrics"]
        # verl's engine adds the losses of its micro-batches up in a list.
        return len(self._result["loss"]), sum(metrics.get("packing/packed_tokens", [self._row_tokens]))

    def log_probs(self) -> list[float]:
        from verl.workers.utils.padding import response_from_nested

        mask = self._batches[Part.LOG_PROBS]["response_mask"]
        return response_from_nested(self._inferred["log_probs"], mask).values().tolist()

    def _pass(self, part: Part) -> Callable[[], None]:
        return self._infer if part is Part.LOG_PROBS else self._update

    def _infer(self) -> None:
        with self._engine.eval_mode():
            self._inferred = self._engine.infer_batch(self._batches[Part.LOG_PROBS])["model_output"]

    def _update(self) -> None:
        # The gradients are let go when the mode is left.
        with self._engine.train_mode():
            self._result = self._engine.train_batch(self._batches[Part.UPDATE], self._loss)

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        """An accelerator that cannot hold both is this engine's alone: the other one's weights are on the host."""
        if not self._takes_turns:
            yield
            return
        import torch

        self._engine.to("cuda")
        torch.cuda.synchronize()
        try:
            yield
        finally:
            self._engine.to("cpu")
            torch.cuda.empty_cache()
