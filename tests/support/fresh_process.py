"""Code in a process of its own that has imported neither verl nor vLLM, and yet starts without waiting for PyTorch.

What a patch or a plugin does to a process shows only in a fresh one, and most of the time of importing verl goes to
PyTorch and transformers. They are imported once, and every process is a fork of the one that has them.
"""

import contextlib
import io
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

_SECONDS = 1200.0


@dataclass(frozen=True)
class Printed:
    """What the code printed."""

    out: str
    err: str

    @property
    def last(self) -> str:
        return self.out.splitlines()[-1]


def run_fresh(
    code: str,
    *,
    path: Sequence[str] = (),
    without: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Printed:
    """Runs code in a fresh process.

    Args:
        code: Python statements.
        path: Folders that come first on the module search path.
        without: Environment variables that the code does not see.
        environment: Environment variables that the code sees beside this process's.

    Raises:
        Exception: Whatever the code raised.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torch._dynamo", "transformers", "tensordict", "ray"])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_run, code, list(path), list(without), dict(environment or {})).result(timeout=_SECONDS)


def _run(code: str, path: list[str], without: list[str], environment: dict[str, str]) -> Printed:
    for name in without:
        os.environ.pop(name, None)
    os.environ.update(environment)
    sys.path[:0] = path
    os.chdir("/")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        exec(compile(code, "<code>", "exec"), {"__name__": "__fresh__"})
    return Printed(out.getvalue(), err.getvalue())
