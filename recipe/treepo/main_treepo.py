"""Trains with TreePO: ``python -m recipe.treepo.main_treepo --preset NAME [option=value ...]``, as ``treepo train``."""

import sys

from treepo.commands import run

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    run()
