"""What the DAPO recipe, the asynchronous trainer and the resumption hold on to in verl. Checked against verl 0.9.1."""

import inspect

from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync
from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY, PPOTrainer
from verl.trainer.ppo.v1.trainer_colocate_async import PPOTrainerColocateAsync

source = inspect.getsource
WORKER = AgentLoopWorkerTQ.__ray_metadata__.modified_class  # type: ignore[attr-defined]


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_evicted_groups_are_replaced_through_a_function_that_the_buffer_is_given() -> None:
    assert "refill_fn=self._add_prompts_to_generate" in source(PPOTrainer._build_replay_buffer)
    assert "self.refill_fn = refill_fn" in source(ReplayBuffer.__init__)
    assert parameters(PPOTrainer._add_prompts_to_generate) == ["self", "num_prompts"]
    assert "self.refill_fn(dispatch_count)" in source(ReplayBuffer.sample)
    assert "len(self.pending_keys[partition_id]) + len(self.running_keys[partition_id])" in source(ReplayBuffer.sample)
    assert "self.refill_fn(failed_count)" in source(ReplayBuffer.sample)
    assert "self.refill_fn(len(evicted_uids))" in source(ReplayBufferAsync.wait_for_sampleable)
    # A step's own batch goes another way, and is added by the bound; so do the batches to warm up, which are not.
    assert "self._next_train_batch()" in source(PPOTrainer._add_batch_to_generate)
    assert "self._add_prompts_to_generate(missing_prompts)" in source(PPOTrainer._add_async_warmup_batches)
    for method in (PPOTrainer._add_batch_to_generate, PPOTrainer._add_async_warmup_batches):
        assert "refill_fn" not in source(method)


def test_verl_still_does_not_bound_the_prompts_of_a_step_itself() -> None:
    assert "max_num_gen_batches=%s is ignored" in source(PPOTrainer._resolve_filter_groups_metric)
    for buffer in (ReplayBuffer, ReplayBufferAsync):
        assert "max_num_gen_batches" not in source(buffer)


def test_failed_groups_pass_through_one_method_of_the_buffer_when_they_are_evicted() -> None:
    assert parameters(ReplayBuffer._evict_terminal_groups) == [
        *("self", "global_steps", "partition_id", "eviction_reasons"),
    ]
    assert "stale_uids, dapo_uids, failed_uids, dapo_counts = eviction_reasons" in source(
        ReplayBuffer._evict_terminal_groups
    )
    for method in (ReplayBuffer.sample, ReplayBufferAsync.wait_for_sampleable):
        text = source(method)
        assert text.index("self._evict_terminal_groups(") < text.index("self.refill_fn(")
    # Where failed groups are not replaced, they are chosen like others.
    assert "self.finished_keys[partition_id] | self.failure_keys[partition_id]" in source(
        ReplayBuffer._sampleable_terminal_keys
    )


def test_a_batchs_groups_are_chosen_in_one_method_before_verl_misses_their_trajectories() -> None:
    assert parameters(ReplayBuffer._select_prompt_uids) == ["self", "partition_id", "sampleable_keys", "batch_size"]
    assert "return ordered_keys[:batch_size], partition_snapshot, " in source(ReplayBuffer._select_prompt_uids)
    text = source(ReplayBuffer.sample)
    assert text.index("self._select_prompt_uids(") < text.index("no materializable trajectories")
    assert "self._select_prompt_uids(" in source(ReplayBufferAsync.sample)


def test_the_errors_of_a_group_are_logged_under_the_words_that_the_errors_of_a_step_name() -> None:
    from treepo.verl.training import group_watch

    assert "'Error in _run_prompt'" in group_watch._ERRORS
    assert 'f"Error in _run_prompt for uid={uid}"' in source(WORKER._run_prompt)
    assert 'f"Error in _run_prompt: {e}"' in source(WORKER._run_prompt)


