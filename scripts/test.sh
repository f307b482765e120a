#!/usr/bin/env bash
# Sets up if needed, then runs ruff, pyright, and pytest from unit to end to end.
#
#   bash scripts/test.sh [--all] [pytest arguments]
#
#   --all  with the tests marked nightly: what takes minutes on the real stack each, or repeats at length what a shorter
#          test holds, and with twenty times the random examples; some hours, for every night and before a release.
#          `-m nightly` runs them alone.
#
# It runs in the environment of scripts/setup.sh, whatever else is activated; settings as there, and
#   TREEPO_TEST_PROCESSES  how many processes run the unit tests; default 2
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

marked=()
if [[ ${1:-} == --all ]]; then
    marked=(-m "nightly or not nightly")
    export HYPOTHESIS_PROFILE=nightly
    shift
fi

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
if (($#)); then
    exec python -m pytest "${marked[@]}" "$@"
fi
failed=0
run() {
    echo "[test] pytest $*"
    python -m pytest "${marked[@]}" "$@" || failed=1
}
# Unit tests wait for nothing but the processor. Those on the real stack run one at a time, as their servers and clusters
# take both cores; each folder by itself, since the servers of the contract tests stay until its end.
run -n "${TREEPO_TEST_PROCESSES:-2}" --dist loadfile tests/unit tests/golden tests/seams
run tests/contract
run tests/e2e
exit "$failed"
