"""The launcher with real Ray nodes: two launchers on this machine are the two nodes of a cluster.

A stand-in takes the trainer's place where only the cluster matters; one test trains for real.
"""

import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tiny_stack import write_tiny_model
from training_run import ROOT, TrainingRun, logged_steps, write_sums

from treepo.quickstart.report import read_scalars

STAND_IN = ROOT / "tests/support/stand_in_trainer.py"
START_SECONDS = 600.0
END_SECONDS = 300.0

pytestmark = pytest.mark.timeout(3600)


class StandIn(TrainingRun):
    command = (
        *(sys.executable, "-c"),
        "import sys; from treepo.commands import launch, run; "
        f"launch.TREEPO = (sys.executable, {str(STAND_IN)!r}); run()",
        *("launch", "train"),
    )


class Unread(StandIn):
    command = ("bash", "-c", 'set -o pipefail; "$@" | head -1', "-", *StandIn.command)


class Nohup(StandIn):
    command = ("bash", "-c", 'trap "" HUP; exec "$@"', "-", *StandIn.command)


class Script(TrainingRun):
    command = ("bash", "recipe/treepo/run_treepo_train.sh")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Nodes:
    """Launchers of one cluster."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir, self.port = run_dir, free_port()
        # The path of a socket is short.
        self.ray_dir = Path(tempfile.mkdtemp(prefix="treepo-", dir="/tmp"))
        self.started: list[TrainingRun] = []

    def start(
        self, rank: int, part: str = "works", *words: str, nodes: int = 2, kind: type[TrainingRun] = StandIn
    ) -> TrainingRun:
        # All that torchrun sets: the job's own processes must not see it.
        torchrun = {
            "GROUP_WORLD_SIZE": str(nodes),
            "GROUP_RANK": str(rank),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": "1",
            "WORLD_SIZE": str(nodes),
            "RANK": str(rank),
            "LOCAL_WORLD_SIZE": "1",
            "LOCAL_RANK": "0",
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
        place = {} if nodes == 1 else torchrun
        arguments = [
            *("--preset", "cpu_quickstart", f"run_dir={self.run_dir}", f"trainer.experiment_name={part}"),
            *("--join-limit", "90", "--stop-limit", "15", *words),
        ]
        run = kind(arguments, TREEPO_PORT=str(self.port), RAY_TMPDIR=str(self.ray_dir), **place)
        self.started.append(run)
        return run

    def pair(self, part: str) -> tuple[TrainingRun, TrainingRun]:
        """A head and a worker whose job runs."""
        head, worker = self.start(0, part), self.start(1, part)
        head.wait_for("stand-in holds 2 nodes", seconds=START_SECONDS)
        for run in (head, worker):
            run.note_family()
            assert len(run.family) > 2, "Ray runs on both nodes"
        return head, worker

    def survivors(self) -> list[str]:
        return [name for run in self.started for name in run.survivors(seconds=60)]

    def log(self, name: str) -> str:
        return (self.run_dir / "logs" / name).read_text()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    found = Nodes(tmp_path / "run")
    yield found
    for run in found.started:
        run.end()
    shutil.rmtree(found.ray_dir, ignore_errors=True)


@pytest.mark.nightly
def test_one_node_needs_no_scheduler_and_gives_the_jobs_status(nodes: Nodes) -> None:
    run = nodes.start(0, "fails", nodes=1)
    assert run.wait(seconds=START_SECONDS) == 7, run.tail()
    assert "stand-in holds 1 nodes" in nodes.log("train.log")
    assert list((nodes.run_dir / "logs/ray").glob("session_*-rank-0/gcs_server.out")), (
        "Ray's logs of a failure are kept"
    )


@pytest.mark.nightly
def test_a_reader_that_goes_away_ends_nothing(nodes: Nodes) -> None:
    run = nodes.start(0, "fails", nodes=1, kind=Unread)
    assert run.wait(seconds=START_SECONDS) == 7
    assert len(run.output) == 1
    assert "stand-in holds 1 nodes" in nodes.log("train.log")
    assert "ended with status 7" in nodes.log("rank-0.log")
    assert list(nodes.ray_dir.iterdir()) == []


@pytest.mark.nightly
def test_a_closed_terminal_ends_nothing_under_nohup(nodes: Nodes) -> None:
    run = nodes.start(0, "hangs", nodes=1, kind=Nohup)
    run.wait_for("stand-in holds 1 nodes", seconds=START_SECONDS)
    run.note_family()
    for process in (psutil.Process(run.process.pid), *run.family.values()):
        process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        run.process.wait(timeout=5)
    run.process.send_signal(signal.SIGTERM)
    assert run.wait(seconds=END_SECONDS) == 130
    assert nodes.survivors() == []


@pytest.mark.nightly
def test_a_node_without_the_runs_secret_is_refused_and_named(nodes: Nodes, tmp_path: Path) -> None:
    head = nodes.start(0, "works", "--join-limit", "25")
    head.wait_for("waiting for 1 more nodes", seconds=END_SECONDS)
    shared, nodes.run_dir = nodes.run_dir, tmp_path / "another"
    stranger = nodes.start(1)
    assert stranger.wait(seconds=END_SECONDS) == 1
    assert f"{tmp_path}/another/secret is not the head's" in stranger.tail()
    assert head.wait(seconds=END_SECONDS) == 1
    assert f"is refused: it does not have {shared}/secret" in head.tail()
    assert "missing ranks: 1" in head.tail()


@pytest.mark.parametrize("before", [0, pytest.param(1, marks=pytest.mark.nightly)])
def test_two_nodes_run_a_job_once_and_a_second_start_appends_to_the_logs(nodes: Nodes, before: int) -> None:
    for times in range(1, before + 2):
        head, worker = nodes.start(0), nodes.start(1)
        assert (head.wait(seconds=START_SECONDS), worker.wait(seconds=END_SECONDS)) == (0, 0), head.tail()
        assert nodes.log("train.log").count("stand-in holds 2 nodes") == times
        assert nodes.log("rank-1.log").count("ended with status 0") == times
        assert any("from the checkpoint of step 25" in line for line in head.output) == (times > 1)
        checkpoints = nodes.run_dir / "checkpoints"
        checkpoints.mkdir(exist_ok=True)
        (checkpoints / "latest_checkpointed_iteration.txt").write_text("25")
    assert not (nodes.run_dir / "logs/ray").exists()
    assert list(nodes.ray_dir.iterdir()) == []


@pytest.mark.nightly
def test_every_node_ends_with_the_jobs_status_and_leaves_no_process(nodes: Nodes) -> None:
    head, worker = nodes.pair("hangs")
    head.process.send_signal(signal.SIGINT)
    assert (head.wait(seconds=END_SECONDS), worker.wait(seconds=END_SECONDS)) == (130, 130), head.tail()
    assert "interrupted by SIGINT" in worker.tail()
    assert nodes.survivors() == []
    assert list(nodes.ray_dir.iterdir()) == []


@pytest.mark.nightly
def test_a_dying_worker_ends_the_run_and_is_named(nodes: Nodes) -> None:
    head, worker = nodes.pair("hangs")
    worker.process.kill()
    assert head.wait(seconds=END_SECONDS) == 1
    assert f"rank 1 ({socket.gethostname()}) is gone" in head.tail()
    assert nodes.survivors() == []


@pytest.mark.nightly
def test_a_dying_ray_node_ends_the_run_and_is_named(nodes: Nodes) -> None:
    head, worker = nodes.pair("hangs")
    raylet = next(process for process in worker.family.values() if "raylet" in process.name())
    raylet.kill()
    assert (head.wait(seconds=END_SECONDS), worker.wait(seconds=END_SECONDS)) == (1, 1)
    assert f"rank 1 ({socket.gethostname()}) failed: Ray has ended on this node" in head.tail()
    assert nodes.survivors() == []


@pytest.mark.nightly
def test_a_dying_head_ends_its_workers(nodes: Nodes) -> None:
    head, worker = nodes.pair("hangs")
    head.process.kill()
    assert worker.wait(seconds=END_SECONDS) == 1
    assert f"the head at 127.0.0.1:{nodes.port} is gone" in worker.tail()
    assert nodes.survivors() == []


@pytest.mark.nightly
def test_missing_accelerators_are_named(nodes: Nodes) -> None:
    head, worker = (nodes.start(rank, "works", "trainer.n_gpus_per_node=2") for rank in (0, 1))
    assert (head.wait(seconds=START_SECONDS), worker.wait(seconds=END_SECONDS)) == (1, 1)
    assert f"rank 1 ({socket.gethostname()}) has 1 of 2 accelerators" in head.tail()


@pytest.mark.nightly
def test_a_missing_node_is_named_on_the_nodes_that_came(nodes: Nodes) -> None:
    head, worker = (nodes.start(rank, "works", "--join-limit", "8", nodes=3) for rank in (0, 2))
    assert (head.wait(seconds=END_SECONDS), worker.wait(seconds=END_SECONDS)) == (1, 1)
    for run in (head, worker):
        assert (
            "2 of 3 nodes came within 8 s; missing ranks: 1 (GROUP_WORLD_SIZE=3, GROUP_RANK=0, MASTER_ADDR="
            in run.tail()
        )


@pytest.mark.nightly
def test_a_wrong_address_is_named_with_its_variable(nodes: Nodes) -> None:
    worker = nodes.start(1, "works", "--join-limit", "4")
    assert worker.wait(seconds=END_SECONDS) == 1
    assert f"the head cannot be reached at 127.0.0.1:{nodes.port} within 4 s (Connection refused)" in worker.tail()
    assert "MASTER_ADDR=127.0.0.1" in worker.tail()


@pytest.mark.nightly
def test_a_refused_configuration_ends_all_nodes_before_ray_starts(nodes: Nodes) -> None:
    head, worker = nodes.start(0, "refused"), nodes.start(1, "refused")
    assert (head.wait(seconds=END_SECONDS), worker.wait(seconds=END_SECONDS)) == (2, 2)
    assert "the stand-in refuses" in head.tail()
    assert not (nodes.run_dir / "logs/ray-rank-0.log").exists()


@pytest.mark.nightly
def test_a_run_that_is_over_ends_all_nodes_before_ray_starts(nodes: Nodes) -> None:
    checkpoints = nodes.run_dir / "checkpoints"
    (checkpoints / "global_step_50").mkdir(parents=True)
    (checkpoints / "latest_checkpointed_iteration.txt").write_text("50")
    head, worker = nodes.start(0), nodes.start(1)
    assert (head.wait(seconds=END_SECONDS), worker.wait(seconds=END_SECONDS)) == (0, 0), head.tail()
    assert "stand-in holds" not in nodes.log("train.log")
    assert not (nodes.run_dir / "logs/ray-rank-0.log").exists()


@pytest.mark.nightly
def test_a_node_with_another_command_or_a_taken_rank_is_refused(nodes: Nodes) -> None:
    head = nodes.start(0, "works", "--join-limit", "25", nodes=3)
    head.wait_for("waiting for 2 more nodes", seconds=END_SECONDS)
    other = nodes.start(1, "works", "treepo.width=3", nodes=3)
    assert other.wait(seconds=END_SECONDS) == 2
    assert "its command differs from the head's" in other.tail()
    nodes.start(2, nodes=3)
    head.wait_for("rank 2", seconds=END_SECONDS)
    second = nodes.start(2, nodes=3)
    assert second.wait(seconds=END_SECONDS) == 2
    assert f"rank 2 ({socket.gethostname()}) is there already" in second.tail()


@pytest.mark.nightly
def test_two_nodes_train_a_tiny_model(nodes: Nodes, tmp_path: Path) -> None:
    words = [
        f"--model={write_tiny_model(tmp_path / 'model')}",
        f"--train={write_sums(tmp_path / 'train.parquet', 16, seed=0)}",
        f"--val={write_sums(tmp_path / 'held_out.parquet', 4, seed=1)}",
        f"reward.custom_reward_function.path={ROOT / 'tests/support/letter_rewards.py'}",
        *("data.train_batch_size=4", "actor_rollout_ref.actor.ppo_mini_batch_size=4", "treepo.width=4"),
        *("treepo.segment_length=16", "treepo.max_depth=2", "data.max_response_length=32"),
        "actor_rollout_ref.rollout.agent.num_workers=2",
        *("trainer.total_training_steps=1", "trainer.save_freq=1", "trainer.test_freq=-1"),
        "trainer.val_before_train=false",
    ]
    head, worker = (nodes.start(rank, "tiny", *words, kind=Script) for rank in (0, 1))
    assert head.wait(seconds=1800) == 0, head.tail()
    assert worker.wait(seconds=END_SECONDS) == 0, worker.tail()
    assert logged_steps(nodes.run_dir) == [1]
    scalars = read_scalars(nodes.run_dir / "tensorboard")
    assert list(scalars["treepo/trajectories_per_prompt/mean"].values()) == [4]
    # Both nodes hold a shard of the trainer, and each serves a replica that the trainer's weights have reached.
    shards = nodes.run_dir.glob("checkpoints/global_step_1/actor/model_world_size_2_rank_*.pt")
    assert len(list(shards)) == 2
    log = nodes.log("train.log")
    for actor in ("TreeServer", "TreeAgentLoopWorker", "WorkerDict"):
        assert len(set(re.findall(rf"\({actor} pid=(\d+)", log))) == 2, actor
    assert all(value < 1e-4 for value in scalars["training/rollout_probs_diff_max"].values())
