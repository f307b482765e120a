#!/usr/bin/env bash
# Sets up if needed, then runs every check: ruff, pyright, and pytest from unit to end to end.
#
#   bash scripts/test.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh --dev
bin="${TREEPO_VENV:-.venv}/bin"
PATH="$(cd "$bin" && pwd):$PATH"
export PATH

echo "[test] ruff"
ruff check .
ruff format --check -q .
echo "[test] pyright"
pyright --pythonpath "$bin/python"
python tests/support/chromium.py # for the report's page; without one its tests in a browser are skipped
echo "[test] pytest"
exec python -m pytest "$@"
