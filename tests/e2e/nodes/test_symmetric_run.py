"""``ray symmetric-run`` with a real training: two nodes on this machine, with network and processes of their own.

Only so can it be run beside others: it takes whoever has the address for the head, and its ``ray stop`` ends every
Ray process that it sees.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_stack import DEVICE_OVERRIDES, PRESET, write_tiny_model
from training_run import ROOT, TrainingRun, logged_steps, write_sums

from treepo.quickstart.report import read_scalars

PORT = 6379
# A node waits for its end of the cable. The way out is where libraries look for their machine's address, and Ray's
# default folder is its own.
NODE = """
until ip link show eth0 > /dev/null 2>&1; do sleep 0.1; done
ip link set lo up
ip address add "$OWN/24" dev eth0
ip link set eth0 up
ip route add default via "$OTHER"
mkdir -p "$FOLDER" /tmp/ray
mount --bind "$FOLDER" /tmp/ray
"$@"
exit $?
"""
# Both nodes with one command, and the cable between them.
NODES = """
node=$1 folder=$2
shift 2
apart="unshare --net --pid --fork --mount-proc --kill-child"
OWN=10.77.0.1 OTHER=10.77.0.2 FOLDER=$folder/head $apart bash -c "$node" - "$@" &
head=$!
OWN=10.77.0.2 OTHER=10.77.0.1 FOLDER=$folder/worker $apart bash -c "$node" - "$@" > "$folder/worker.log" 2>&1 &
worker=$!
for node in $head $worker; do
    until [[ $(readlink /proc/$node/ns/net) != $(readlink /proc/$$/ns/net) ]]; do sleep 0.1; done
done
ip link add eth0 netns $head type veth peer name eth0 netns $worker
wait $head $worker
"""
OUTER = ("unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--mount-proc", "--kill-child")


def can_make_namespaces() -> bool:
    if not all(map(shutil.which, ("unshare", "ip", "mount"))):
        return False
    return subprocess.run([*OUTER, "true"], capture_output=True).returncode == 0


pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(PRESET != "cpu_quickstart", reason="two nodes on accelerators need accelerators apart"),
    pytest.mark.skipif(not can_make_namespaces(), reason="this machine lets nobody make namespaces"),
]


class SymmetricRun(TrainingRun):
    command = (*OUTER, "bash", "-c", NODES, "-", NODE)


def test_two_nodes_train_a_tiny_model(tmp_path: Path) -> None:
    run_dir, nodes = tmp_path / "run", tmp_path / "nodes"
    nodes.mkdir()
    numbers = [f"++ray_kwargs.ray_init.{name}=null" for name in ("num_cpus", "num_gpus", "object_store_memory")]
    training = [
        *(sys.executable, "-m", "treepo", "train", "--preset", PRESET, *DEVICE_OVERRIDES),
        *("++ray_kwargs.ray_init.address=auto", *numbers, "trainer.nnodes=2", f"run_dir={run_dir}"),
        f"actor_rollout_ref.model.path={write_tiny_model(tmp_path / 'model')}",
        f"data.train_files=[{write_sums(tmp_path / 'train.parquet', 16, seed=0)}]",
        f"data.val_files=[{write_sums(tmp_path / 'held_out.parquet', 4, seed=1)}]",
        f"reward.custom_reward_function.path={ROOT / 'tests/support/letter_rewards.py'}",
        *("data.train_batch_size=4", "actor_rollout_ref.actor.ppo_mini_batch_size=4", "treepo.width=4"),
        *("treepo.segment_length=16", "treepo.max_depth=2", "data.max_response_length=32"),
        "actor_rollout_ref.rollout.agent.num_workers=2",
        *("trainer.total_training_steps=1", "trainer.save_freq=1", "trainer.test_freq=-1"),
        "trainer.val_before_train=false",
    ]
    ray = ["ray", "symmetric-run", "--address", f"10.77.0.1:{PORT}", "--min-nodes", "2"]
    ray += ["--num-cpus=16", "--num-gpus=1", "--object-store-memory=500000000"]
    run = SymmetricRun(
        [str(nodes), *ray, "--", *training],
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        # `ray start` finds the token by itself, symmetric-run's own look at the head does not.
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN="0" * 32,
        RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT="600",
        RAY_USAGE_STATS_ENABLED="0",
        # The cable, and not whatever the host's name means outside.
        GLOO_SOCKET_IFNAME="eth0",
    )
    try:
        # The status says nothing: with several nodes it is 1 also behind a job that ended well, docs/cluster.md.
        run.wait(seconds=3000)
    finally:
        run.end()
    assert run_dir.is_dir(), run.tail() + (nodes / "worker.log").read_text()
    assert logged_steps(run_dir) == [1]
    scalars = read_scalars(run_dir / "tensorboard")
    assert list(scalars["treepo/trajectories_per_prompt/mean"].values()) == [4]
    shards = run_dir.glob("checkpoints/global_step_1/actor/model_world_size_2_rank_*.pt")
    assert len(list(shards)) == 2
    # The other node holds a shard of the trainer too, and serves a replica that the trainer's weights have reached.
    for actor in ("TreeServer", "WorkerDict"):
        assert re.search(rf"\({actor} pid=\d+, ip=10\.77\.0\.2\)", "".join(run.output)), actor
    assert all(value < 1e-4 for value in scalars["training/rollout_probs_diff_max"].values())
