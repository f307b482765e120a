"""Where the presets are."""

from pathlib import Path


def find_presets(package: Path) -> Path:
    """The folder of our presets: in the package where it was installed, beside it in a checkout.

    Args:
        package: The folder of ``treepo``.
    """
    # In this order: beside an installed package stand the packages of others.
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


CONFIG_DIR = find_presets(Path(__file__).resolve().parents[1])
