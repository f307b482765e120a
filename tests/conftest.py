"""The platform of all tests, chosen before anything imports verl: the CPU, or scripts/gpu_check.sh's accelerator."""

import os
import signal

from examples import examples
from hypothesis import settings

if os.environ.get("TREEPO_TEST_DEVICE", "cpu") == "cpu":
    os.environ.update(
        {"VERL_PLATFORM": "cpu", "VERL_ENGINE_DEVICE": "cuda", "VERL_USE_EXTERNAL_MODULES": "treepo.verl.cpu"}
    )
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update({"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "RAY_USAGE_STATS_ENABLED": "0"})

# A shell's background job ignores Ctrl-C, and so would everything that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says nothing on a busy machine.
settings.register_profile("unhurried", deadline=None, max_examples=examples(40))
settings.load_profile("unhurried")
