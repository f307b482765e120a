"""Evaluates a model: ``python -m recipe.treepo.main_eval --preset NAME [option=value ...]``, as ``treepo eval``."""

import sys

from treepo.commands import run

if __name__ == "__main__":
    sys.argv.insert(1, "eval")
    run()
