#!/usr/bin/env bash
# Trains with TreePO: on one node as it stands, on many as the same command on every node.
#
#   bash recipe/treepo/run_treepo_train.sh [--preset NAME] [--model FOLDER] [--train FILE] [--val FILE] \
#       [--dry-run] [option=value ...]
#
# --help lists the options; docs/launcher.md says which variables of a scheduler are read.
# Settings (environment variables): TREEPO_VENV, folder of the environment; default .venv in the project, else the
# python3 of the PATH.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python="${TREEPO_VENV:-.venv}/bin/python"
if [[ ! -x $python ]]; then
    if [[ -n ${TREEPO_VENV:-} ]]; then
        echo "error: TREEPO_VENV=$TREEPO_VENV holds no environment" >&2
        exit 2
    fi
    python=$(command -v python3) || { echo "error: there is no python3; see README.md for how to install" >&2; exit 2; }
fi
exec "$python" -m recipe.treepo.launch "$@"
