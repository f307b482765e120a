"""The portable engine reads what verl's servers report, and does without what only vLLM's do."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from treepo.tree import SegmentRequest
from treepo.verl.rollout.portable_engine import PortableEngine

EOS = 2


def decode(*, tokens: list[int], max_tokens: int, **fields: Any):
    """One segment from a server that answers so."""

    class Client:
        async def generate(self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any]) -> Any:
            assert (request_id, prompt_ids) == ("tree", [7, 8])
            assert (sampling_params["max_tokens"], sampling_params["logprobs"]) == (max_tokens, True)
            assert "seed" not in sampling_params
            extra = {"min_global_steps": None, "max_global_steps": None, **fields}
            return SimpleNamespace(
                token_ids=tokens, log_probs=[-0.5] * len(tokens), stop_reason="completed", extra_fields=extra
            )

    client: Any = Client()
    engine = PortableEngine(
        client=client, tree_id="tree", sampling_params={}, seeded=False, eos_token_ids=frozenset({EOS})
    )
    request = SegmentRequest(
        id=0, nodes=(), max_tokens=max_tokens, reach=max_tokens, continues=False, parent_request=None, seed=1, node_id=1
    )
    return asyncio.run(engine.decode_segment([7, 8], request))


def test_a_server_that_does_not_report_its_cache_has_cached_nothing() -> None:
    segment = decode(tokens=[5, 6], max_tokens=2, global_steps=None)
    assert (segment.prefix_tokens, segment.cached_tokens, segment.weight_versions) == (2, 0, (0, 0))


def test_what_vllm_reports_is_kept() -> None:
    segment = decode(tokens=[5, 6], max_tokens=2, num_cached_tokens=1, min_global_steps=3, max_global_steps=4)
    assert (segment.cached_tokens, segment.weight_versions) == (1, (3, 4))


@pytest.mark.parametrize(("tokens", "stopped"), [([5, 6], False), ([5, EOS], True), ([5], True)])
def test_a_segment_cut_short_or_with_an_end_token_has_stopped(tokens: list[int], stopped: bool) -> None:
    assert decode(tokens=tokens, max_tokens=2).stopped is stopped
