"""The learning benchmark's trainings in one process: what they learn from is what the whole stack learns from."""

import dataclasses
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_stack import write_tiny_model
from training_run import write_sums

from benchmarks.gradient.model.decoding import gather, grow_trees
from benchmarks.gradient.model.policy import Policy, load_policy
from benchmarks.learning import in_process, learner
from benchmarks.learning.arms import ARMS
from benchmarks.learning.in_process import InProcessRunner
from benchmarks.learning.learner import Learner
from benchmarks.learning.results import RunFailed, RunKey
from benchmarks.learning.study import arm_overrides
from benchmarks.learning.tasks import find_task
from treepo.config import ConfigError
from treepo.config.load import compose
from treepo.quickstart.prepare import Prepared
from treepo.quickstart.task import TaskFiles
from treepo.quickstart.warm_start import WarmStart

OVERRIDES = [
    "treepo.segment_length=4",
    "treepo.max_depth=3",
    "treepo.width=4",
    "data.max_response_length=12",
    "data.train_batch_size=4",
    "actor_rollout_ref.actor.ppo_mini_batch_size=4",
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("policy")
    return write_tiny_model(folder / "model"), write_sums(folder / "sums.parquet", 12, seed=0)


@pytest.fixture
def policy(folders: tuple[Path, Path]) -> Policy:
    torch.set_num_threads(1)
    return load_policy("cpu_quickstart", OVERRIDES, model=folders[0], data=folders[1])


def learner_of(policy: Policy, *overrides: str, seed: int = 0) -> Learner:
    return Learner(compose("cpu_quickstart", [*OVERRIDES, *overrides]), policy, seed=seed)


def test_the_gradient_is_that_of_verls_loss_over_rows(policy: Policy) -> None:
    from verl.trainer.ppo.core_algos import get_policy_loss_fn
    from verl.utils.config import omega_conf_to_dataclass

    actor = omega_conf_to_dataclass(compose("cpu_quickstart", OVERRIDES).actor_rollout_ref.actor)
    grown = grow_trees(policy, range(4), policy.shaped({}), seed=0)
    given = gather(policy, range(4), grown.trees)
    advantages = np.random.default_rng(0).normal(size=given.mask.shape)

    learner.policy_loss(policy, grown, advantages, given.mask).backward()
    packed = [parameter.grad.clone() for parameter in policy.learner.parameters() if parameter.grad is not None]
    policy.learner.zero_grad()

    lines = []
    trajectories = [(tree.prompt_tokens, one.tokens) for tree in grown.trees for one in tree.trajectories]
    for prompt, response in trajectories:
        logits = policy.sampler(torch.tensor([[*prompt, *response]])).logits[0].log_softmax(-1)
        own = logits[len(prompt) - 1 : -1].gather(1, torch.tensor(response)[:, None])[:, 0]
        lines.append(torch.nn.functional.pad(own, (0, given.mask.shape[1] - len(response))))
    log_probs = torch.stack(lines)
    verls_loss: Any = get_policy_loss_fn("vanilla")
    loss, _ = verls_loss(
        old_log_prob=log_probs.detach(),
        log_prob=log_probs,
        advantages=torch.from_numpy(advantages).float(),
        response_mask=torch.from_numpy(given.mask).float(),
        loss_agg_mode="token-mean",
        config=actor,
    )
    loss.backward()
    rows = [parameter.grad for parameter in policy.sampler.parameters() if parameter.grad is not None]
    for one, other in zip(packed, rows, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-3)


@pytest.fixture
def rewarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model that knows nothing no answer is right, and without differences of reward there is no gradient."""
    monkeypatch.setattr(Policy, "reward", lambda self, prompt, response: float(sum(response) % 2))


@pytest.mark.parametrize("estimator", ["grpo", "treepo", "treepo_branch"])
def test_a_step_moves_the_model_that_samples_with_the_one_that_learns(
    policy: Policy, rewarded: None, estimator: str
) -> None:
    before = torch.cat([parameter.detach().flatten() for parameter in policy.learner.parameters()])
    step = learner_of(policy, f"algorithm.adv_estimator={estimator}").step(1)
    after = torch.cat([parameter.detach().flatten() for parameter in policy.learner.parameters()])
    assert not torch.equal(before, after)
    for sampled, learned in zip(policy.sampler.parameters(), policy.learner.parameters(), strict=True):
        torch.testing.assert_close(sampled, learned, atol=0, rtol=0)
    assert step.trajectories == 16
    assert step.generated <= step.contained


def test_seeds_and_steps_draw_tokens_of_their_own(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def grow(*_: object, seed: int, **__: object) -> object:
        drawn.append(torch.randint(2**31, (1,), generator=torch.Generator().manual_seed(seed)).item())  # type: ignore[arg-type]
        raise InterruptedError

    monkeypatch.setattr(learner, "grow_trees", grow)
    for seed in range(3):
        for step in (1, 2, 3):
            with pytest.raises(InterruptedError):
                learner_of(policy, seed=seed).step(step)
    assert len(set(drawn)) == 9


def test_every_prompt_comes_once_before_any_comes_again() -> None:
    order = learner._order(10, 4, seed=3)
    first, second, third = islice(order, 3)
    assert len({*first, *second}) == 8
    assert set(third) <= set(range(10))
    assert list(islice(learner._order(10, 4, seed=3), 3)) == [first, second, third]
    assert list(islice(learner._order(10, 4, seed=4), 1)) != [first]


def test_arms_of_a_seed_meet_the_same_prompts(policy: Policy, rewarded: None, monkeypatch: pytest.MonkeyPatch) -> None:
    met: dict[str, list[list[int]]] = {}
    for estimator in ("grpo", "treepo"):
        seen = met.setdefault(estimator, [])

        def grow(policy: Policy, prompts: list[int], *rest: object, **named: object) -> object:
            seen.append(list(prompts))  # noqa: B023
            return grow_trees(policy, prompts, *rest, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(learner, "grow_trees", grow)
        trained = learner_of(policy, f"algorithm.adv_estimator={estimator}", seed=5)
        for number in (1, 2):
            trained.step(number)
    assert met["grpo"] == met["treepo"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("actor_rollout_ref.actor.ppo_epochs=2", "actor_rollout_ref.actor.ppo_epochs=2 is refused"),
        ("actor_rollout_ref.actor.ppo_mini_batch_size=2", "actor_rollout_ref.actor.ppo_mini_batch_size=2 is refused"),
        ("algorithm.adv_estimator=gae", "algorithm.adv_estimator=gae is refused"),
        ("data.shuffle=false", "data.shuffle=False is refused"),
        ("actor_rollout_ref.rollout.top_p=0.9", "actor_rollout_ref.rollout.top_p=0.9 is refused"),
    ],
)
def test_what_one_process_does_not_build_is_refused_by_its_option(policy: Policy, override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        learner_of(policy, override)


_TREES = [name for name, arm in ARMS.items() if arm.sampling.value == "tree"]
# A credit of each kind, a shape and an allocation; the others with the long tests.
_SHORT = ("grpo_packed", "treepo_segment", "branch_ramp_sqrt", "low_probability")


@pytest.mark.parametrize(
    "arm", [name if name in _SHORT else pytest.param(name, marks=pytest.mark.nightly) for name in _TREES]
)
def test_every_arm_of_trees_is_trained_in_one_process(folders: tuple[Path, Path], rewarded: None, arm: str) -> None:
    overrides = [*arm_overrides(ARMS[arm], steps=10, task=find_task("words", in_process=True)), *OVERRIDES[-3:]]
    policy = load_policy("cpu_quickstart", overrides, model=folders[0], data=folders[1])
    step = Learner(compose("cpu_quickstart", overrides), policy, seed=0).step(1)
    assert step.trajectories == 4 * policy.shaped({}).width


def test_a_run_gives_a_result_of_its_own_study(
    folders: tuple[Path, Path], rewarded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = find_task("words", in_process=True)
    task = dataclasses.replace(task, overrides=tuple(OVERRIDES))
    prepared = Prepared(
        task=TaskFiles(train=folders[1], held_out=folders[1]),
        model=WarmStart(path=folders[0], accuracy=0.2, greedy_accuracy=0.3, steps=1, seconds=1.0),
    )
    measured = iter((0.25, 0.5, 0.125))
    monkeypatch.setattr(in_process, "accuracy_of", lambda *_, **__: next(measured))
    runner = InProcessRunner(task, prepared=prepared, steps=10)
    result = runner(RunKey(arm="treepo", seed=1, fingerprint="f"))
    assert (result.accuracy_steps, result.accuracy) == ([0, 10], [0.25, 0.5])
    assert len(result.tokens_generated) == len(result.seconds) == len(result.reward) == 10
    assert all(one <= other for one, other in zip(result.tokens_generated, result.tokens_in_trajectories, strict=True))
    assert result.fallback_share is not None
    again = runner(RunKey(arm="treepo", seed=1, fingerprint="f"))
    assert again.accuracy[0] == 0.25, "the arms of a seed share what is before the first step"
    assert again.tokens_generated == result.tokens_generated, "a seed repeats its run"


def test_a_model_that_is_not_there_fails_the_run_in_one_line(folders: tuple[Path, Path]) -> None:
    task = find_task("words", in_process=True)
    prepared = Prepared(
        task=TaskFiles(train=folders[1], held_out=folders[1]),
        model=WarmStart(path=folders[0] / "nowhere", accuracy=0.2, greedy_accuracy=0.3, steps=1, seconds=1.0),
    )
    with pytest.raises(RunFailed, match="does not exist; name a folder"):
        InProcessRunner(task, prepared=prepared, steps=10)(RunKey(arm="treepo", seed=1, fingerprint="f"))
