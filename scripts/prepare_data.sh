#!/usr/bin/env bash
# Brings training sets and benchmarks into data/ as parquet in verl's layout.
#
#   bash scripts/prepare_data.sh [list | prepare | download | verify] [SET|GROUP]... [--from DIR] [--output data] [--force]
#
# Without a command it prepares. Sets, licences and machines without internet: docs/data.md. Settings: see scripts/setup.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh
exec "${TREEPO_VENV:-.venv}/bin/python" -m treepo.datasets "$@"
