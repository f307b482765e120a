"""verl's FSDP2 engine and the packed one on one device, on the same rows: `python -m benchmarks.engine_check`.

Tiny random models, several updates in float32 and bfloat16. Fails where the two are further apart than rounding
explains, which is measured beside it: what verl's own engine in bfloat16 differs from itself in float32 by.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

KINDS = ("qwen2", "qwen3")


def main() -> int:
    """Prints a table per kind of model, writes ``engine_check.json``, and fails where a bound is exceeded."""
    parser = argparse.ArgumentParser(description="exactness of the packed engine against verl's own, on one device")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--rounds", type=int, default=2, help="random trees of each case")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--output", type=Path, default=Path("outputs/engine_check"))
    options = parser.parse_args()
    if options.device == "cpu":
        # Before anything imports verl.
        os.environ |= {"VERL_PLATFORM": "cpu", "VERL_ENGINE_DEVICE": "cuda"}
        os.environ["VERL_USE_EXTERNAL_MODULES"] = "treepo.verl.cpu"
    import torch

    from benchmarks.engine_passes import exceeded, table, worst_errors

    # Models this small gain nothing from more, and lose where the processor is shared.
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    name = torch.cuda.get_device_name(0) if options.device == "cuda" else "cpu"
    found: dict[str, Any] = {"device": name, "torch": torch.__version__}
    complaints: list[str] = []
    for kind in options.kinds:
        begin = time.perf_counter()
        print(f"{kind}, {name}", flush=True)
        errors = dict(worst_errors(options.rounds, kind=kind))
        print("\n".join(table(errors.items())), flush=True)
        complaints += [f"{kind}, {line}" for line in exceeded(errors)]
        found[kind] = {"errors": errors, "seconds": round(time.perf_counter() - begin, 1)}
        (options.output / "engine_check.json").write_text(json.dumps({**found, "exceeded": complaints}, indent=1))
    for line in complaints:
        print(f"error: {line}", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
