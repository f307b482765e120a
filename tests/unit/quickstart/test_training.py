import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console
from training_run import ROOT

from treepo.quickstart.training import TrainingError, run_training, step_line

LINE = (
    "(TreeTaskRunner pid=7) step:20 - val-core/treepo/chains/acc/mean@4:np.float64(0.4512) - "
    "val-aux/treepo/chains/acc/std@4:np.float64(0.1) - critic/score/mean:-0.25 - critic/score/max:1.0 - "
    "treepo/tokens/sharing_ratio:0.8125 - timing_s/step:3.25 - training/global_step:20\n"
)


def run(code: str, log: Path) -> str:
    """What the screen shows of a program in the launcher's place."""
    console = Console(record=True, markup=False, width=200)
    run_training([sys.executable, "-u", "-c", code], log, console=console)
    return console.export_text()


def test_that_nothing_is_left_to_train_reaches_the_screen(tmp_path: Path) -> None:
    assert "nothing left to train: all done" in run("print('nothing left to train: all done')", tmp_path / "log")


def test_a_step_shows_accuracy_reward_sharing_and_time() -> None:
    assert step_line(LINE) == (
        "step 20  held-out accuracy 45.1%  reward -0.250  generated/in trajectories 0.812  seconds 3.2"
    )


def test_a_step_without_validation_shows_no_accuracy() -> None:
    assert step_line("step:3 - critic/score/mean:0.5 - timing_s/step:1e+01") == "step 3  reward +0.500  seconds 10.0"


def test_any_other_line_is_left_out() -> None:
    assert step_line("Saving checkpoint to checkpoints/global_step_20") is None


def test_steps_and_warnings_reach_the_screen_and_everything_the_log(tmp_path: Path) -> None:
    shown = run("print('noise'); print('warning: too short'); print('step:1 - critic/score/mean:1')", tmp_path / "log")
    assert "warning: too short" in shown
    assert "step 1  reward +1.000" in shown
    assert "noise" not in shown
    assert (tmp_path / "log").read_text() == "noise\nwarning: too short\nstep:1 - critic/score/mean:1\n"


def test_bytes_that_are_no_text_do_not_stop_it(tmp_path: Path) -> None:
    code = "import sys; sys.stdout.buffer.write(b'\\xff\\xfe\\nstep:2 - critic/score/mean:1\\n')"
    assert "step 2" in run(code, tmp_path / "log")


def test_a_failed_training_is_one_line_with_status_and_log(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"training ended with status 3; everything it printed: .*log"):
        run("raise SystemExit(3)", tmp_path / "log")


@pytest.mark.usefixtures("hangup_is_heard")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_quickstart_ends_the_training_first(tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom rich.console import Console\n"
        "from treepo.quickstart.training import run_training\n"
        "child = 'import time; print(\"step:1 - critic/score/mean:1\", flush=True); time.sleep(60)'\n"
        f"run_training([sys.executable, '-u', '-c', child], Path({str(tmp_path / 'log')!r}), console=Console())\n"
    )
    outer = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        log = tmp_path / "log"
        limit = time.monotonic() + 30
        while not (log.exists() and "step:1" in log.read_text()):
            assert time.monotonic() < limit, "the training has started"
            time.sleep(0.05)
        (inner,) = psutil.Process(outer.pid).children()
        os.kill(outer.pid, number)
        assert outer.wait(timeout=20) != 0
        assert not inner.is_running() or inner.status() == psutil.STATUS_ZOMBIE
    finally:
        outer.kill()
