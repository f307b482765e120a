"""The package's warnings are written once, whatever becomes of the root logger."""

import logging
import subprocess
import sys

from treepo.logs import show_warnings

# As `model_hosting_container_standards`, which vLLM's server imports, does to the root logger.
RAISED = """
import logging
logging.basicConfig(format="root: %(message)s", level=logging.WARNING)
import treepo
root = logging.getLogger()
root.setLevel(logging.ERROR)
for handler in root.handlers:
    handler.setLevel(logging.ERROR)
logger = logging.getLogger("treepo.anywhere")
logger.warning("a warning")
logger.info("a detail")
logger.error("an error")
logging.getLogger("other").warning("not ours")
"""


def stderr(code: str) -> list[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.splitlines()


def test_a_warning_is_written_once_where_the_root_leaves_it_out_and_an_error_by_the_root_alone() -> None:
    lines = stderr(RAISED)
    assert len(lines) == 2
    assert lines[0].startswith("WARNING:")
    assert lines[0].endswith("treepo.anywhere: a warning")
    assert lines[1] == "root: an error"


def test_where_the_root_takes_warnings_they_are_written_by_it_alone() -> None:
    code = (
        "import logging, treepo\nlogging.basicConfig(format='root: %(message)s')\n"
        "logging.getLogger('treepo.x').warning('a warning')"
    )
    assert stderr(code) == ["root: a warning"]


def test_a_level_that_the_user_has_set_is_kept_and_the_handler_is_added_once() -> None:
    logger = logging.getLogger("treepo_of_a_test")
    logger.setLevel(logging.ERROR)
    for _ in range(2):
        show_warnings("treepo_of_a_test")
    assert logger.level == logging.ERROR
    assert len(logger.handlers) == 1


def test_the_packages_logger_is_ready_once_it_is_imported() -> None:
    assert logging.getLogger("treepo").isEnabledFor(logging.WARNING)
    assert not logging.getLogger("treepo").isEnabledFor(logging.INFO)
