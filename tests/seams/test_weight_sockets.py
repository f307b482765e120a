"""Both ends of a weight socket get the run's own name. Checked against verl 0.9.1; fails loudly where verl moves."""

import inspect
import os
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from omegaconf import DictConfig, OmegaConf
from tiny_stack import compose_tiny, write_tiny_model
from verl.checkpoint_engine.base import CheckpointEngineWorker
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.engine_workers import ActorRolloutRefWorker
from verl.workers.rollout.base import get_rollout_class
from verl.workers.rollout.replica import RolloutReplicaRegistry
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension
from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer
from verl.workers.rollout.vllm_rollout.vllm_rollout import ServerAdapter

from treepo.verl.rollout import tree_server
from treepo.verl.weight_sockets import (
    name_receivers,
    sends_over_sockets,
    server_adapter,
    use_own_sockets,
)

JOB = "01000000"
# Linux: sockaddr_un.sun_path, without its last byte.
LONGEST_PATH = 107
CHECKPOINT_ENGINE = "actor_rollout_ref.rollout.checkpoint_engine"

source = inspect.getsource


@pytest.fixture(autouse=True)
def as_in_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0 of one, in a Ray job that has the number which every first job of a cluster has."""
    for name, value in {"RANK": "0", "RAY_LOCAL_WORLD_SIZE": "1", "VERL_RAY_JOB_ID": JOB}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("VERL_REPLICA_RANK", raising=False)
    monkeypatch.delenv("VERL_ZMQ_BASE_TRAINER_RANK", raising=False)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_job_id=lambda: JOB))


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> DictConfig:
    return compose_tiny(write_tiny_model(tmp_path_factory.mktemp("sockets")), [])


@pytest.fixture
def config(composed: DictConfig) -> DictConfig:
    return composed.copy()


def sender(config: DictConfig, **kwargs: Any) -> str:
    """The trainer's end, made as verl's workers make it."""
    adapter: Any = get_rollout_class("vllm", "async")
    rollout = omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    return adapter(config=rollout, model_config=None, device_mesh=None, **kwargs).zmq_handle


def receiver(config: DictConfig, *, replica: int = 0, rank: int = 0) -> str:
    """vLLM's end: what its worker process reads of the environment that the server leaves it."""
    os.environ["VERL_RAY_JOB_ID"] = JOB
    os.environ["VERL_REPLICA_RANK"] = str(replica)
    name_receivers(omega_conf_to_dataclass(config.actor_rollout_ref.rollout))
    worker: Any = SimpleNamespace(model_runner=None, local_rank=rank)
    return vLLMColocateWorkerExtension._get_zmq_handle(worker)


@pytest.mark.parametrize("replica", [0, 3])
def test_both_ends_have_one_name_and_those_of_another_run_another(config: DictConfig, replica: int) -> None:
    other = config.copy()
    use_own_sockets(config)
    use_own_sockets(other)
    handles = [sender(run, replica_rank=replica) for run in (config, other)]
    assert handles == [receiver(run, replica=replica) for run in (config, other)]
    assert handles[0] != handles[1]
    for handle in handles:
        assert handle.startswith("ipc:///tmp/rl-colocate-zmq-")
        assert handle.endswith(f"-replica-{replica}-rank-0.sock")
        assert JOB not in handle
        assert len(handle.removeprefix("ipc://").encode()) <= LONGEST_PATH - len("1000")


def test_without_a_name_both_ends_are_verls_own(config: DictConfig) -> None:
    assert sender(config) == receiver(config) == f"ipc:///tmp/rl-colocate-zmq-{JOB}-replica-0-rank-0.sock"


