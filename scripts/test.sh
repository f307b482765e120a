#!/usr/bin/env bash
# Sets up if needed, then runs every check: ruff, pyright, and pytest from unit to end to end.
#
#   bash scripts/test.sh [pytest arguments]
#
# It runs in the environment of scripts/setup.sh, whatever else is activated; settings as there, and
#   TREEPO_TEST_PROCESSES  how many processes run tests side by side; default 2, 0 for none beside pytest's own
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh --dev
VIRTUAL_ENV=$(cd "${TREEPO_VENV:-.venv}" && pwd)
PATH="$VIRTUAL_ENV/bin:$PATH"
export VIRTUAL_ENV PATH

echo "[test] ruff"
ruff check .
ruff format --check -q .
echo "[test] pyright"
pyright --pythonpath "$VIRTUAL_ENV/bin/python"
python tests/support/pages/chromium.py # for the report's page; without one its tests in a browser are skipped
echo "[test] pytest"
# Two processes, a file of tests each: most of a test on the real stack is imports on one core. In the order of the
# folders, so that the long ones come first.
exec python -m pytest -n "${TREEPO_TEST_PROCESSES:-2}" --dist loadfile --no-loadscope-reorder "$@"
