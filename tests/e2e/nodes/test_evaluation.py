"""An evaluation through its launcher, on two nodes of one cluster: killed, and resumed to the end."""

import re
import shutil
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tiny_stack import write_tiny_model
from training_run import TrainingRun, write_sums

from treepo.evaluation import StoredRun

QUESTIONS, SAMPLES = 48, 4
ALL = 2 * QUESTIONS * SAMPLES

pytestmark = [pytest.mark.timeout(3600), pytest.mark.nightly]


class Script(TrainingRun):
    command = ("bash", "recipe/treepo/run_treepo_eval.sh")


@pytest.fixture
def ray_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="treepo-test-", dir="/tmp"))  # the path of a socket is short
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_two_nodes_evaluate_a_model_and_a_killed_head_loses_nothing(
    tmp_path: Path, ray_dir: Path, request: pytest.FixtureRequest
) -> None:
    folder = tmp_path / "run"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    arguments = [
        *("--preset", "quickstart", "--sampling", "both", "--divergence", "2", f"run_dir={folder}"),
        f"--model={write_tiny_model(tmp_path / 'model')}",
        f"--benchmark={write_sums(tmp_path / 'sums.parquet', QUESTIONS, seed=0)}",
        *("--join-limit", "90", "--stop-limit", "15", "evaluation.prompts_in_flight=4"),
    ]

    def start(rank: int) -> Script:
        place = {"NNODES": "2", "NODE_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "TREEPO_PORT": port}
        run = Script(arguments, **place, N=str(SAMPLES), RAY_TMPDIR=str(ray_dir))
        request.addfinalizer(run.end)
        return run

    head, worker = start(0), start(1)
    head.wait_for("2 servers on 2 accelerators", seconds=1200)
    samples = folder / "samples/sums.jsonl"
    limit = time.monotonic() + 200
    while samples.read_bytes().count(b"\n") < ALL // 4:
        assert head.process.poll() is None, head.tail()
        assert time.monotonic() < limit, head.tail()
        time.sleep(0.02)
    head.note_family()
    worker.note_family()
    head.process.kill()
    assert worker.wait(seconds=600) == 1
    assert [*head.survivors(seconds=60), *worker.survivors(seconds=15)] == []
    before = {sample.key: sample for sample in StoredRun(folder).samples("sums")}
    assert ALL // 4 <= len(before) < ALL

    head, worker = start(0), start(1)
    assert head.wait(seconds=1200) == 0, head.tail()
    assert worker.wait(seconds=600) == 0, worker.tail()
    asked = re.findall(r"evaluation: (\d+) samples to generate", (folder / "logs/evaluation.log").read_text())
    assert [int(count) for count in asked] == [ALL, ALL - len(before)]
    after = {sample.key: sample for sample in StoredRun(folder).samples("sums")}
    assert before.items() <= after.items()
    assert Counter(sampling for sampling, *_ in after) == {"independent": ALL // 2, "tree d=2": ALL // 2}
    assert (folder / "report.html").is_file()


def test_servers_that_do_not_start_end_the_evaluation_with_their_own_first_error(
    tmp_path: Path, ray_dir: Path, request: pytest.FixtureRequest
) -> None:
    model = write_tiny_model(tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    run = Script(
        [
            *("--preset", "quickstart", f"run_dir={tmp_path / 'run'}", f"--model={model}"),
            f"--benchmark={write_sums(tmp_path / 'sums.parquet', 4, seed=0)}",
        ],
        RAY_TMPDIR=str(ray_dir),
    )
    request.addfinalizer(run.end)
    assert run.wait(seconds=1200) == 1, run.tail()
    assert "the output of Ray's processes is in " in run.tail()
    (place,) = re.findall(r"it moves the output to (\S+)", run.tail())
    assert list(Path(place).glob("session_*/worker-*"))
    # The engine's own words, and not only that it failed.
    assert re.search(r"^ValueError: .* not initialized .*model\.norm\.weight", "".join(run.output), re.MULTILINE)
