"""``python -m treepo`` is the command ``treepo``."""

from treepo.commands import run

if __name__ == "__main__":
    run()
