"""The hub as a source: revisions are pinned, every failure is one line, and the real client is spoken to rightly."""

import hashlib
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from dataset_workshop import COMMIT, Workshop
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from training_run import ROOT

from treepo.datasets.hub import HubSource
from treepo.datasets.overlap import Overlap

REQUEST = httpx.Request("GET", "https://hub.example")


def answer(status: int) -> httpx.Response:
    return httpx.Response(status, request=REQUEST)


class FakeHub:
    """Answers as the client does, from the workshop's sources."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.calls: list[tuple[str, str, str | None]] = []
        self.failure: Exception | None = None

    def dataset_info(self, repository: str, *, revision: str, timeout: float) -> Any:
        self.calls.append(("info", repository, revision))
        if self.failure is not None:
            raise self.failure
        return SimpleNamespace(sha=COMMIT)

    def download(self, repository: str, file: str, *, repo_type: str, revision: str, endpoint: str | None) -> str:
        assert repo_type == "dataset"
        self.calls.append((file, repository, revision))
        if self.failure is not None:
            raise self.failure
        return str(self.workshop.sources / repository / file)


@pytest.fixture
def hub(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub(workshop)
    monkeypatch.setattr("treepo.datasets.hub.HfApi", lambda endpoint: fake)
    monkeypatch.setattr("treepo.datasets.hub.hf_hub_download", fake.download)
    return fake


def test_a_pinned_set_is_fetched_at_its_commit_without_asking(workshop: Workshop, hub: FakeHub) -> None:
    spec = workshop.sets["aime_2024"]
    (outcome,) = workshop.prepare("aime_2024", source=HubSource())
    assert hub.calls == [(spec.files[0], spec.repository, spec.revision)]
    assert outcome.entry is not None
    assert outcome.entry.revision == spec.revision


def test_a_branch_is_resolved_once_and_its_commit_recorded(workshop: Workshop, hub: FakeHub) -> None:
    spec = workshop.sets["treepo_data"]
    (outcome,) = workshop.prepare("treepo_data", source=HubSource(), overlap=Overlap.OFF)
    assert hub.calls == [
        ("info", spec.repository, "main"),
        *((file, spec.repository, COMMIT) for file in spec.files),
    ]
    assert outcome.entry is not None
    assert outcome.entry.revision == COMMIT


def test_a_given_revision_takes_the_place_of_the_declared_one(workshop: Workshop, hub: FakeHub) -> None:
    workshop.prepare("aime_2024", source=HubSource(), revisions={"aime_2024": "v2"})
    assert [call[2] for call in hub.calls] == ["v2", COMMIT]


@pytest.mark.parametrize(
    ("failure", "line"),
    [
        (OfflineModeIsEnabled("off"), "the hub cannot be reached (OfflineModeIsEnabled: off)"),
        (httpx.ConnectError("refused"), "the hub cannot be reached (ConnectError: refused)"),
        (httpx.ReadTimeout("slow"), "the hub cannot be reached (ReadTimeout: slow)"),
        (LocalEntryNotFoundError("not cached"), "the hub cannot be reached (LocalEntryNotFoundError: not cached)"),
        (GatedRepoError("gated", response=answer(403)), "is gated; accept its terms on the hub, then sign in"),
        (RepositoryNotFoundError("none", response=answer(404)), "the hub has no dataset m-a-p/TreePO_data, or it is"),
        (RevisionNotFoundError("none", response=answer(404)), "m-a-p/TreePO_data has no revision main"),
        (HfHubHTTPError("busy\nbusy", response=answer(503)), "could not be fetched (busy busy); try again"),
    ],
)
def test_a_failure_of_the_hub_is_one_line(workshop: Workshop, hub: FakeHub, failure: Exception, line: str) -> None:
    hub.failure = failure
    refusal = workshop.refusal("treepo_data", source=HubSource())
    assert refusal.startswith("treepo_data: ")
    assert line in refusal


def test_a_missing_file_is_named_with_its_revision(workshop: Workshop, hub: FakeHub) -> None:
    hub.failure = EntryNotFoundError("404")
    spec = workshop.sets["aime_2025"]
    assert workshop.refusal("aime_2025", source=HubSource()) == (
        f"aime_2025: math-ai/aime25 has no file test.jsonl at revision {spec.revision}"
    )


def test_without_a_network_the_first_set_tells_of_from_and_the_rest_is_not_tried(
    workshop: Workshop, hub: FakeHub
) -> None:
    hub.failure = httpx.ConnectError("refused")
    (outcome,) = workshop.prepare(*workshop.sets, source=HubSource())
    assert "give the files with --from DIR" in str(outcome.error)
    assert len(hub.calls) == 1


class Repositories(http.server.BaseHTTPRequestHandler):
    """As much of the hub as the client asks for."""

    sources: Path

    def do_HEAD(self) -> None:
        self.respond(head=True)

    def do_GET(self) -> None:
        self.respond(head=False)

    def respond(self, *, head: bool) -> None:
        parts = self.path.split("?")[0].split("/")
        if parts[1:3] == ["api", "datasets"]:
            body, headers = f'{{"id": "a/b", "sha": "{COMMIT}", "siblings": []}}'.encode(), {}
        else:
            _, _, owner, name, _, commit, *file = parts
            body = (self.sources / owner / name / "/".join(file)).read_bytes()
            etag = hashlib.sha256(body).hexdigest()
            headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"'}
        self.send_response(200)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if not head:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def server(workshop: Workshop) -> Iterator[str]:
    handler = type("Handler", (Repositories,), {"sources": workshop.sources})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def command(tmp_path: Path, endpoint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home")}
    return subprocess.run(
        [sys.executable, "-m", "treepo.datasets", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_real_client_downloads_a_folder_that_prepares_without_a_network(
    workshop: Workshop, server: str, tmp_path: Path
) -> None:
    carried = tmp_path / "carried"
    fetched = command(tmp_path, server, "download", "treepo_data", "math_500", "--to", str(carried))
    assert fetched.returncode == 0, fetched.stderr
    assert f"treepo_data: {carried}/m-a-p/TreePO_data at {COMMIT[:7]}" in fetched.stdout
    options = ("--from", str(carried), "--output", str(workshop.data), "--allow-row-count", "--overlap", "off")
    prepared = command(tmp_path, "http://127.0.0.1:9", "treepo_data", "math_500", *options)
    assert prepared.returncode == 0, prepared.stderr
    assert f"treepo_data: {workshop.data}/treepo_data.parquet, 6 rows at {COMMIT[:7]}" in prepared.stdout
    assert f"math_500: {workshop.data}/math_500.parquet, 3 rows at 6e4ed1a" in prepared.stdout


def test_the_real_client_prepares_from_the_hub_and_then_from_its_cache(
    workshop: Workshop, server: str, tmp_path: Path
) -> None:
    options = ("aime_2024", "--output", str(workshop.data), "--allow-row-count")
    first = command(tmp_path, server, *options)
    assert first.returncode == 0, first.stderr
    (workshop.data / "aime_2024.parquet").unlink()
    again = command(tmp_path, "http://127.0.0.1:9", *options)
    assert again.returncode == 0, again.stderr
    assert "aime_2024.parquet, 3 rows at 2fe88a2" in again.stdout
