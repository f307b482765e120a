"""One node's launch from start to end."""

import signal
from contextlib import ExitStack

from treepo.config import ConfigError
from treepo.launch.nodes.errors import Interrupted, LaunchError
from treepo.launch.nodes.head import Head
from treepo.launch.nodes.job import Launch
from treepo.launch.nodes.loop import Loop
from treepo.launch.nodes.run_folder import RunFolder
from treepo.launch.nodes.worker import Worker
from treepo.processes import adopt_orphans, end_descendants

FAILED, REFUSED, INTERRUPTED = 1, 2, 130
_LAST_SECONDS = 5.0


def run(launch: Launch) -> int:
    """Runs this node's part, and leaves no process behind.

    Returns:
        The exit status, the same on every node: the job's own; 1 where the cluster failed, 2 where something was
        refused before the start, 130 after a signal.

    Raises:
        ConfigError: The run's folder is refused.
    """
    adopt_orphans()
    folder = RunFolder(launch.job.run_dir, rank=launch.cluster.rank)
    # Until one knows better: an error of the launcher itself.
    status, why = FAILED, "the launcher of another node failed"
    with ExitStack() as held, Loop() as loop:
        node = (Worker if launch.cluster.rank else Head)(launch, folder, loop, held)
        try:
            status = node.run()
            why = f"the job ended with status {status}" if status else ""
        except (ConfigError, LaunchError) as error:
            status, why = (REFUSED if isinstance(error, ConfigError) else FAILED), str(error)
            folder.say(f"error: {why}", error=True)
        except Interrupted as signalled:
            status, why = INTERRUPTED, f"interrupted by {signal.Signals(signalled.number).name}"
            folder.say(f"{why}; {launch.job.resumes}")
        finally:
            try:
                node.finish(status, why)
            finally:
                end_descendants(seconds=_LAST_SECONDS)
    folder.say(f"ended with status {status}")
    return status
