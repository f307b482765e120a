"""Trees are handed to a trainer that knows them, and to no other."""

from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ
from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from treepo.verl.rollout.agent_loop import TreeAgentLoop, TreeAgentLoopManager
from treepo.verl.training.trainer import TRAINERS, TreeTrainer

CONFIG: Any = SimpleNamespace(trainer=SimpleNamespace(v1=SimpleNamespace(trainer_mode="sync")))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    made: list[Any] = []
    monkeypatch.setattr(AgentLoopManagerTQ, "create", classmethod(lambda cls, **given: made.append((cls, given))))
    return made


def test_verls_own_trainer_is_refused_in_one_line(made: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRAINER_REGISTRY, "sync", PPOTrainerSync)
    with pytest.raises(RuntimeError, match="PPOTrainerSync would take their trajectories for independent") as refused:
        TreeAgentLoopManager.create(config=CONFIG)
    assert "`treepo train`" in str(refused.value)
    assert made == []


def test_the_tree_trainer_gets_the_manager_as_verl_makes_it(made: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRAINER_REGISTRY, "sync", TreeTrainer)
    TreeAgentLoopManager.create(config=CONFIG, llm_client="client")
    assert made == [(TreeAgentLoopManager, {"config": CONFIG, "llm_client": "client"})]
    assert all(getattr(trainer, "knows_trees", False) for trainer in TRAINERS.values())


@pytest.mark.parametrize(("mode", "updates"), [("sync", 1), ("colocate_async", 1), ("separate_async", 4)])
def test_a_schedule_reaches_its_end_at_the_last_step_however_many_updates_a_step_has(mode: str, updates: int) -> None:
    # verl writes 11 steps' updates here.
    config = OmegaConf.create(
        {
            "trainer": {"v1": {"trainer_mode": mode, "separate_async": {"parameter_sync_step": 4}}},
            "actor_rollout_ref": {"actor": {"optim": {"total_training_steps": 11 * updates}}},
        }
    )
    agent_loop: Any = TreeAgentLoop
    made = SimpleNamespace(config=config)
    assert [agent_loop._training_progress(made, step) for step in (0, 1, 6, 11)] == [0.0, 0.0, 0.5, 1.0]
