#!/usr/bin/env bash
# Evaluates a model: on one node as it stands, on many as the same command on every node.
#
#   MODEL_PATH=/path/to/model BENCHMARKS="aime_2024 math_500" N=16 TEMPERATURE=0.6 \
#       bash recipe/treepo/run_treepo_eval.sh [--preset NAME] [--sampling independent|tree|both] [--divergence 2 ...] \
#       [--dry-run] [option=value ...]
#
# It is `treepo launch eval`; --help lists the options and the variables that stand for some. In TreePO's checkout
# scripts/with_python.sh finds the Python (TREEPO_VENV's, else the activated environment's, else that of .venv in the
# project, else the PATH's), and relative paths count from the project's folder. Elsewhere it is the python3 at hand,
# and they count from where you are.
set -euo pipefail
finder=$(dirname "${BASH_SOURCE[0]}")/../../scripts/with_python.sh
if [[ -f $finder ]]; then
    exec bash "$finder" treepo launch eval "$@"
fi
exec python3 -m treepo launch eval "$@"