def test_a_socket_that_does_not_name_the_job_is_refused(config: DictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    use_own_sockets(config)
    built = ServerAdapter.__init__

    def moved(self: Any, *args: Any, **kwargs: Any) -> None:
        built(self, *args, **kwargs)
        self.zmq_handle = "ipc:///tmp/weights-0.sock"

    monkeypatch.setattr(ServerAdapter, "__init__", moved)
    with pytest.raises(RuntimeError, match=r"weight socket ipc:///tmp/weights-0\.sock does not name Ray's job"):
        sender(config)


def test_the_users_modules_and_extension_are_kept(config: DictConfig) -> None:
    model, rollout = config.actor_rollout_ref.model, config.actor_rollout_ref.rollout
    OmegaConf.update(rollout, "custom", {"mine": 1}, force_add=True)
    for given, kept in ((None, []), ("mine", ["mine"]), (["mine", "too"], ["mine", "too"])):
        model.external_lib = given
        use_own_sockets(config)
        assert model.external_lib == [*kept, "treepo.verl.weight_sockets"]
    assert rollout.custom["mine"] == 1
    assert len(rollout.custom) == 2


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ([], True),
        (["actor_rollout_ref.rollout.name=sglang"], False),
        (["actor_rollout_ref.rollout.disaggregation.enabled=true"], False),
        ([f"{CHECKPOINT_ENGINE}.backend=gloo"], True),
        ([f"{CHECKPOINT_ENGINE}.backend=gloo", f"{CHECKPOINT_ENGINE}.custom_backend_module=mine"], False),
        ([f"{CHECKPOINT_ENGINE}.custom_backend_module=mine"], True),
    ],
    ids=str,
)
def test_sockets_are_named_where_both_ends_can_be(config: DictConfig, override: list[str], named: bool) -> None:
    assert sends_over_sockets(OmegaConf.merge(config, OmegaConf.from_dotlist(override))) is named  # type: ignore[arg-type]


def test_workers_beside_servers_of_their_own_load_the_naming_end_before_they_build_theirs(config: DictConfig) -> None:
    engine = config.actor_rollout_ref.rollout.checkpoint_engine
    use_own_sockets(config)
    assert engine.custom_backend_module is None
    engine.backend = "gloo"
    use_own_sockets(config)
    assert engine.custom_backend_module == "treepo.verl.weight_sockets"
    text = source(CheckpointEngineWorker.__init__)
    loaded = text.index("import_external_libs(self.rollout_config.checkpoint_engine.custom_backend_module or None)")
    assert loaded < text.index("get_rollout_class(self.rollout_config.name, self.rollout_config.mode)(")


def test_servers_of_either_rollout_name_their_sockets() -> None:
    before = RolloutReplicaRegistry._registry["vllm"]
    try:
        for trees, replica, server in (
            (True, tree_server.TreeReplica, tree_server.TreeServer),
            (False, tree_server.SocketReplica, tree_server.SocketServer),
        ):
            tree_server.use_servers(trees=trees)
            assert RolloutReplicaRegistry.get("vllm") is replica
            assert issubclass(server, tree_server.SocketServer)
            assert f"ray.remote({server.__name__})" in source(replica.__init__)
    finally:
        RolloutReplicaRegistry.register("vllm", before)
    assert "name_receivers(self.config)" in source(tree_server.SocketServer.__init__)


# What the above takes for granted.


def test_verl_sends_and_receives_through_these_names_alone() -> None:
    text = source(ServerAdapter)
    assert text.count("self.zmq_handle = ") == 1
    assert text.count("zmq_handle=self.zmq_handle") == 2
    assert text.count("zmq_handle") == 5
    assert source(vLLMColocateWorkerExtension).count("self._get_zmq_handle()") == 2


def test_a_server_sets_the_variable_in_its_constructor_and_starts_vllm_later() -> None:
    constructor = source(vLLMHttpServer.__init__)
    assert constructor.index('os.environ["VERL_RAY_JOB_ID"] = ') < constructor.index("self.config = self._init_config(")
    assert source(vLLMHttpServer).count("VERL_RAY_JOB_ID") == 1
    assert "AsyncLLM" not in constructor


def test_the_trainers_worker_builds_its_model_config_and_then_asks_for_the_adapter_by_name() -> None:
    text = source(ActorRolloutRefWorker.init_model)
    built = text.index("omega_conf_to_dataclass(self.config.model)")
    assert built < text.index("get_rollout_class(rollout_config.name, rollout_config.mode)")
    assert "config=rollout_config, model_config=model_config, device_mesh=rollout_device_mesh" in text
    assert get_rollout_class("vllm", "async") is server_adapter