def test_validation_takes_its_responses_from_the_buffers_sample_and_their_lengths_are_in_the_tags() -> None:
    assert "self.replay_buffer.sample(" in source(PPOTrainer._validate)
    assert '"response_len": response_len' in source(WORKER._agent_loop_postprocess)


def test_validation_samples_by_the_temperature_top_p_and_top_k_of_its_own_and_by_nothing_else() -> None:
    text = source(WORKER.generate_sequences)
    for name in ("temperature", "top_p", "top_k"):
        assert f"{name}=config.{name}" in text
        assert f'sampling_params["{name}"] = config.val_kwargs.{name}' in text
    assert text.count("config.val_kwargs.") == 3
    for module in (inspect.getmodule(WORKER.generate_sequences), inspect.getmodule(PPOTrainer)):
        assert module is not None
        assert "val_kwargs.do_sample" not in source(module)


def test_the_time_that_a_step_waits_for_its_trees_is_gen() -> None:
    text = source(PPOTrainer._step_once)
    assert text.index('marked_timer("gen", timing_raw') < text.index("self.replay_buffer.sample(")
    assert "self._compute_metrics(batch, metrics, self.timing_raw," in source(PPOTrainer.fit)


def test_the_filter_reads_the_accuracy_that_the_reward_gives() -> None:
    text = source(ReplayBuffer._dapo_filtered_keys)
    assert 'extra_fields.get("reward_extra_info", {})' in text
    assert "reward_extra_info[self.filter_groups_metric]" in text


def test_padding_stands_at_the_end_of_a_batch_and_is_then_dealt_to_the_ranks() -> None:
    text = source(PPOTrainer._balance_batch)
    assert text.index("upsample_batch_to_divisible_size(") < text.index("batch.reorder(")
    assert 'role, worker_group = "actor", self.actor_rollout_wg' in text
    assert "worker_group._dispatch_info[role]" in text
    assert "return sorted_partitions" in source(
        inspect.getmodule(PPOTrainer._balance_batch).get_seqlen_balanced_partitions  # type: ignore[union-attr]
    )


def test_mini_batches_are_taken_from_the_front_of_a_ranks_rows() -> None:
    from verl.workers.engine_workers import TrainingWorker

    assert "mini_batch_size_per_gpu = mini_batch_size // self.engine.get_data_parallel_size()" in source(
        TrainingWorker.train_mini_batch
    )
    assert '"dataloader_kwargs": {"shuffle": self.config.actor_rollout_ref.actor.shuffle}' in source(
        PPOTrainer._update_actor
    )


def test_an_interrupted_request_continues_inside_the_client() -> None:
    from verl.workers.rollout.llm_server import FullyAsyncLLMServerClient

    assert "client_cls=FullyAsyncLLMServerClient" in source(PPOTrainerColocateAsync.get_llm_client)
    text = source(FullyAsyncLLMServerClient.generate)
    assert "prompt_ids=prompt_ids + final_output.token_ids" in text
    assert 'final_output.extra_fields["min_global_steps"] = min_global_steps' in text
    # The reason for which seeded requests are refused: nothing changes the seed for the rest.
    assert '"seed"' not in text


def test_the_tree_trainers_stand_before_verls_and_under_its_names() -> None:
    from treepo.verl.training.trainer import TRAINERS, TreeHooks

    assert set(TRAINERS) == set(TRAINER_REGISTRY)
    for mode, trainer in TRAINERS.items():
        order = trainer.__mro__
        host = next(base for base in order if base.__module__ == f"verl.trainer.ppo.v1.trainer_{mode}")
        assert order.index(TreeHooks) < order.index(host)


def test_a_checkpoint_holds_the_position_in_the_data() -> None:
    assert "self.train_dataloader.state_dict()" in source(PPOTrainer._save_checkpoint)
    assert "self.train_dataloader.load_state_dict(" in source(PPOTrainer._load_checkpoint)
