"""Where source files come from: the protocol, and a folder laid out as the hub's repositories are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from treepo.datasets.errors import DataError
from treepo.datasets.spec import COMMIT, SetSpec


class Source(Protocol):
    """Hands out a set's source files."""

    def resolve(self, spec: SetSpec, revision: str) -> str | None:
        """The commit that a revision stands for, None where the source does not know.

        Raises:
            DataError: There is no such repository or revision.
        """
        ...

    def fetch(self, spec: SetSpec, file: str, revision: str | None) -> Path:
        """A file of the set's repository at a commit that `resolve` gave.

        Raises:
            DataError: There is no such file.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSource:
    """A folder with one folder per repository: ``FOLDER/OWNER/NAME/FILE``.

    ``python -m treepo.datasets download`` and ``hf download --local-dir FOLDER/OWNER/NAME`` write it so, and note
    the commit beside the files.
    """

    folder: Path

    def resolve(self, spec: SetSpec, revision: str) -> str | None:
        """The commit that the download noted; None where the files were put there by hand.

        Raises:
            DataError: The repository is not there, or its files are of several commits or of another than asked for.
        """
        root = self.folder / spec.repository
        if not root.is_dir():
            raise DataError(f"{spec.name}: --from {self.folder} has no folder {spec.repository}; see docs/data.md")
        commits = {commit for file in spec.files if (commit := _noted_commit(root, file)) is not None}
        if len(commits) > 1:
            raise DataError(
                f"{spec.name}: {root} holds files of several revisions ({', '.join(sorted(commits))}); download it anew"
            )
        commit = next(iter(commits), None)
        if commit is not None and COMMIT.fullmatch(revision) and commit != revision:
            raise DataError(
                f"{spec.name}: {root} holds revision {commit}, wanted {revision}; download that one, or take this one "
                f"with --revision {spec.name}={commit}"
            )
        return commit

    def fetch(self, spec: SetSpec, file: str, revision: str | None) -> Path:
        """The file's path in the folder."""
        path = self.folder / spec.repository / file
        if not path.is_file():
            raise DataError(f"{spec.name}: --from {self.folder} lacks {spec.repository}/{file}; see docs/data.md")
        return path


def _noted_commit(root: Path, file: str) -> str | None:
    # huggingface_hub's note of a download into a folder: commit, ETag and time, a line each.
    note = root / ".cache" / "huggingface" / "download" / f"{file}.metadata"
    if not note.is_file():
        return None
    commit = note.read_text(encoding="utf-8").partition("\n")[0].strip()
    return commit if COMMIT.fullmatch(commit) else None
