"""How much memory a pass holds at most, by PyTorch's own count of what its allocator handed out.

Not the process' resident memory: the C library keeps freed pages, so that follows the passes before as well.
"""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.profiler import ProfilerActivity, profile


def peak_bytes(run: Callable[[], object]) -> int:
    """Most bytes of tensors that `run` holds at once, above what is held before it.

    On CUDA the allocator's own statistics; on the CPU, which keeps none, the profiler's record of every allocation.
    """
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    with TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    return _peak([event for event in events if event.get("name") == "[memory]"])


def _peak(events: list[dict[str, object]]) -> int:
    held = highest = 0
    for event in sorted(events, key=lambda event: float(str(event["ts"]))):
        arguments = event["args"]
        assert isinstance(arguments, dict)
        held += int(arguments["Bytes"])
        highest = max(highest, held)
    return highest
