"""TreePO: tree-structured policy optimisation for language models (arXiv 2508.17445)."""

from treepo.logs import show_warnings

__version__ = "0.1.0"

show_warnings(__name__)
