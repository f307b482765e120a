"""What the DAPO recipe, the asynchronous trainer and the resumption hold on to in verl. Checked against verl 0.9.1."""

import inspect

from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY, PPOTrainer
from verl.trainer.ppo.v1.trainer_colocate_async import PPOTrainerColocateAsync

source = inspect.getsource


def test_evicted_groups_are_replaced_through_a_method_of_the_trainer() -> None:
    assert "refill_fn=self._add_prompts_to_generate" in source(PPOTrainer._build_replay_buffer)
    assert list(inspect.signature(PPOTrainer._add_prompts_to_generate).parameters) == ["self", "num_prompts"]
    assert "self.refill_fn(dispatch_count)" in source(ReplayBuffer.sample)
    # A step's own batch goes another way, and is added by the bound.
    assert "self._next_train_batch()" in source(PPOTrainer._add_batch_to_generate)
    assert "_add_prompts_to_generate" not in source(PPOTrainer._add_batch_to_generate)


def test_verl_still_does_not_bound_the_prompts_of_a_step_itself() -> None:
    assert "max_num_gen_batches=%s is ignored" in source(PPOTrainer._resolve_filter_groups_metric)
    assert "max_num_gen_batches" not in source(ReplayBuffer)


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


def test_an_interrupted_request_goes_on_inside_the_client() -> None:
    from verl.workers.rollout.llm_server import FullyAsyncLLMServerClient

    assert "client_cls=FullyAsyncLLMServerClient" in source(PPOTrainerColocateAsync.get_llm_client)
    text = source(FullyAsyncLLMServerClient.generate)
    assert "prompt_ids=prompt_ids + final_output.token_ids" in text
    assert 'final_output.extra_fields["min_global_steps"] = min_global_steps' in text
    # The reason for which seeded requests are refused: nothing changes the seed for the rest.
    assert '"seed"' not in text


def test_the_tree_trainers_stand_before_verls_and_under_its_names() -> None:
    from treepo.verl.trainer import TRAINERS, TreeHooks

    assert set(TRAINERS) < set(TRAINER_REGISTRY)
    for mode, trainer in TRAINERS.items():
        order = trainer.__mro__
        host = next(base for base in order if base.__module__ == f"verl.trainer.ppo.v1.trainer_{mode}")
        assert order.index(TreeHooks) < order.index(host)


def test_a_checkpoint_holds_the_position_in_the_data() -> None:
    assert "self.train_dataloader.state_dict()" in source(PPOTrainer._save_checkpoint)
    assert "self.train_dataloader.load_state_dict(" in source(PPOTrainer._load_checkpoint)
