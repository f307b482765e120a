"""TreePO: tree-structured policy optimisation for language models (arXiv 2508.17445)."""

__version__ = "0.1.0"
