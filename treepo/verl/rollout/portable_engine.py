"""The portable engine: every segment is one request through verl's server client."""

from collections.abc import Sequence
from typing import Any

from verl.workers.rollout.llm_server import LLMServerClient

from treepo.tree import Segment, SegmentRequest


class PortableEngine:
    """Decodes the segments of one tree on any server of verl's that keeps to ``max_tokens``.

    One instance serves one tree: all its requests carry the tree's id as verl's sticky id, so they reach one server,
    whose prefix cache then holds every path of the tree. A cancelled call does not end the request on the server,
    which decodes at most one segment more.
    """

    def __init__(
        self,
        *,
        client: LLMServerClient,
        tree_id: str,
        sampling_params: dict[str, Any],
        seeded: bool,
        eos_token_ids: frozenset[int],
    ) -> None:
        """Binds a tree to a client.

        Args:
            client: verl's client of the rollout servers.
            tree_id: The sticky id; requests of one id go to one server.
            sampling_params: verl's sampling parameters (temperature, top_p, ...).
            seeded: Whether every request draws from its own seed, so that a run repeats token by token.
            eos_token_ids: Tokens that end an answer.
        """
        self._client = client
        self._tree_id = tree_id
        self._sampling_params = sampling_params
        self._seeded = seeded
        self._eos_token_ids = eos_token_ids

    async def decode_segment(self, prompt_tokens: Sequence[int], request: SegmentRequest) -> Segment:
        """Decodes one segment; see :class:`treepo.rollout.SegmentEngine`.

        Raises:
            RuntimeError: The server aborted the request, or returned no log-probs.
        """
        prefix = request.prefix_tokens(prompt_tokens)
        # verl's server takes keys out of the dictionary it is given.
        sampling_params = {**self._sampling_params, "max_tokens": request.max_tokens, "logprobs": True}
        if self._seeded:
            sampling_params["seed"] = request.seed
        output = await self._client.generate(self._tree_id, prompt_ids=prefix, sampling_params=sampling_params)
        if output.stop_reason == "aborted" or not output.token_ids:
            raise RuntimeError(f"the server aborted segment {request.id}")
        if output.log_probs is None:
            raise RuntimeError(f"the server returned no log-probs for segment {request.id}")
        fields = output.extra_fields
        tokens = list(output.token_ids)
        return Segment(
            request_id=request.id,
            tokens=tokens,
            log_probs=list(output.log_probs),
            # verl reports "stop" and "length" alike as completed; a segment cut short met a stop token.
            stopped=tokens[-1] in self._eos_token_ids or len(tokens) < request.max_tokens,
            prefix_tokens=len(prefix),
            # vLLM's servers alone report it.
            cached_tokens=fields.get("num_cached_tokens") or 0,
            # A server that has not been given weights by a trainer reports none.
            weight_versions=(fields["min_global_steps"] or 0, fields["max_global_steps"] or 0),
        )

    def release(self, request_id: int) -> None:
        """Nothing to end: a request is over with its segment."""

    async def close(self) -> None:
        """Nothing to end either."""
