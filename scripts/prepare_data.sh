#!/usr/bin/env bash
# Brings training sets and benchmarks into data/ as parquet in verl's layout.
#
#   bash scripts/prepare_data.sh [list | prepare | download | verify] [SET|GROUP]... [--from DIR] [--output data] [--force]
#
# Without a command it prepares. It runs in the environment that scripts/with_python.sh finds, and makes one
# (scripts/setup.sh, with its settings) only where there is none. Relative paths count from the project's folder. Sets,
# licences and machines without internet: docs/data.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! bash scripts/with_python.sh --find >/dev/null 2>&1; then
    bash scripts/setup.sh
fi
exec bash scripts/with_python.sh treepo.datasets "$@"
