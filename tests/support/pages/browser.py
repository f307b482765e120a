"""Drives a headless Chromium over its DevTools pipe: https://chromedevtools.github.io/devtools-protocol/."""

import base64
import json
import os
import select
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chromium import Chromium

WAIT = 60.0
# The page is ours and offline. A sandbox needs rights that containers often lack.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
)


class Tab:
    """One page in the browser."""

    def __init__(self, pipe: "_Pipe", session: str) -> None:
        self._pipe = pipe
        self._session = session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol."""
        return self._pipe.call(method, parameters, self._session)

    def open(self, page: Path) -> None:
        """Opens a file and waits until its script has run."""
        self.call("Page.enable")
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.until("document.readyState === 'complete' && location.protocol === 'file:'")

    def requested(self) -> list[str]:
        """The addresses that the page has asked for."""
        sent = (event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent")
        return [parameters["request"]["url"] for parameters in sent]

    def complaints(self) -> list[object]:
        """What the browser has to say against the page: errors, refused scripts, requests for no local file."""
        wrong = [
            event["params"] for event in self.events if event["method"] in {"Runtime.exceptionThrown", "Log.entryAdded"}
        ]
        return [*wrong, *(url for url in self.requested() if not url.startswith(("file:", "about:")))]

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; fails where it throws."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Waits until an expression in the page is true."""
        limit = time.monotonic() + WAIT
        while not self.evaluate(condition):
            assert time.monotonic() < limit, f"never true: {condition}"
            time.sleep(0.02)

    def screenshot(self, path: Path) -> None:
        """Saves what is seen as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    @property
    def events(self) -> list[dict[str, Any]]:
        """All that the browser has told about this page so far."""
        return [event for event in self._pipe.events if event.get("sessionId") == self._session]

    def forget(self) -> None:
        """Drops the events so far."""
        self._pipe.events = [event for event in self._pipe.events if event.get("sessionId") != self._session]


class _Pipe:
    """Messages end with a zero byte. The browser ends when the pipe does."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._buffer = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, parameters: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        os.write(self._to, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        limit = time.monotonic() + WAIT
        while (answer := self._next(limit)).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _next(self, limit: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(0.0, limit - time.monotonic()))
            assert ready, "Chromium does not answer"
            data = os.read(self._from, 1 << 20)
            assert data, "Chromium has ended"
            self._buffer += data
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)


@contextmanager
def open_tab(chromium: Chromium) -> Iterator[Tab]:
    """A fresh browser with one empty page; it is gone at the end."""
    browser_reads, we_write = os.pipe()
    we_read, browser_writes = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, tempfile.TemporaryFile() as log:
        command = [
            str(chromium.program),
            *FLAGS,
            f"--user-data-dir={profile}",
            "--remote-debugging-pipe",
            "about:blank",
        ]
        # The protocol's ends are descriptors 3 and 4 of the browser.
        process = subprocess.Popen(
            ["bash", "-c", f"exec {shlex.join(command)} 3<&{browser_reads} 4>&{browser_writes}"],
            pass_fds=(browser_reads, browser_writes),
            env=chromium.environment() | {"HOME": profile},
            stdout=log,
            stderr=log,
        )
        os.close(browser_reads)
        os.close(browser_writes)
        pipe = _Pipe(we_write, we_read)
        try:
            target = pipe.call("Target.createTarget", {"url": "about:blank"})["targetId"]
            session = pipe.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
            yield Tab(pipe, session)
        except AssertionError as error:
            log.seek(0)
            error.add_note(log.read().decode(errors="replace")[-3000:])
            raise
        finally:
            os.close(we_write)
            os.close(we_read)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
