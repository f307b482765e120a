#!/usr/bin/env bash
# Runs a module with the project's Python: bash recipe/treepo/with_python.sh MODULE [arguments]
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
exec "$python" -m "$@"
