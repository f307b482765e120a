"""A trainer for tests of the launcher: checks nothing, joins the Ray cluster, and holds a task on every node.

Words of its command line decide: ``trainer.experiment_name=`` one of ``works``, ``fails``, ``hangs``, ``refused``.
"""

import sys
import time

words = dict(word.lstrip("+").split("=", 1) for word in sys.argv[1:] if "=" in word)
part = words["trainer.experiment_name"]
if "--check" in sys.argv:
    if part == "refused":
        sys.stdout.write("error: the stand-in refuses\n")
    sys.exit(2 if part == "refused" else 0)

import ray  # noqa: E402

ray.init(words["ray_kwargs.ray_init.address"].strip("'"), log_to_driver=False)


@ray.remote(num_cpus=0, num_gpus=1)
class Holder:
    def place(self) -> str:
        return ray.get_runtime_context().get_node_id()


holders = [Holder.options(scheduling_strategy="SPREAD").remote() for _ in range(int(words.get("trainer.nnodes", "1")))]
places = {ray.get(holder.place.remote()) for holder in holders}  # pyright: ignore
sys.stdout.write(f"stand-in holds {len(places)} nodes\n")
sys.stdout.flush()
if part == "hangs":
    time.sleep(600)
sys.exit(7 if part == "fails" else 0)
