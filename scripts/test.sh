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
#   TREEPO_TEST_PROCESSES  how many processes run the unit tests, beside the one of the tests on the real stack; default 2
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

lint() {
    echo "[test] ruff"
    ruff check .
    ruff format --check -q .
    echo "[test] pyright"
    pyright --pythonpath "$VIRTUAL_ENV/bin/python"
}
run() {
    echo "[test] pytest $*"
    python -m pytest "${marked[@]}" "$@"
}
python tests/support/pages/chromium.py # for the report's page; without one its tests in a browser are skipped
if (($#)); then
    lint
    exec python -m pytest "${marked[@]}" "$@"
fi

# The tests on the real stack start many processes, one after the other, and leave a core free for half of their time: the
# rest runs beside them. They themselves run one at a time, each folder by itself, since the servers of the contract tests
# stay until its end.
stack() {
    # pytest ends tidily on Ctrl-C, and bash would go on with the next folder.
    trap 'exit 130' INT
    local failed=0
    run tests/contract || failed=1
    run tests/e2e || failed=1
    return "$failed"
}
printed=$(mktemp)
# A process group of its own: Ctrl-C is handed on below, so that what the tests have started ends with them.
set -m
stack </dev/null >"$printed" 2>&1 &
beside=$!
set +m
end_stack() {
    if [[ -n $beside ]]; then
        kill -INT -- "-$beside" && wait "$beside" || true
    fi
    cat "$printed"
    rm -f "$printed"
}
trap end_stack EXIT
trap 'exit 130' INT
echo "[test] tests/contract and tests/e2e run beside the others and are printed behind them; until then in $printed"
lint
failed=0
run -n "${TREEPO_TEST_PROCESSES:-2}" --dist loadfile tests/unit tests/golden tests/seams || failed=1
wait "$beside" || failed=1
beside=
exit "$failed"
