"""Launches an evaluation: ``python -m recipe.treepo.launch_eval [--preset NAME] [option=value ...]``."""

import sys

from treepo.launch.evaluation import main

if __name__ == "__main__":
    sys.exit(main([sys.executable, "-m", "recipe.treepo.main_eval"]))
