"""Launches an evaluation: ``python -m recipe.treepo.launch_eval [--preset NAME] [option=value ...]``."""

import sys

from treepo.launch.evaluation import main
from treepo.processes import outlive_readers

if __name__ == "__main__":
    outlive_readers()
    sys.exit(main([sys.executable, "-m", "recipe.treepo.main_eval"]))
