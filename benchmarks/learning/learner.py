"""A policy that is trained in one process.

Everything that decides what is learned is the arm's own: order of the prompts, sampler of trees, reward, credit, weight
of shared tokens, packed log-probabilities, loss, optimizer. Left out is what makes a training large: Ray, vLLM, and
verl's trainer and engine. Plain PyTorch decodes, in batches, with a cache that is kept between the segments of a tree.

A step makes one update on the trees that were just grown. The probabilities of before the update are then those of the
update, no ratio is clipped, and the loss is minus the mean over tokens of advantage times log-probability.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from benchmarks.gradient.arms import GRPO, credit
from benchmarks.gradient.model.decoding import Grown, gather, grow_trees
from benchmarks.gradient.model.derivatives import Packed, log_probs
from benchmarks.gradient.model.policy import Policy
from treepo.advantage import ESTIMATORS, refuse_unread
from treepo.config import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a step did.

    Attributes:
        reward: Mean over its trajectories.
        trajectories: How many.
        by_fallback: Those of them that finished after their prompt's first fallback.
        generated: Tokens decoded.
        contained: Tokens of the trajectories, shared ones counted every time.
        decoding: CPU seconds of growing the trees.
        updating: CPU seconds of the update.
    """

    reward: float
    trajectories: int
    by_fallback: int
    generated: int
    contained: int
    decoding: float
    updating: float


class Learner:
    """A policy that is trained.

    Args:
        composed: The arm's configuration.
        policy: The model; changed by every step.
        seed: Of the prompts' order, the trees and the tokens.

    Raises:
        ConfigError: The configuration asks for another loss, optimizer or schedule than those that are built here.
    """

    def __init__(self, composed: DictConfig, policy: Policy, *, seed: int) -> None:
        _check(composed)
        self.policy = policy
        self._config = policy.shaped({"seed": seed})
        self._estimator = str(composed.algorithm.adv_estimator)
        refuse_unread(self._estimator, self._config.advantage)
        self._seed = seed
        optimizer = composed.actor_rollout_ref.actor.optim
        self._clip = float(optimizer.clip_grad)
        self._optimizer = torch.optim.AdamW(
            policy.learner.parameters(),
            lr=optimizer.lr,
            betas=tuple(optimizer.betas),
            weight_decay=optimizer.weight_decay,
        )
        self._order = _order(len(policy.prompts), policy.batch, seed)

    def step(self, number: int) -> Step:
        """Grows the trees of the next prompts and makes one update.

        Args:
            number: Of the step, from 1.
        """
        prompts = next(self._order)
        # A sum would not do: of a generator's seed PyTorch reads 32 bits.
        drawn = int(np.random.SeedSequence((self._seed, number)).generate_state(1)[0])
        grown = grow_trees(self.policy, prompts, self._config, seed=drawn, step=number)
        began = time.process_time()
        trajectories = gather(self.policy, prompts, grown.trees)
        advantages = credit(trajectories, self._estimator, self._config.advantage)
        policy_loss(self.policy, grown, advantages, trajectories.mask).backward()
        torch.nn.utils.clip_grad_norm_(self.policy.learner.parameters(), self._clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.policy.sampler.load_state_dict(self.policy.learner.state_dict())
        stats = [tree.stats for tree in grown.trees]
        finished = sum(len(tree.trajectories) for tree in grown.trees)
        return Step(
            reward=float(trajectories.rewards.mean()),
            trajectories=finished,
            by_fallback=finished - sum(one.finished_before_fallback for one in stats),
            generated=sum(one.tokens_generated for one in stats),
            contained=sum(one.tokens_in_trajectories for one in stats),
            decoding=grown.cpu_seconds,
            updating=time.process_time() - began,
        )


def policy_loss(policy: Policy, grown: Grown, advantages: np.ndarray, mask: np.ndarray) -> Tensor:
    """The loss of one update on fresh samples, its gradient that of verl's with `loss_agg_mode=token-mean`.

    Args:
        policy: The policy that grew the trees.
        grown: The trees.
        advantages: Shape (trajectories, response_length), rows in the order of the trees.
        mask: Bool, of the same shape, the tokens of the responses.
    """
    total, first = torch.zeros(()), 0
    for tree in grown.trees:
        after = first + len(tree.trajectories)
        packed = Packed.of(tree, length=policy.response_length)
        weights = packed.per_label(np.where(mask[first:after], advantages[first:after], 0.0)).float()
        total = total - (weights * log_probs(policy.learner, packed)).sum()
        first = after
    return total / int(mask.sum())


def _order(prompts: int, batch: int, seed: int) -> Iterator[list[int]]:
    """Batches of prompts, each prompt once before any comes again; a remainder is left out, as verl does."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(prompts, generator=generator).tolist()
        yield from (order[first : first + batch] for first in range(0, prompts - batch + 1, batch))


def _check(composed: DictConfig) -> None:
    actor, rollout = composed.actor_rollout_ref.actor, composed.actor_rollout_ref.rollout
    optimizer = "actor_rollout_ref.actor.optim"
    built = {
        "data.shuffle": (composed.data.shuffle, True),
        "actor_rollout_ref.actor.loss_agg_mode": (actor.loss_agg_mode, "token-mean"),
        "actor_rollout_ref.actor.policy_loss.loss_mode": (actor.policy_loss.loss_mode, "vanilla"),
        "actor_rollout_ref.actor.ppo_epochs": (actor.ppo_epochs, 1),
        "actor_rollout_ref.actor.ppo_mini_batch_size": (actor.ppo_mini_batch_size, composed.data.train_batch_size),
        "actor_rollout_ref.actor.use_kl_loss": (actor.use_kl_loss, False),
        "actor_rollout_ref.actor.entropy_coeff": (actor.entropy_coeff, 0.0),
        f"{optimizer}.optimizer": (actor.optim.optimizer, "AdamW"),
        f"{optimizer}.optimizer_impl": (actor.optim.optimizer_impl, "torch.optim"),
        f"{optimizer}.override_optimizer_config": (actor.optim.override_optimizer_config, None),
        f"{optimizer}.lr_scheduler_type": (actor.optim.lr_scheduler_type, "constant"),
        f"{optimizer}.lr_warmup_steps_ratio": (actor.optim.lr_warmup_steps_ratio, 0.0),
        "actor_rollout_ref.rollout.temperature": (rollout.temperature, 1.0),
        "actor_rollout_ref.rollout.top_p": (rollout.top_p, 1),
        "actor_rollout_ref.rollout.top_k": (rollout.top_k, -1),
        "algorithm.use_kl_in_reward": (composed.algorithm.use_kl_in_reward, False),
        "algorithm.norm_adv_by_std_in_grpo": (composed.algorithm.norm_adv_by_std_in_grpo, True),
    }
    for option, (value, known) in built.items():
        if value != known:
            raise ConfigError(f"{option}={value} is refused by a training in one process: it is built for {known}")
    if composed.algorithm.adv_estimator not in (GRPO, *ESTIMATORS):
        raise ConfigError(
            f"algorithm.adv_estimator={composed.algorithm.adv_estimator} is refused by a training in one process: it "
            f"knows {', '.join((GRPO, *ESTIMATORS))}"
        )
