"""The judging process: limits of time and memory, and that nothing of it stays behind."""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from treepo.rewards.judge import SPARE, Judge
from treepo.rewards.verdict import VerdictPath

ENDLESS = "9^{9^{9^9}}"
BLOATED = "+".join(f"(x+{number})^{{3000}}" for number in range(9))  # expanded, more than its memory
HUGE = "2^{2^{29}}"  # 64 MB once it is worked out, more on the way


@pytest.fixture
def make_judge() -> Iterator[Callable[..., Judge]]:
    judges: list[Judge] = []

    def make(**limits: float) -> Judge:
        judges.append(Judge(**limits))  # type: ignore[arg-type]
        return judges[-1]

    yield make
    for judge in judges:
        judge.close()


def _workers() -> set[int]:
    return {child.pid for child in multiprocessing.active_children() if child.pid is not None}


def _descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, listing.read_text().split()):
            found |= {child} | _descendants(child)
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def _ready(judge: Judge, before: set[int]) -> set[int]:
    """The judge's processes, once each of them, the spare included, has limited its memory and waits for a question."""
    assert judge.equal("x+1", "1+x")

    def limited(pid: int) -> bool:
        return resource.prlimit(pid, resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY

    assert _wait_until(lambda: all(map(limited, _workers() - before)), 120)
    return _workers() - before


def test_an_endless_expression_is_wrong_and_the_next_answer_works(make_judge: Callable[..., Judge]) -> None:
    judge = make_judge(timeout=1.0)
    before = _workers()
    workers = _ready(judge, before)
    assert judge.rule("7", ENDLESS) == (False, VerdictPath.TIMEOUT)
    assert judge.equal("x+2", "2+x")
    assert len([pid for pid in workers if not _alive(pid)]) == 1, "the process that hung is gone, no other one"


def test_the_question_after_an_endless_one_goes_to_a_process_that_is_there(make_judge: Callable[..., Judge]) -> None:
    judge = make_judge(timeout=1.0)
    before = _workers()
    ready = _ready(judge, before)
    assert len(ready) == 1 + SPARE
    assert judge.rule("7", ENDLESS) == (False, VerdictPath.TIMEOUT)
    assert len({pid for pid in ready if _alive(pid)}) == SPARE
    # Whatever starts in place of the one that ended never gets so far as to answer.
    stopped: set[int] = set()
    try:
        for newcomer in (_workers() - before) - ready:
            os.kill(newcomer, signal.SIGSTOP)
            stopped.add(newcomer)
        assert judge.equal("x+2", "2+x")
    finally:
        for newcomer in stopped:
            os.kill(newcomer, signal.SIGCONT)


def test_the_limit_counts_processor_time_and_not_the_time_of_others(make_judge: Callable[..., Judge]) -> None:
    judge = make_judge(timeout=1.0)
    workers = _ready(judge, _workers())
    with ThreadPoolExecutor(1) as threads:
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)  # as if the machine were busy with something else
        try:
            answer = threads.submit(judge.rule, "x+2", "2+x")
            time.sleep(2.0)
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)
        assert answer.result() == (True, VerdictPath.MATH_VERIFY)


def test_one_endless_expression_does_not_spoil_the_others_that_wait(make_judge: Callable[..., Judge]) -> None:
    judge = make_judge(timeout=1.0)
    answers = [ENDLESS, "1+x", "2+x", "x+1", "(x+1)", ENDLESS + "+1", "1x+1"]
    with ThreadPoolExecutor(len(answers)) as threads:
        verdicts = list(threads.map(lambda answer: judge.equal("x+1", answer), answers))
    assert verdicts == [False, True, False, True, True, False, True]


def test_an_expression_that_eats_memory_is_stopped_by_the_limit(make_judge: Callable[..., Judge]) -> None:
    judge = make_judge(timeout=60.0, memory=64 << 20)
    workers = _ready(judge, _workers())
    assert not judge.rule("7", HUGE)[0]
    for worker in filter(_alive, workers):
        status = Path(f"/proc/{worker}/status").read_text()
        peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
        assert peak < 250_000, f"{peak} kB"
    assert judge.equal("x+2", "2+x")


