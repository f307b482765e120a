"""A signal ends an evaluation in order: what runs is cancelled, what is stored stays."""

import asyncio
import os
import signal

import pytest

from treepo.verl.serving.evaluation_job import _until_signalled


@pytest.mark.usefixtures("hangup_is_heard")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_the_work_and_is_an_interruption(number: signal.Signals) -> None:
    closed = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(30)
        finally:
            closed.append(True)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(_until_signalled(work()))
    assert closed == [True]


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:

        async def work() -> int:
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0.05)
            return 7

        assert asyncio.run(_until_signalled(work())) == 7
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_error_and_a_result_pass_through() -> None:
    async def fails() -> None:
        raise ValueError("of its own")

    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(ValueError, match="of its own"):
        asyncio.run(_until_signalled(fails()))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(_until_signalled(cancelled()))
