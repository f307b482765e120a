"""Launches a training on one node or many: ``python -m recipe.treepo.launch [--preset NAME] [option=value ...]``."""

import sys

from treepo.launch.command import main

if __name__ == "__main__":
    sys.exit(main([sys.executable, "-m", "recipe.treepo.main_treepo"]))
