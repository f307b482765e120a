"""The installation of this checkout as verl's plugin sees it, without installing it."""

import os
import sys
import tomllib
from pathlib import Path

from training_run import ROOT

GROUP = "verl.plugins"


def entry_points() -> dict[str, str]:
    """The plugins that the project declares."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return declared["project"]["entry-points"][GROUP]


def install_metadata(folder: Path) -> str:
    """Writes what pip would write of the entry points.

    Args:
        folder: A folder for it.

    Returns:
        The ``PYTHONPATH`` with which a process finds this checkout and its plugin.
    """
    metadata = folder / "treepo-0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: treepo\nVersion: 0\n")
    lines = [f"[{GROUP}]", *(f"{name} = {target}" for name, target in entry_points().items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return os.pathsep.join([str(folder), str(ROOT), *filter(None, sys.path)])
