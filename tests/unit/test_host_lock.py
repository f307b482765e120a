"""Two trainings with clusters of their own do not meet on one machine."""

import subprocess
import sys
from pathlib import Path

import pytest
from training_run import ROOT

from treepo.config import ConfigError
from treepo.verl.host_lock import sole_private_cluster

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom treepo.verl.host_lock import sole_private_cluster\n"
    "with sole_private_cluster(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
)


def test_the_second_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with (
            pytest.raises(ConfigError, match=rf"process {first.pid} trains on this machine already"),
            sole_private_cluster(lock),
        ):
            pass
    finally:
        first.kill()
        first.wait()
    # A killed holder holds nothing.
    with sole_private_cluster(lock):
        pass


def test_the_lock_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with sole_private_cluster(tmp_path / "lock"):
            pass
