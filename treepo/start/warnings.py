"""What can work and is hardly meant: warnings of a configuration that the checks before the start have passed."""

from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from treepo.config import TreePOConfig
from treepo.config.policies import RolloutBackend
from treepo.start.training import training_rows
from treepo.verl.rollout.backend import backend
from treepo.verl.training.packing import obstacle

_OVERLONG = "reward.reward_kwargs.overlong_buffer_cfg"


def cautions(config: DictConfig, options: TreePOConfig) -> list[str]:
    """The warnings of a training, a line each, with their remedy.

    Args:
        config: The whole configuration, checked.
        options: TreePO's.
    """
    return [
        *_of_steps(config),
        *_of_lengths(config, options),
        *_of_rollout(config, options),
        *_of_update(config, options),
    ]


def _of_steps(config: DictConfig) -> Iterator[str]:
    trainer = config.trainer
    if trainer.val_only:
        return
    if trainer.save_freq <= 0:
        yield (
            f"trainer.save_freq={trainer.save_freq}: no checkpoint is ever written, so there will be nothing to go on "
            "from or to evaluate; set it to a number of steps, as in trainer.save_freq=20"
        )
    # verl leaves its loop at the end of the last epoch, which it then does not take for the last step.
    wanted, per_epoch = trainer.total_training_steps, (training_rows(config) or 0) // config.data.train_batch_size
    last = per_epoch * trainer.total_epochs
    if wanted is not None and 0 < last < wanted:
        yield (
            f"trainer.total_epochs={trainer.total_epochs} ends the training at step {last}, before "
            f"trainer.total_training_steps={wanted} and without a last checkpoint; set trainer.total_epochs="
            f"{-(-wanted // per_epoch)}"
        )


def _of_lengths(config: DictConfig, options: TreePOConfig) -> Iterator[str]:
    segment, depth, wanted = options.segment_length, options.max_depth, config.data.max_response_length
    reach, needed = depth * segment, -(-wanted // segment)
    if reach < wanted:
        overlong = OmegaConf.select(config, _OVERLONG)
        unpunished = overlong is not None and overlong.enable and reach <= wanted - overlong.len
        yield (
            f"treepo.max_depth x treepo.segment_length = {reach} is below data.max_response_length={wanted}: the last "
            f"{wanted - reach} tokens of a response can never be used"
            + (", and the length penalty never applies" if unpunished else "")
            + f"; set treepo.max_depth={needed}, or data.max_response_length={reach}"
        )
    elif min(needed, depth) == 1 < wanted:
        segments = max(depth, 2)
        yield (
            f"treepo.segment_length={segment} and treepo.max_depth={depth} make one segment of "
            f"data.max_response_length={wanted}: trees fork at the root alone; set treepo.segment_length="
            f"{-(-wanted // segments)}"
            + (f" and treepo.max_depth={segments}" if depth == 1 else "")
            + ", or allow longer responses"
        )


def _of_rollout(config: DictConfig, options: TreePOConfig) -> Iterator[str]:
    rollout = config.actor_rollout_ref.rollout
    if rollout.name != "vllm":
        yield f"actor_rollout_ref.rollout.name={rollout.name}: trees have only been run on vllm"
    interval = OmegaConf.select(rollout, "engine_kwargs.vllm.stream_interval") or 1
    if backend(config, options) is RolloutBackend.IN_ENGINE and options.segment_length % interval:
        yield (
            f"actor_rollout_ref.rollout.engine_kwargs.vllm.stream_interval={interval} does not divide "
            f"treepo.segment_length={options.segment_length}: forks open up to {interval - 1} tokens late"
        )
    if not rollout.enable_prefix_caching:
        yield "actor_rollout_ref.rollout.enable_prefix_caching=false: every segment computes its whole prefix again"
    correction = config.algorithm.get("rollout_correction")
    if config.trainer.v1.trainer_mode == "colocate_async" and not (
        correction and (correction.bypass_mode or correction.rollout_is)
    ):
        yield (
            "trainer.v1.trainer_mode=colocate_async without algorithm.rollout_correction.bypass_mode=true or "
            "algorithm.rollout_correction.rollout_is=token: tokens of older weights are trained as if they were new"
        )


def _of_update(config: DictConfig, options: TreePOConfig) -> Iterator[str]:
    unpacked = obstacle(config, look_up=False) if options.packing.enabled is None else None
    if unpacked is not None:
        yield (
            f"shared tokens are computed once per trajectory: {unpacked}, or treepo.packing.enabled=false to have it so"
        )
    groups, overlong = config.algorithm.filter_groups, OmegaConf.select(config, _OVERLONG)
    if groups.enable and groups.metric == "reward" and overlong is not None and overlong.get("enable"):
        yield "algorithm.filter_groups.metric=reward: the length penalty makes nearly every group differ; acc is meant"
