"""Requests of one tree on the ``AsyncLLM`` of verl's vLLM server, from within the server's actor.

The seam to the server's admission gate and to vLLM's streaming outputs. Checked against verl 0.9.1
(``vLLMHttpServer.generate``) with vLLM 0.28, and read in 0.24; ``tests/seams/test_server_seams.py`` holds it.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from verl.workers.rollout.vllm_rollout.utils import VLLM_LORA_INT_ID, VLLM_LORA_NAME, VLLM_LORA_PATH
from vllm import SamplingParams
from vllm.inputs import TokensPrompt
from vllm.lora.request import LoRARequest
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.exceptions import EngineDeadError

from treepo.rollout import Chunk


class ServerLeftError(RuntimeError):
    """The server left the rotation and takes no requests; the tree must grow elsewhere."""


class RequestAbortedError(RuntimeError):
    """Somebody aborted a request of the tree."""


class VllmDecoder:
    """Opens requests of one tree; see :class:`treepo.rollout.Decoder`.

    A request that a pause for new weights interrupts is opened again behind the pause with the tokens it has, so a
    tree may span weight versions; every chunk says which weights decoded it.
    """

    def __init__(self, server: Any, *, name: str, order: int, sampling_params: dict[str, Any], seeded: bool) -> None:
        """Binds a tree to a server.

        Args:
            server: The server that this runs in, a :class:`treepo.verl.rollout.tree_server.TreeServer`.
            name: Begins the names of the requests; unique among the trees that grow.
            order: The tree's place among those of the server; earlier trees go first where sequence slots are short.
            sampling_params: verl's sampling parameters.
            seeded: Whether every request draws from its own seed.
        """
        self._server = server
        self._name = name
        self._order = order
        self._sampling_params = dict(sampling_params)
        # verl's flag; here log-probs are always wanted.
        self._sampling_params.pop("logprobs", None)
        self._sampling_params.setdefault("repetition_penalty", server.config.get("repetition_penalty", 1.0))
        self._sampling_params.setdefault("ignore_eos", server.config.get("ignore_eos", False))
        self._seeded = seeded
        parallel = server.engine.vllm_config.parallel_config
        self._placement: dict[str, int] = {}
        if server.engine.vllm_config.scheduler_config.policy == "priority":
            self._placement["priority"] = order
        if parallel.data_parallel_size > 1:
            # The engines of a data-parallel server have a prefix cache each: a tree stays on one.
            self._placement["data_parallel_rank"] = order % parallel.data_parallel_size

    async def decode(
        self, tokens: list[int], *, request_id: int, max_tokens: int, seed: int
    ) -> AsyncGenerator[Chunk, None]:
        """Decodes; see :class:`treepo.rollout.Decoder`.

        Raises:
            ServerLeftError: The server takes no requests any more.
            RequestAbortedError: Somebody aborted the request.
        """
        done: list[int] = []
        cached_tokens: int | None = None
        for attempt in itertools.count():
            params = self._params(max_tokens - len(done), seed + attempt)
            interrupted = False
            pauses = self._server.pauses
            async with aclosing(
                self._outputs(tokens + done, params, f"{self._name}-{request_id}-{attempt}")
            ) as outputs:
                async for output in outputs:
                    completion = output.outputs[0] if output.outputs else None
                    if cached_tokens is None and completion and completion.token_ids:
                        # Of the first attempt: what a pause made the engine compute again is not the tree's doing.
                        cached_tokens = output.num_cached_tokens or 0
                    reason = completion.finish_reason if completion else "abort"
                    interrupted = output.finished and reason not in ("stop", "length")
                    decoded = list(completion.token_ids) if completion else []
                    done += decoded
                    if interrupted and self._server.pauses == pauses and not self._server.paused:
                        raise RequestAbortedError(f"request {self._name}-{request_id} was ended from outside: {reason}")
                    yield Chunk(
                        tokens=decoded,
                        log_probs=_log_probs(completion) if completion else [],
                        last=output.finished and not interrupted,
                        stopped=reason == "stop",
                        cached_tokens=cached_tokens or 0,
                        weight_version=self._server.global_steps or 0,
                    )
            if not interrupted:
                return

    def _params(self, max_tokens: int, seed: int) -> SamplingParams:
        options: dict[str, Any] = {"seed": seed % 2**63} if self._seeded else {}
        return SamplingParams(
            **self._sampling_params,
            **options,
            max_tokens=max_tokens,
            logprobs=0,
            flat_logprobs=True,
            # The sampler reads text where a rule needs it; a stop string needs vLLM's.
            detokenize=bool(self._sampling_params.get("stop")),
            output_kind=RequestOutputKind.DELTA,
        )

    async def _outputs(
        self, tokens: list[int], params: SamplingParams, name: str
    ) -> AsyncGenerator[RequestOutput, None]:
        lora = await self._lora()
        # Behind the gate nothing awaits until the engine has the request: a pause waits for those in between.
        if await self._server._park_until_admitted(name) is not None:
            raise ServerLeftError(f"the server of request {name} left the rotation")
        try:
            queue = await self._submit(name, tokens, params, lora)
        finally:
            self._server._admitting -= 1
        finished = False
        try:
            while not finished:
                output = queue.get_nowait() or await queue.get()
                finished = output.finished
                yield output
        except EngineDeadError:
            finished = True
            raise
        finally:
            if not finished:
                await self._server.engine.abort(queue.request_id, internal=True)
            queue.close()

    async def _submit(self, name: str, tokens: list[int], params: SamplingParams, lora: LoRARequest | None) -> Any:
        """Hands a request to the engine; a cancelled caller takes it back.

        Not by `AsyncLLM.generate`, which gives no sign before the first token: a pause would wait until the request has
        a sequence slot.
        """
        engine = self._server.engine
        submitting = asyncio.ensure_future(
            engine.add_request(
                name, TokensPrompt(prompt_token_ids=tokens), params, lora_request=lora, **self._placement
            )
        )
        try:
            return await asyncio.shield(submitting)
        except asyncio.CancelledError:
            await engine.abort((await submitting).request_id, internal=True)
            raise

    async def _lora(self) -> LoRARequest | None:
        if not self._server.lora_as_adapter or VLLM_LORA_INT_ID not in await self._server.engine.list_loras():
            return None
        return LoRARequest(lora_name=VLLM_LORA_NAME, lora_int_id=VLLM_LORA_INT_ID, lora_path=VLLM_LORA_PATH)


def _log_probs(completion: CompletionOutput) -> list[float]:
    """Log-probability of each sampled token, shape [n]; vLLM names it first at every position.

    An output without tokens, which a pause gives, holds the log-probs of all tokens so far, and so does one that it was
    merged into: what belongs to the output comes first.
    """
    flat = completion.logprobs
    assert flat is not None, "log-probs were asked for"
    count = len(completion.token_ids)
    assert len(flat) >= count, "one position per token"
    return [flat.logprobs[start] for start in flat.start_indices[:count]]  # pyright: ignore[reportAttributeAccessIssue]
