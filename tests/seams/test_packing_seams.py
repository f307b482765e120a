"""The seams of verl that tree packing holds on to: this fails loudly where one moves. Checked against verl 0.9.1."""

import inspect
from typing import Any

from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.workers.config import HFModelConfig
from verl.workers.engine.base import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngine, FSDPEngineWithLMHead
from verl.workers.engine.utils import postprocess_batch_func, prepare_micro_batches
from verl.workers.engine_workers import ActorRolloutRefWorker, TrainingWorker
from verl.workers.utils import padding

ENGINE: Any = FSDPEngineWithLMHead
WORKER: Any = AgentLoopWorkerTQ


def source(thing: Any) -> str:
    return inspect.getsource(thing)


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_a_step_goes_from_rows_to_the_model_and_back_through_two_hooks() -> None:
    text = source(ENGINE.forward_step)
    assert parameters(ENGINE.forward_step) == ["self", "micro_batch", "loss_function", "forward_only"]
    assert "micro_batch = micro_batch.to(get_device_id())" in text
    assert "model_inputs, output_args = self.prepare_model_inputs(micro_batch=micro_batch)" in text
    assert "**model_inputs,\n                use_cache=False," in text
    assert parameters(ENGINE.prepare_model_outputs) == [
        "self",
        "output",
        "output_args",
        "micro_batch",
        "logits_processor_func",
    ]
    assert 'model_output["log_probs"]' in source(ENGINE.prepare_model_outputs)
    assert 'model_output["entropy"]' in source(ENGINE.prepare_model_outputs)


def test_gradients_wait_for_the_last_micro_batch_in_a_hook() -> None:
    assert parameters(FSDPEngine._gradient_sync_context) == ["self", "is_last_micro_batch"]


def test_rows_are_brought_back_into_order_where_the_batch_says_that_it_was_cut_by_tokens() -> None:
    text = source(postprocess_batch_func)
    assert parameters(postprocess_batch_func) == ["output_lst", "indices", "data"]
    assert text.count("data=data") == 2, "two settings are read of the batch, which here holds the first alone"
    assert 'key="use_dynamic_bsz"' in text
    assert 'key="pad_mode", default=DatasetPadMode.NO_PADDING' in text


def test_an_entry_is_about_the_next_token_and_only_those_about_responses_are_read() -> None:
    for function in (padding.no_padding_2_padding, padding.response_from_nested):
        assert "values[seq_offset - resp_len - 1 : seq_offset - 1]" in source(function)


def test_the_worker_imports_the_models_modules_and_then_looks_the_engine_up_by_the_models_type() -> None:
    text = source(ActorRolloutRefWorker.init_model)
    built = text.index("omega_conf_to_dataclass(self.config.model)")
    for role in ("ref_config", "actor_config"):
        assert built < text.index(f'model_type={role}.model_config.get("model_type", "language_model")')
    worker = source(TrainingWorker.__init__)
    assert "self.model_config.model_type = self.config.model_type" in worker
    assert "model_type=self.config.model_type,\n            backend=self.engine_config.strategy," in worker
    assert "import_external_libs(self.external_lib)" in source(HFModelConfig.__post_init__)
    assert {"model_type", "hf_config"} <= HFModelConfig._mutable_fields
    assert parameters(EngineRegistry.register) == ["model_type", "backend", "device", "vendor"]


def test_the_model_is_built_with_the_attention_of_its_configuration() -> None:
    text = source(FSDPEngine._build_module)
    assert "config=self.model_config.hf_config" in text
    assert "attn_implementation" not in text


def test_ranks_that_share_sequences_have_a_group_and_the_same_rows() -> None:
    mesh = source(FSDPEngine._init_device_mesh)
    assert 'mesh_dim_names=["dp", "sp"]' in mesh
    assert 'self.ulysses_parallel_group = self.ulysses_device_mesh["sp"].get_group()' in mesh
    assert "// self.ulysses_sequence_parallel_size" in source(FSDPEngine.get_data_parallel_size)
    assert 'self.ulysses_device_mesh["dp"].get_local_rank()' in source(FSDPEngine.get_data_parallel_rank)
    assert "max_token_len = max_token_len_per_gpu * sp_size" in source(prepare_micro_batches)
    # The patch for Ulysses is all that building the model has to do with it.
    build = source(FSDPEngine._build_module)
    assert build.count("ulysses") == 2
    assert "ulysses_sp_size=self.ulysses_sequence_parallel_size," in build


def test_a_workers_metrics_are_lists_that_end_as_means_under_actor() -> None:
    assert "list(chain.from_iterable(val))" in source(TrainingWorker.train_mini_batch)
    text = source(PPOTrainer._update_actor)
    assert parameters(PPOTrainer._update_actor) == ["self", "batch", "metrics"]
    assert 'rename_dict(output["metrics"], "actor/")' in text
    assert "reduce_metrics(output)" in text


def test_ranks_take_equal_parts_of_the_batchs_order_and_mini_batches_equal_parts_of_theirs() -> None:
    assert parameters(PPOTrainer._balance_batch)[:3] == ["self", "batch", "metrics"]
    assert "The data will be automatically equally partitioned by dispatch function" in source(
        PPOTrainer._balance_batch
    )
    assert "mini_batch_size // self.engine.get_data_parallel_size()" in source(TrainingWorker.train_mini_batch)


def test_a_rows_tag_says_how_long_its_prompt_is() -> None:
    worker = WORKER.__ray_metadata__.modified_class
    assert '"prompt_len": prompt_len' in source(worker._agent_loop_postprocess)
