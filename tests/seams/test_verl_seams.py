"""The seams of verl that the plugin holds on to: this fails loudly where one moves. Checked against verl 0.9.1."""

import importlib.metadata
import inspect
from typing import Any

import pytest
from packaging.version import Version


def source(thing: object) -> str:
    return inspect.getsource(thing)  # type: ignore[arg-type]


def parameters(function: object) -> list[str]:
    # Ray adds a parameter of its own to the methods of actor classes.
    names = inspect.signature(function).parameters  # type: ignore[arg-type]
    return [name for name in names if name != "_ray_trace_ctx"]


def behind(actor_class: Any) -> type:
    return actor_class.__ray_metadata__.modified_class


@pytest.fixture(scope="module")
def worker() -> type:
    from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ

    return behind(AgentLoopWorkerTQ)


def test_the_version_is_in_the_supported_range() -> None:
    assert Version("0.9.1") <= Version(importlib.metadata.version("verl")) < Version("0.10")


def test_a_prompt_runs_as_many_sessions_as_its_row_says(worker: type) -> None:
    text = source(worker._run_prompt)
    assert parameters(worker._run_prompt) == ["self", "prompt", "sampling_params", "trajectory", "trace"]
    assert 'prompt.pop("__rollout_n__"' in text
    assert "session_id=i, **prompt" in text


def test_an_output_is_posted_under_its_session(worker: type) -> None:
    text = source(worker._agent_loop_postprocess)
    assert parameters(worker._agent_loop_postprocess) == ["self", "output", "validate", "kwargs"]
    assert 'keys.append(f"{uid}_{session_id}_{i}")' in text
    assert 'field["extra_fields"].get("min_global_steps")' in text


def test_an_agent_loops_result_goes_to_postprocess_unchanged(worker: type) -> None:
    text = source(worker._run_agent_loop)
    assert "await agent_loop.run(sampling_params, **kwargs)" in text
    assert 'self._agent_loop_postprocess(output, trajectory["validate"], **kwargs)' in text


def test_the_manager_takes_its_worker_class_from_an_attribute() -> None:
    from verl.experimental.agent_loop import AgentLoopManager
    from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ

    assert "self.agent_loop_workers_class.options(" in source(AgentLoopManager._init_agent_loop_workers)
    assert "generate_sequences" in vars(AgentLoopManagerTQ)


def test_an_agent_loop_builds_the_prompts_tokens_and_is_registered_by_name() -> None:
    from verl.experimental.agent_loop.agent_loop import AgentLoopBase, _agent_loop_registry, register

    assert parameters(AgentLoopBase.ct_build_initial_tokens)[1] == "messages"
    assert "self.server_manager = server_manager" in source(AgentLoopBase.__init__)
    assert parameters(register) == ["agent_name"]
    from treepo.verl.rollout.agent_loop import TREE_AGENT

    assert TREE_AGENT in _agent_loop_registry


def test_the_generation_config_tells_what_ends_an_answer() -> None:
    from verl.utils.model import get_generation_config

    assert parameters(get_generation_config)[0] == "model"


def test_the_task_runner_looks_the_trainer_up_by_its_mode() -> None:
    from verl.trainer.main_ppo import TaskRunnerV1

    assert "get_trainer_cls(config.trainer.v1.trainer_mode)" in source(behind(TaskRunnerV1).run)


def test_the_trainer_computes_advantages_and_metrics_in_hooks_of_its_own() -> None:
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    assert parameters(PPOTrainer._compute_advantage) == ["self", "batch", "metrics"]
    assert parameters(PPOTrainer._compute_metrics)[1:] == ["batch", "metrics", "timing_raw", "global_steps", "epoch"]
    advantage = source(PPOTrainer._compute_advantage)
    assert 'data.non_tensor_batch["uid"]' in advantage
    fit = source(PPOTrainer.fit)
    assert fit.index("self._compute_metrics(") < fit.index("tq.kv_clear("), "rows are read before they are cleared"


def test_an_estimator_gets_rewards_mask_config_and_uids() -> None:
    from verl.trainer.ppo.ray_trainer import compute_advantage

    text = source(compute_advantage)
    for argument in ('"token_level_rewards"', '"response_mask"', '"config"', 'adv_kwargs["index"]'):
        assert argument in text


def test_the_replay_buffer_polls_at_an_interval() -> None:
    from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

    assert "time.sleep(self.poll_interval)" in source(ReplayBuffer._wait_for_next_poll)
    assert 'tag["status"]' in source(ReplayBuffer._sync_metadata_from_transfer_queue)


def test_the_trainer_writes_its_number_of_steps_into_the_configuration() -> None:
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    assert "self.config.actor_rollout_ref.actor.optim.total_training_steps = " in source(PPOTrainer._init_dataloader)


def test_behaviour_is_still_chosen_by_the_name_of_the_mode() -> None:
    from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY, PPOTrainer, get_trainer_cls

    assert 'self.trainer_mode == "sync"' in source(PPOTrainer._build_replay_buffer)
    assert get_trainer_cls("sync") is TRAINER_REGISTRY["sync"]


def test_the_client_keeps_an_id_on_one_server_and_reports_cache_and_version() -> None:
    from verl.workers.rollout.llm_server import LLMServerClient
    from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer

    assert parameters(LLMServerClient.generate)[1:4] == ["request_id", "prompt_ids", "sampling_params"]
    server = source(vLLMHttpServer.generate)
    assert 'extra_fields["num_cached_tokens"]' in server
    assert '{"global_steps": self.global_steps}' in server
    assert 'stop_reason = "completed"' in server


def test_padding_rows_are_marked_and_get_a_prompt_of_their_own() -> None:
    from verl.trainer.ppo.padding_utils import construct_minimal_padding_template, upsample_batch_to_divisible_size

    assert "is_padding=True" in source(construct_minimal_padding_template)
    assert 'pad_uid = f"pad' in source(upsample_batch_to_divisible_size)


def test_the_tree_worker_and_runner_extend_the_classes_behind_verls_actors(worker: type) -> None:
    from verl.trainer.main_ppo import TaskRunnerV1

    from treepo.verl.rollout.agent_loop import TreeAgentLoopWorker
    from treepo.verl.training.task_runner import TreeTaskRunner

    assert issubclass(TreeAgentLoopWorker, worker)
    assert issubclass(TreeTaskRunner, behind(TaskRunnerV1))
