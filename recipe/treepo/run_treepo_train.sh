#!/usr/bin/env bash
# Trains with TreePO: on one node as it stands, on many as the same command on every node.
#
#   bash recipe/treepo/run_treepo_train.sh [--preset NAME] [--model FOLDER] [--train FILE] [--val FILE] \
#       [--dry-run] [option=value ...]
#
# It is `treepo launch train`; --help lists the options. In TreePO's checkout scripts/with_python.sh finds the Python
# (TREEPO_VENV's, else the activated environment's, else that of .venv in the project, else the PATH's), and relative
# paths count from the project's folder. Elsewhere it is the python3 at hand, and they count from where you are.
set -euo pipefail
finder=$(dirname "${BASH_SOURCE[0]}")/../../scripts/with_python.sh
if [[ -f $finder ]]; then
    exec bash "$finder" treepo launch train "$@"
fi
exec python3 -m treepo launch train "$@"
