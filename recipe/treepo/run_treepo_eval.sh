#!/usr/bin/env bash
# Evaluates a model: on one node as it stands, on many as the same command on every node.
#
#   MODEL_PATH=/path/to/model BENCHMARKS="aime_2024 math_500" N=16 TEMPERATURE=0.6 \
#       bash recipe/treepo/run_treepo_eval.sh [--preset NAME] [--sampling independent|tree|both] [--divergence 2 ...] \
#       [--dry-run] [option=value ...]
#
# Variables that stand for options: MODEL_PATH, BENCHMARKS, DATA_DIR, N, TEMPERATURE, TOP_P, TOP_K, MAX_PROMPT_LENGTH,
# MAX_RESPONSE_LENGTH, SAMPLING, DIVERGENCES, SEED, SEEDS, LOG_PROBS, TP_SIZE, DP_SIZE, ACCELERATORS, GPU_MEMORY_UTILIZATION,
# OUTPUT. What is typed wins over them. --help lists the rest; docs/evaluation.md explains. Which Python is taken:
# TREEPO_VENV's, else the activated environment's, else that of .venv in the project, else the PATH's. Relative paths
# count from the project's folder.
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/with_python.sh" recipe.treepo.launch_eval "$@"
