"""The tree server with counters at its engine, and the arms that run inside its actor."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

import ray
from vllm import SamplingParams
from vllm.inputs import TokensPrompt
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind

from benchmarks.rollout.cell import Grown
from benchmarks.rollout.lengths import DrawnLengths, LengthLaw
from treepo.rollout import Chunk, Decoder
from treepo.tree import Segment, SegmentRequest
from treepo.verl.rollout.decoder import VllmDecoder
from treepo.verl.rollout.tree_job import TreeJob
from treepo.verl.rollout.tree_server import TreeReplica, TreeServer


@dataclass(slots=True)
class Counters:
    """What the engine did since the start of a measurement."""

    start: float
    requests: int = 0
    computed: int = 0
    cached: int = 0
    generated: int = 0
    preempted: int = 0


class BenchmarkServer(TreeServer):
    """Counts at ``AsyncLLM``, whatever arm asks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._law: LengthLaw | None = None
        self._by_order = True
        self._counters = Counters(time.perf_counter())
        self._times: list[float] = []
        self._running: list[int] = []
        self._last_step: float | None = None

    async def run_server(self, args: Any) -> None:
        """Starts the engine and puts the counters between it and whoever asks."""
        await super().run_server(args)
        processor = cast("Any", self.engine.output_processor)
        process = processor.process_outputs

        def counted(outputs: Sequence[Any], timestamp: float | None = None, stats: Any = None, **kwargs: Any) -> Any:
            counters = self._counters
            states = [processor.request_states.get(output.request_id) for output in outputs]
            first = [state for state in states if state is not None and state.is_prefilling]
            preempted = stats.num_preempted_reqs if stats is not None else 0
            answer = process(outputs, timestamp, stats, **kwargs)
            counters.preempted += (stats.num_preempted_reqs if stats is not None else 0) - preempted
            counters.requests += len(first)
            counters.cached += sum(state.num_cached_tokens for state in first)
            counters.computed += sum(state.prompt_len - state.num_cached_tokens for state in first)
            if fresh := sum(len(output.new_token_ids) for output in outputs):
                counters.generated += fresh
                # vLLM hands the outputs of a large batch over in parts, which share the time of their step.
                if timestamp is None or timestamp != self._last_step:
                    self._times.append(time.perf_counter() - counters.start)
                    self._running.append(0)
                self._last_step = timestamp
                self._running[-1] += len(outputs)
            return answer

        processor.process_outputs = counted

    async def block_size(self) -> int:
        """Tokens of a KV block."""
        return self.engine.vllm_config.cache_config.block_size

    async def begin(self, law: LengthLaw | None, *, by_order: bool) -> None:
        """Empties the prefix cache and the counters.

        Args:
            law: The law of response lengths of the trees to come; None for the model's own.
            by_order: Whether slots go to the trees that began first.
        """
        await self.clear_kv_cache()
        self._law, self._by_order = law, by_order
        self._counters = Counters(time.perf_counter())
        self._times, self._running, self._last_step = [], [], None

    async def end(self) -> tuple[Counters, list[float], list[int]]:
        """The counters since ``begin``, and the steps of the engine with the sequences in each."""
        return self._counters, self._times, self._running

    def decoder(self, job: TreeJob, order: int) -> Decoder:
        """A decoder whose paths end at drawn lengths."""
        decoder = VllmDecoder(
            self,
            name=f"tree-{order}-{job.tree_id}",
            order=order if self._by_order else 0,
            sampling_params=job.sampling_params,
            seeded=job.seeded,
        )
        return decoder if self._law is None else DrawnDecoder(decoder, self._law, len(job.prompt_tokens))

    async def independent(
        self, prompts: list[list[int]], width: int, longest: int, sampling: dict[str, Any], seed: int
    ) -> list[Grown]:
        """Arm (a): every trajectory is a request of its own."""

        async def one(index: int, prompt: list[int]) -> int:
            room = longest
            if self._law is not None:
                room = min(longest, self._law.draw(0, random.Random(f"{seed} {index}")))
            return len((await self._decode(f"a-{seed}-{index}", prompt, room, sampling)).outputs[0].token_ids)

        every = [prompt for prompt in prompts for _ in range(width)]
        lengths = await asyncio.gather(*(one(index, prompt) for index, prompt in enumerate(every)))
        return [
            Grown(prompt_length=len(prompt), lengths=[length], spans=[(0, length)], stats=None)
            for prompt, length in zip(every, lengths, strict=True)
        ]

    async def lockstep(self, jobs: list[TreeJob]) -> list[Grown]:
        """Arm (b): all prompts in step, every segment a request of its own, as published."""
        samplers = [job.sampler(self._text, lambda: len(jobs)) for job in jobs]
        engines = [
            engine if self._law is None else DrawnLengths(engine, self._law)
            for engine in (Resubmitting(self, job) for job in jobs)
        ]
        wanted = [(index, request) for index, sampler in enumerate(samplers) for request in sampler.start()]
        while wanted:
            segments = await asyncio.gather(
                *(engines[index].decode_segment(jobs[index].prompt_tokens, request) for index, request in wanted)
            )
            answered = [
                (index, samplers[index].receive(segment)) for (index, _), segment in zip(wanted, segments, strict=True)
            ]
            wanted = [(index, request) for index, requests in answered for request in requests]
        return [Grown.of_tree(sampler.tree()) for sampler in samplers]

    async def _decode(self, name: str, tokens: list[int], most: int, sampling: dict[str, Any]) -> RequestOutput:
        params = SamplingParams(
            **sampling,
            max_tokens=most,
            logprobs=0,
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        outputs = [
            output
            async for output in self.engine.generate(
                prompt=TokensPrompt(prompt_token_ids=tokens), sampling_params=params, request_id=name
            )
        ]
        return outputs[-1]


class Resubmitting:
    """One tree's segments, each a request from its whole prefix, without any actor in between."""

    def __init__(self, server: BenchmarkServer, job: TreeJob) -> None:
        self._server = server
        self._job = job

    async def decode_segment(self, prompt_tokens: Sequence[int], request: SegmentRequest) -> Segment:
        """Decodes one segment; see :class:`treepo.rollout.SegmentEngine`."""
        prefix = request.prefix_tokens(prompt_tokens)
        name = f"b-{self._job.tree_id}-{request.id}"
        output = await self._server._decode(name, prefix, request.max_tokens, self._job.sampling_params)
        completion = output.outputs[0]
        flat: Any = completion.logprobs
        return Segment(
            request_id=request.id,
            tokens=list(completion.token_ids),
            log_probs=list(flat.logprobs),
            stopped=completion.finish_reason == "stop",
            prefix_tokens=len(prefix),
            cached_tokens=output.num_cached_tokens or 0,
        )

    def release(self, request_id: int) -> None:
        """Nothing runs on."""

    async def close(self) -> None:
        """Nothing runs on."""


class DrawnDecoder:
    """A decoder whose responses end at a length drawn when their request opens."""

    def __init__(self, inner: Decoder, law: LengthLaw, prompt_length: int) -> None:
        self._inner = inner
        self._law = law
        self._prompt_length = prompt_length

    async def decode(
        self, tokens: list[int], *, request_id: int, max_tokens: int, seed: int
    ) -> AsyncGenerator[Chunk, None]:
        """Decodes to the drawn length, which it takes for the model's own end; see the Protocol."""
        decoded = len(tokens) - self._prompt_length
        room = self._law.draw(decoded, random.Random(seed)) - decoded
        chunks = self._inner.decode(tokens, request_id=request_id, max_tokens=min(max_tokens, room), seed=seed)
        async with aclosing(chunks):
            async for chunk in chunks:
                ends = chunk.last and room <= max_tokens
                yield Chunk(
                    tokens=chunk.tokens,
                    log_probs=chunk.log_probs,
                    last=chunk.last,
                    stopped=chunk.stopped or ends,
                    cached_tokens=chunk.cached_tokens,
                    weight_version=chunk.weight_version,
                )


class BenchmarkReplica(TreeReplica):
    """A replica of such servers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.server_class = ray.remote(BenchmarkServer)
