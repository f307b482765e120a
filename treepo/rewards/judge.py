"""math-verify behind a limit: whatever an answer makes it do, the verdict comes in bounded time.

Parsing and comparing run in a process of their own, which the kernel ends when one question has taken too much
processor time, which cannot take more memory than it is given, and which dies with its parent. A spare process waits
beside those at work, so that the question after such an end need not wait for a new one to import its libraries.
math-verify's own limits work with signals to Python code, which only a main thread receives and a computation in C
keeps waiting; they are off.
"""

import ctypes
import logging
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from treepo.rewards.symbolic import math_verify_equal, settle
from treepo.rewards.verdict import VerdictPath

logger = logging.getLogger(__name__)

Ruling = tuple[bool, VerdictPath]

START_LIMIT = 120.0
"""Seconds a new process may take to import its libraries; several times what a busy machine needs."""
STALLED = 60.0
"""Seconds of wall time, beside twenty times its limit, after which a process that does not even calculate is killed."""
SPARE = 1
"""Processes that wait, ready, for another one to end."""
ANSWERS_PER_PROCESS = 2000
"""A process is replaced after so many answers, so that what its libraries keep does not add up."""
REMEMBERED = 4096
"""Verdicts that are kept: the trajectories of one prompt give the same few answers."""

_PR_SET_PDEATHSIG = 1


class Judge:
    """Decides with math-verify whether answers are equal; safe to call from any thread.

    The processes start with the first question. A question whose process is killed counts as a wrong answer.

    Args:
        workers: Questions at a time, a process for each; others wait.
        timeout: Seconds of processor time for one question. What other programs take of the processor does not count.
        memory: Bytes that a process may take on top of what it has after its imports.
    """

    def __init__(self, *, workers: int = 1, timeout: float = 5.0, memory: int = 1 << 30) -> None:
        self.workers = workers
        self._timeout = timeout
        self._memory = memory
        self._remembered = lru_cache(maxsize=REMEMBERED)(self._ask)
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def equal(self, gold: str, answer: str) -> bool:
        """Whether an answer equals the ground truth, both LaTeX or plain text.

        Raises:
            RuntimeError: The judging process does not start or dies again and again without being asked anything.
        """
        return self.rule(gold, answer)[0]

    def rule(self, gold: str, answer: str) -> Ruling:
        """Whether an answer equals the ground truth, and which way this was decided.

        Raises:
            RuntimeError: As for :meth:`equal`.
        """
        return self._remembered(gold, answer)

    def rule_all(self, questions: Sequence[tuple[str, str]]) -> list[Ruling]:
        """Rules on many questions (ground truth, answer) at once, all processes busy; in the order of the questions.

        Raises:
            RuntimeError: As for :meth:`equal`.
        """
        distinct = list(dict.fromkeys(questions))
        if len(distinct) == 1:
            return [self.rule(*distinct[0])] * len(questions)
        with ThreadPoolExecutor(self.workers, thread_name_prefix="answer-judge") as threads:
            rulings = dict(zip(distinct, threads.map(lambda question: self.rule(*question), distinct), strict=True))
        return [rulings[question] for question in questions]

    def close(self) -> None:
        """Ends the processes; the next question starts new ones."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.end()

    def _reset(self) -> None:
        """Also after a fork, where neither the processes nor the threads that hold locks exist any more."""
        self._lock = threading.Lock()
        # A question enters the pool only when a process is free: so its clock and its limits are its own.
        self._places = threading.BoundedSemaphore(self.workers)
        self._running: _Running | None = None

    def _ask(self, gold: str, answer: str) -> Ruling:
        with self._places:
            for _ in range(2):
                running = self._current()
                try:
                    return running.ask(gold, answer, timeout=self._timeout)
                except _BrokenPoolError as error:
                    logger.warning("the process that judges answers is started anew: %s", error)
                    self._discard(running)
        raise RuntimeError("the process that judges answers does not run; see the log for its error")

    def _current(self) -> "_Running":
        with self._lock:
            if self._running is None:
                self._running = _Running(workers=self.workers, memory=self._memory)
            return self._running

    def _discard(self, running: "_Running") -> None:
        with self._lock:
            if self._running is running:
                self._running = None
        running.end()


class _BrokenPoolError(Exception):
    """The pool cannot answer; no verdict on the answer."""


@dataclass(slots=True, kw_only=True)
class _Running:
    """One pool and the thread that keeps it.

    A parent's death signal is sent when the *thread* that started the child ends, so the pool is started by a thread
    that lives as long as the pool does.
    """

    workers: int
    memory: int
    _pool: ProcessPool = field(init=False)
    _started: threading.Event = field(init=False, default_factory=threading.Event)
    _ended: threading.Event = field(init=False, default_factory=threading.Event)
    _keeper: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._pool = ProcessPool(
            max_workers=self.workers + SPARE,
            max_tasks=ANSWERS_PER_PROCESS,
            initializer=_prepare_process,
            initargs=(os.getpid(), self.memory),
            context=multiprocessing.get_context("spawn"),
        )
        self._keeper = threading.Thread(target=self._keep, name="answer-judge", daemon=True)
        self._keeper.start()
        self._started.wait(START_LIMIT)

    def _keep(self) -> None:
        try:
            assert self._pool.active  # reading this starts the pool
        finally:
            self._started.set()
        self._ended.wait()
        self._pool.stop()
        self._pool.join()

    def end(self) -> None:
        """Ends the processes."""
        self._ended.set()
        self._keeper.join(START_LIMIT)

    def ask(self, gold: str, answer: str, *, timeout: float) -> Ruling:
        """One question; a process that was ended means no.

        Raises:
            _BrokenPoolError: The pool is out of order.
        """
        stalled = STALLED + 20 * timeout
        try:
            future = self._pool.schedule(_settle_within, args=(gold, answer, timeout), timeout=stalled)
        except RuntimeError as error:
            raise _BrokenPoolError(str(error)) from error
        self._wait(future, stalled + START_LIMIT)
        error = future.exception()
        if error is None:
            return future.result(), VerdictPath.MATH_VERIFY
        if isinstance(error, BrokenProcessPool):
            raise _BrokenPoolError(str(error)) from error
        if isinstance(error, TimeoutError) or (isinstance(error, ProcessExpired) and error.exitcode == -signal.SIGPROF):
            return False, VerdictPath.TIMEOUT
        if isinstance(error, ProcessExpired | MemoryError | RecursionError):
            return False, VerdictPath.CRASH
        logger.warning("math-verify failed on the answer %.256r, which counts as wrong", answer, exc_info=error)
        return False, VerdictPath.ERROR

    def _wait(self, future: Future[bool], limit: float) -> None:
        deadline = time.monotonic() + limit
        while not future.done():
            try:
                future.exception(timeout=0.5)
            except TimeoutError:
                # A pool that breaks between two questions forgets the next one.
                if not self._pool.active or time.monotonic() > deadline:
                    raise _BrokenPoolError("no answer from the process") from None


def _settle_within(gold: str, answer: str, seconds: float) -> bool:
    """Settles a question in the judging process, which ends by SIGPROF once that has taken its processor time."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return settle(gold, answer)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _prepare_process(parent: int, memory: int) -> None:
    """Ties a new judging process to its parent, warms it up and limits its memory."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it died before the signal was arranged
        os._exit(1)
    # The pool's handler is Python code, which a long computation in C keeps waiting.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    math_verify_equal("x+1", "2x")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
