#!/usr/bin/env bash
# From a bare machine to a model trained by TreePO: sets up, then makes a task and a tiny model, trains it, evaluates
# it, and reports.
#
#   bash scripts/quickstart.sh [--seed N] [--out FOLDER] [treepo.max_divergence=3 treepo.segment_length=32 ...]
#
# It runs in the environment of scripts/setup.sh, whatever else is activated. A second call starts at once. A relative
# FOLDER lies in the project. Settings: see scripts/setup.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh
exec "${TREEPO_VENV:-.venv}/bin/python" -m treepo quickstart "$@"
