"""The seams of verl's server and of vLLM that the in-engine rollout holds on to. Checked against verl 0.9.1."""

import inspect

from vllm import SamplingParams
from vllm.logprobs import FlatLogprobs
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.output_processor import RequestState

from treepo.verl.rollout.decoder import _log_probs as read_log_probs


def source(thing: object) -> str:
    return inspect.getsource(thing)  # type: ignore[arg-type]


def test_the_server_parks_a_request_at_its_gate_and_counts_it_until_the_engine_has_it() -> None:
    from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer

    park = source(vLLMHttpServer._park_until_admitted)
    assert "while self._submission_paused:" in park
    assert "if self._rejecting:" in park
    assert park.rstrip().endswith("self._admitting += 1\n        return None")
    generate = source(vLLMHttpServer.generate)
    assert "rejected = await self._park_until_admitted(request_id)" in generate
    assert generate.count("self._admitting -= 1") == 2
    abort = source(vLLMHttpServer.abort_all_requests)
    assert abort.index("self._submission_paused = True") < abort.index("self.engine.pause_generation(")


def test_the_server_keeps_its_engine_weights_version_and_lora_where_we_look() -> None:
    from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer

    assert "self.engine = engine_client" in source(vLLMHttpServer.run_server)
    assert "self.global_steps = global_steps" in source(vLLMHttpServer.set_global_steps)
    generate = source(vLLMHttpServer.generate)
    assert "VLLM_LORA_INT_ID in await self.engine.list_loras()" in generate
    assert "lora_name=VLLM_LORA_NAME, lora_int_id=VLLM_LORA_INT_ID, lora_path=VLLM_LORA_PATH" in generate
    assert isinstance(vLLMHttpServer.lora_as_adapter, property)
    assert "self.engine.reset_prefix_cache(" in source(vLLMHttpServer.clear_kv_cache)
    assert "self.model_config.tokenizer" in source(vLLMHttpServer)


def test_engine_settings_reach_vllm_from_the_configuration() -> None:
    from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer

    launch = source(vLLMHttpServer.launch_server)
    assert '"scheduling_policy": self.config.scheduling_policy' in launch
    assert "**engine_kwargs" in launch


def test_a_replica_starts_the_server_class_it_is_given() -> None:
    from verl.workers.rollout.replica import RolloutReplicaRegistry
    from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMReplica

    launch = source(vLLMReplica.launch_servers)
    assert "self.server_class.options(" in launch
    assert "max_concurrency=self.max_concurrency" in launch
    assert "cls._registry[name] = loader" in source(RolloutReplicaRegistry.register)


def test_the_client_counts_a_call_at_the_balancer_between_acquire_and_release() -> None:
    from verl.workers.rollout.llm_server import LLMServerClient

    assert list(inspect.signature(LLMServerClient._acquire_server).parameters) == ["self", "request_id", "extra"]
    assert list(inspect.signature(LLMServerClient._release_server).parameters) == ["self", "server_id", "request_id"]
    assert "server_id, server = await self._acquire_server(" in source(LLMServerClient.generate)


def test_vllm_streams_the_first_token_at_once_and_then_whole_intervals() -> None:
    streaming = source(RequestState.make_request_output)
    assert "self.sent_tokens_offset == 0" in streaming
    assert ">= self.stream_interval" in streaming
    assert "if self.output_kind == RequestOutputKind.DELTA:" in streaming
    assert RequestOutputKind.DELTA.value == 1
    params = SamplingParams(logprobs=0, flat_logprobs=True, detokenize=False, output_kind=RequestOutputKind.DELTA)
    assert params.flat_logprobs


def test_vllm_takes_a_request_apart_from_its_outputs_and_ends_it_by_its_own_name() -> None:
    generate = source(AsyncLLM.generate)
    assert "q = await self.add_request(" in generate
    assert "out = q.get_nowait() or await q.get()" in generate
    assert "await self.abort(q.request_id, internal=True)" in generate
    names = list(inspect.signature(AsyncLLM.add_request).parameters)
    assert names[:4] == ["self", "request_id", "prompt", "params"]
    assert {"lora_request", "priority", "data_parallel_rank"} <= set(names)


def test_an_output_without_tokens_keeps_the_log_probs_of_the_output_it_is_merged_into_first() -> None:
    def completion(tokens: list[int], history: list[float]) -> CompletionOutput:
        flat = FlatLogprobs()
        for log_prob in history:
            flat.append_fast([7], [log_prob], iter([1]), [None])  # type: ignore[arg-type]
        # As vLLM cuts them: the last n, which for n = 0 are all.
        cut = flat[-len(tokens) :]
        return CompletionOutput(
            index=0, text="", token_ids=tokens, cumulative_logprob=None, logprobs=cut, finish_reason=None
        )

    aborted = completion([], [-1.0, -2.0, -3.0])
    assert read_log_probs(aborted) == []
    chunk = RequestOutput("r", None, [1], None, [completion([8, 9], [-1.0, -2.0, -3.0])], finished=False)
    chunk.add(RequestOutput("r", None, [1], None, [aborted], finished=True), aggregate=True)
    assert list(chunk.outputs[0].token_ids) == [8, 9]
    assert read_log_probs(chunk.outputs[0]) == [-2.0, -3.0]


def test_flat_log_probs_name_the_sampled_token_first_at_every_position() -> None:
    from vllm.v1.engine.logprobs import LogprobsProcessor

    flat = FlatLogprobs()
    flat.append_fast([7], [-0.5], iter([1]), [None])  # type: ignore[arg-type]
    flat.append_fast([8], [-0.25], iter([1]), [None])  # type: ignore[arg-type]
    assert [flat.logprobs[start] for start in flat[-1:].start_indices] == [-0.5], "a slice counts from its own start"
    assert list(flat[-1:].logprobs) == [-0.25]
    assert "token_ids" in source(LogprobsProcessor._update_sample_logprobs)