def test_a_process_that_dies_of_memory_is_a_crash_and_costs_one_answer(make_judge: Callable[..., Judge]) -> None:
    judge = make_judge(timeout=60.0, memory=16 << 20)
    questions = [("x+1", "1+x"), ("7", BLOATED), ("x+1", "x+2"), ("x+2", "2+x")]
    rulings = judge.rule_all(questions)
    assert [correct for correct, _ in rulings] == [True, False, False, True]
    assert rulings[1][1] in (VerdictPath.CRASH, VerdictPath.MATH_VERIFY)


def test_several_processes_work_at_once_and_the_order_is_kept(make_judge: Callable[..., Judge]) -> None:
    judge = make_judge(workers=2, timeout=1.0)
    before = _workers()
    questions = [(f"x+{number}", f"{number + (number % 3 == 0)}+x") for number in range(12)]
    rulings = judge.rule_all([*questions, *questions])
    assert [correct for correct, _ in rulings[:12]] == [number % 3 != 0 for number in range(12)]
    assert rulings[12:] == rulings[:12]
    assert len(_workers() - before) == 2 + SPARE
    assert judge.rule_all([("7", ENDLESS), ("8", ENDLESS)]) == [(False, VerdictPath.TIMEOUT)] * 2


def test_a_process_that_is_killed_while_idle_is_replaced(make_judge: Callable[..., Judge]) -> None:
    judge = make_judge()
    before = _workers()
    workers = _ready(judge, before)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    assert judge.equal("x+2", "2+x")
    assert _wait_until(lambda: len(_workers() - before) == len(workers), 60)
    assert judge.equal("x+3", "3+x")


def test_a_question_that_was_asked_before_is_not_asked_again(make_judge: Callable[..., Judge]) -> None:
    judge = make_judge()
    assert judge.equal("x+1", "1+x")
    judge.close()
    before = _workers()
    assert judge.equal("x+1", "1+x")
    assert _workers() == before


def test_close_leaves_no_process(make_judge: Callable[..., Judge]) -> None:
    judge = make_judge()
    before = _workers()
    assert judge.equal("x+1", "1+x")
    workers = _workers() - before
    assert workers
    judge.close()
    assert not any(map(_alive, workers))


PARENT = f"""
import sys, threading
from treepo.rewards.judge import Judge
from treepo.rewards.verdict import VerdictPath

if __name__ == "__main__":
    judge = Judge(timeout=300.0)
    # The thread that asks first is gone long before the process.
    first = threading.Thread(target=judge.equal, args=("x+1", "1+x"))
    first.start()
    first.join()
    print("ready", flush=True)
    if sys.argv[1] == "hang":
        judge.equal("7", {ENDLESS!r})
    else:
        sys.stdin.read()
        print(judge.equal("x+2", "2+x"), flush=True)
"""


@pytest.fixture
def parent_script(tmp_path: Path) -> Path:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    return script


def _start(script: Path, mode: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, str(script), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("mode", ["idle", "hang"])
def test_no_process_outlives_a_parent_that_is_killed(parent_script: Path, mode: str) -> None:
    parent = _start(parent_script, mode)
    if mode == "hang":
        time.sleep(1.0)
    family = _descendants(parent.pid)
    assert family
    parent.kill()
    parent.communicate()
    assert _wait_until(lambda: not any(map(_alive, family)), 15)


def test_a_parent_that_ends_takes_its_processes_with_it(parent_script: Path) -> None:
    parent = _start(parent_script, "idle")
    family = _descendants(parent.pid)
    assert family
    output, _ = parent.communicate(timeout=60)
    assert output == "True\n", "the process survived the thread that asked first"
    assert parent.returncode == 0
    assert _wait_until(lambda: not any(map(_alive, family)), 15)


def test_a_process_that_cannot_start_is_an_error_and_not_a_wrong_answer(tmp_path: Path) -> None:
    # Without the guard for __main__, the child would run the script again: it refuses and dies.
    script = tmp_path / "unguarded.py"
    script.write_text("from treepo.rewards.judge import Judge\nJudge().equal('x+1', '1+x')\n")
    path = os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert ended.returncode == 1
    # Behind it Python may warn of semaphores that the child, which died, has left.
    assert "\nRuntimeError: the process that judges answers does not run" in ended.stderr


def test_after_a_fork_the_child_starts_its_own_process(make_judge: Callable[..., Judge]) -> None:
    judge = make_judge()
    assert judge.equal("x+1", "1+x")
    pid = os.fork()
    if pid == 0:
        os._exit(0 if judge.equal("x+2", "2+x") else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert judge.equal("x+3", "3+x")
