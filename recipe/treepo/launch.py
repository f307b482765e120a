"""Launches a training on one node or many: ``python -m recipe.treepo.launch [--preset NAME] [option=value ...]``."""

import sys

from treepo.launch.command import main
from treepo.processes import outlive_readers

if __name__ == "__main__":
    outlive_readers()
    sys.exit(main([sys.executable, "-m", "recipe.treepo.main_treepo"]))
