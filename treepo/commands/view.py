"""``treepo view``: dumped trees as a page."""

from treepo.viewer.__main__ import app

__all__ = ["app"]
