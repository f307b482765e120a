"""The Hugging Face hub as a source; the only module that speaks to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import disable_progress_bars
from huggingface_hub.utils.logging import set_verbosity_error

from treepo.datasets.errors import DataError, OfflineError
from treepo.datasets.spec import COMMIT, SetSpec

_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSource:
    """Files of the hub, kept in its cache (`HF_HOME`), or in a folder that :class:`FolderSource` reads.

    A download that broke off resumes where it ended.

    Attributes:
        folder: The folder; None for the cache.
        endpoint: Address of the hub; None for `HF_ENDPOINT` or the public one.
    """

    folder: Path | None = None
    endpoint: str | None = None

    def resolve(self, spec: SetSpec, revision: str) -> str:
        """The commit of a branch or tag; a commit stands for itself, so that what is cached needs no network."""
        if COMMIT.fullmatch(revision):
            return revision
        with _explained(spec, revision):
            info = HfApi(endpoint=self.endpoint).dataset_info(spec.repository, revision=revision, timeout=_TIMEOUT_S)
        if info.sha is None:
            raise DataError(f"{spec.name}: the hub names no commit for {spec.repository} at {revision}")
        return info.sha

    def fetch(self, spec: SetSpec, file: str, revision: str | None) -> Path:
        """Downloads a file unless it is there already."""
        place: dict[str, Any] = {} if self.folder is None else {"local_dir": self.folder / spec.repository}
        with _explained(spec, revision, file):
            path = hf_hub_download(
                spec.repository, file, repo_type="dataset", revision=revision, endpoint=self.endpoint, **place
            )
        return Path(path)


@contextmanager
def _explained(spec: SetSpec, revision: str | None, file: str = "") -> Iterator[None]:
    """Quietens the client, and turns its errors into one line each."""
    disable_progress_bars()
    set_verbosity_error()
    try:
        yield
    except (OfflineModeIsEnabled, LocalEntryNotFoundError, httpx.TransportError) as error:
        cause = error.__cause__ or error
        raise OfflineError(
            f"{spec.name}: the hub cannot be reached ({type(cause).__name__}: {_line(cause)}); without internet, "
            "give the files with --from DIR, which docs/data.md describes"
        ) from error
    except GatedRepoError as error:
        raise DataError(
            f"{spec.name}: {spec.repository} is gated; accept its terms on the hub, then sign in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise DataError(f"{spec.name}: the hub has no dataset {spec.repository}, or it is private") from error
    except RevisionNotFoundError as error:
        raise DataError(f"{spec.name}: {spec.repository} has no revision {revision}") from error
    except EntryNotFoundError as error:
        raise DataError(f"{spec.name}: {spec.repository} has no file {file} at revision {revision}") from error
    except (HfHubHTTPError, OSError) as error:
        raise DataError(f"{spec.name}: {spec.repository} could not be fetched ({_line(error)}); try again") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:100]
