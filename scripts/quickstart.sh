#!/usr/bin/env bash
# From a bare machine to a model trained by TreePO: sets up, then makes a task and a tiny model, trains it, evaluates
# it, and reports.
#
#   bash scripts/quickstart.sh [--seed N] [--out FOLDER] [treepo.max_divergence=3 treepo.segment_length=32 ...]
#
# A second call starts at once. Settings: see scripts/setup.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh
exec "${TREEPO_VENV:-.venv}/bin/python" -m recipe.treepo.quickstart "$@"
