"""What the checks before the start and the run's folder hold on to in verl. Checked against verl 0.9.1."""

import inspect
from pathlib import Path

import pytest
import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.utils import tracking
from verl.utils.checkpoint.checkpoint_manager import (
    BaseCheckpointManager,
    find_latest_ckpt_path,
    get_checkpoint_tracker_filename,
)
from verl.utils.checkpoint.fsdp_checkpoint_manager import FSDPCheckpointManager
from verl.utils.dataset.rl_dataset import RLHFDataset, get_dataset_class

from treepo.launch.pools import extra_nodes
from treepo.start.checkpoints import PARTS

source = inspect.getsource


@pytest.mark.parametrize(("content", "part"), PARTS.items(), ids=str)
def test_a_part_of_a_checkpoint_is_loaded_by_the_number_of_ranks(content: str, part: str) -> None:
    name = part + "_world_size_{self.world_size}_rank_{self.rank}.pt"
    assert name in source(FSDPCheckpointManager.save_checkpoint)
    loading = source(FSDPCheckpointManager.load_checkpoint)
    assert loading.index(f"if self.should_load_{content}:") < loading.index(name)
    assert f'"{content}" in self.checkpoint_load_contents' in source(BaseCheckpointManager)


def test_the_step_to_resume_from_is_found_in_three_ways() -> None:
    text = source(PPOTrainer._load_checkpoint)
    for mode in ("disable", "auto", "resume_path"):
        assert f'self.config.trainer.resume_mode == "{mode}"' in text
    assert 'os.path.join(global_step_folder, "actor")' in text
    assert 'directory_format="global_step_{}"' in source(find_latest_ckpt_path)
    assert "latest_checkpointed_iteration.txt" in source(get_checkpoint_tracker_filename)


def test_an_epochs_steps_are_whole_batches_of_rows_and_are_divided_by() -> None:
    assert "self.steps_per_epoch = len(self.train_dataset) // self.config.data.train_batch_size" in source(
        PPOTrainer._init_dataloader
    )
    text = source(PPOTrainer.fit)
    assert text.index('get("val_only", False)') < text.index("// self.steps_per_epoch")
    assert text.index('get("val_before_train", True)') < text.index('get("val_only", False)')
    assert "if self.max_samples > 0 and self.max_samples < total:" in source(RLHFDataset._read_files_and_tokenize)
    assert 'data_config.custom_cls.get("path", None) is not None' in source(get_dataset_class)


def test_further_pools_take_nodes_of_their_own() -> None:
    text = source(PPOTrainer._init_resource_pool_mgr)
    assert "if config.reward.reward_model.enable_resource_pool:" in text
    assert "[config.reward.reward_model.n_gpus_per_node] * config.reward.reward_model.nnodes" in text
    assert "if is_distillation_enabled(distillation_config):" in text
    assert text.count("resource_pool_spec[") == 2, f"{extra_nodes.__name__} counts two"


@pytest.mark.parametrize("name", ["TENSORBOARD_DIR", "VERL_FILE_LOGGER_PATH", "SWANLAB_LOG_DIR", "MLFLOW_TRACKING_URI"])
def test_loggers_take_their_folder_from_the_environment(name: str) -> None:
    assert f'("{name}"' in source(tracking)


def test_the_file_logger_empties_its_file_and_makes_no_folder_for_it() -> None:
    text = source(tracking.FileLogger.__init__)
    assert 'open(self.filepath, "wb"' in text
    assert text.index("if self.filepath is None:") < text.index("os.makedirs(")


def test_fsdp2s_weights_in_main_memory_are_kept_as_they_lie_so_that_an_update_changes_them(tmp_path: Path) -> None:
    from verl.utils.fsdp_utils import fsdp1_sharded_save_to_cpu, fsdp2_sharded_save_to_cpu

    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    try:
        sharded, plain = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
        fully_shard(sharded, mesh=init_device_mesh("cpu", (1,)))
        kept, _ = fsdp2_sharded_save_to_cpu(sharded)
        copied = fsdp1_sharded_save_to_cpu(plain)
        with torch.no_grad():
            for parameter in [*sharded.parameters(), *plain.parameters()]:
                parameter.zero_()
        assert not any(weight.any() for weight, _ in kept.values())
        assert all(weight.any() for weight in copied.values())
    finally:
        distributed.destroy_process_group()
