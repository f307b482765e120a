"""Configurations that run but are probably mistakes: warnings, with their remedy; and whether trees can be packed."""

from collections.abc import Iterator

from omegaconf import OmegaConf

from treepo.config.policies import RolloutBackend
from treepo.start.declared import Start, reads
from treepo.start.rollout import BACKEND
from treepo.start.training import OVERLONG
from treepo.verl.rollout.backend import backend
from treepo.verl.training.packing import READS as PACKING
from treepo.verl.training.packing import obstacle, packs

_ROLLOUT = "actor_rollout_ref.rollout"


@reads(
    *("trainer.val_only", "trainer.save_freq", "trainer.total_training_steps", "trainer.total_epochs"),
    *("data.train_files", "data.custom_cls"),
    *("data.train_batch_size", "data.train_max_samples"),
)
def steps(start: Start) -> Iterator[str]:
    """No checkpoint at all, or none of the last step."""
    config, trainer = start.config, start.config.trainer
    if trainer.val_only:
        return
    if trainer.save_freq <= 0:
        yield (
            f"trainer.save_freq={trainer.save_freq}: no checkpoint is ever written, so there will be nothing to resume "
            "from or to evaluate; set it to a number of steps, as in trainer.save_freq=20"
        )
    # verl leaves its loop at the end of the last epoch, which it then does not take for the last step.
    wanted, per_epoch = trainer.total_training_steps, (start.training_rows or 0) // config.data.train_batch_size
    last = per_epoch * trainer.total_epochs
    if wanted is not None and 0 < last < wanted:
        yield (
            f"trainer.total_epochs={trainer.total_epochs} ends the training at step {last}, before "
            f"trainer.total_training_steps={wanted} and without a last checkpoint; set trainer.total_epochs="
            f"{-(-wanted // per_epoch)}"
        )


@reads("treepo", "data.max_response_length", "reward.reward_kwargs")
def lengths(start: Start) -> Iterator[str]:
    """Responses out of a tree's reach, and trees that never fork."""
    config, options = start.config, start.options
    segment, depth, wanted = options.segment_length, options.max_depth, config.data.max_response_length
    reach, needed = depth * segment, -(-wanted // segment)
    if reach < wanted:
        overlong = OmegaConf.select(config, OVERLONG)
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


@reads(
    *(*BACKEND, f"{_ROLLOUT}.engine_kwargs", f"{_ROLLOUT}.enable_prefix_caching"),
    *("algorithm.rollout_correction", "trainer.v1.trainer_mode"),
)
def rollout(start: Start) -> Iterator[str]:
    """Servers that trees have not run on, late forks, prefixes computed again, and tokens of older weights."""
    config, options = start.config, start.options
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
    mode = config.trainer.v1.trainer_mode
    if mode != "sync" and not (correction and (correction.bypass_mode or correction.rollout_is)):
        yield (
            f"trainer.v1.trainer_mode={mode} without algorithm.rollout_correction.bypass_mode=true or "
            "algorithm.rollout_correction.rollout_is=token: tokens of older weights are trained as if they were new"
        )


@reads("algorithm.filter_groups.enable", "algorithm.filter_groups.metric", "reward.reward_kwargs")
def dynamic_sampling(start: Start) -> Iterator[str]:
    """Dynamic sampling by a reward that nearly always differs."""
    groups, overlong = start.config.algorithm.filter_groups, OmegaConf.select(start.config, OVERLONG)
    if groups.enable and groups.metric == "reward" and overlong is not None and overlong.get("enable"):
        yield "algorithm.filter_groups.metric=reward: the length penalty makes nearly every group differ; acc is meant"


@reads("treepo", *PACKING)
def packing(start: Start) -> Iterator[str]:
    """Refuses packing that cannot run where it is asked for; warns where trees are trained row by row."""
    packs(start.config, start.options, look_up=False)
    if start.options.packing.enabled is not None:
        return
    unpacked = obstacle(start.config, look_up=False)
    if unpacked is not None:
        yield (
            f"shared tokens are computed once per trajectory: {unpacked}, or treepo.packing.enabled=false to have it so"
        )
