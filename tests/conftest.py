"""The platform of all tests, chosen before anything imports verl: the CPU, or scripts/gpu_check.sh's accelerator."""

import os

if os.environ.get("TREEPO_TEST_DEVICE", "cpu") == "cpu":
    os.environ.update(
        {"VERL_PLATFORM": "cpu", "VERL_ENGINE_DEVICE": "cuda", "VERL_USE_EXTERNAL_MODULES": "treepo.verl.cpu"}
    )
os.environ.update({"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "RAY_USAGE_STATS_ENABLED": "0"})
