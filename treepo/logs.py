"""Warnings of this package that nobody else would show.

A library that vLLM's server imports raises the root logger, and its handlers, to ERROR. A warning of ours would then
appear nowhere, so that the package's logger has a level, and a handler for what no handler of the root takes.
"""

import logging
import sys

_FORMAT = "%(levelname)s:%(asctime)s:%(name)s: %(message)s"


class _Unheard(logging.Handler):
    """Writes to stderr what no handler of the root logger takes; what one does take is not written twice."""

    def emit(self, record: logging.LogRecord) -> None:
        if any(record.levelno >= handler.level for handler in logging.getLogger().handlers):
            return
        try:
            sys.stderr.write(f"{self.format(record)}\n")
        except Exception:
            self.handleError(record)


def show_warnings(name: str) -> None:
    """Makes a package's warnings visible, whatever becomes of the root logger; to do so again changes nothing.

    Args:
        name: The package; a level that its logger has already is kept.
    """
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)
    if not any(isinstance(handler, _Unheard) for handler in logger.handlers):
        handler = _Unheard()
        handler.setFormatter(logging.Formatter(_FORMAT))
        logger.addHandler(handler)
