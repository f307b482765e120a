#!/usr/bin/env bash
# Runs a module, in the project's folder, with a Python that has what TreePO needs:
#
#   bash scripts/with_python.sh MODULE [arguments]
#   bash scripts/with_python.sh --find              prints that Python and stops
#
# Where TREEPO_VENV is set, it is that environment's and no other (a relative folder lies in the project). Otherwise it
# is the first one with verl and TreePO's own dependencies: that of the activated environment (VIRTUAL_ENV or
# CONDA_PREFIX), of .venv in the project, of the PATH. A line on stderr says which one, and what was passed over.
# Relative paths among the arguments count from the project's folder.
set -euo pipefail
from=$(pwd -P)
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    echo "error: $*" >&2
    exit 2
}

lacks() { # what a Python does not have; nothing where it has all
    "$1" - 2>/dev/null <<'PYTHON' || echo "all of it: it does not start"
import sys
from importlib.util import find_spec

NEEDED = (
    *("verl", "datasets", "httpx", "huggingface_hub", "hydra", "jinja2", "math_verify", "matplotlib", "numpy"),
    *("omegaconf", "pebble", "pyarrow", "pydantic", "yaml", "rich", "tensorboard", "typer"),
)
missing = [name for name in NEEDED if find_spec(name) is None]
if not (3, 11) <= sys.version_info[:2] <= (3, 12):
    print("version 3.11 or 3.12")
elif missing:
    print(missing[0], *([f"and {len(missing) - 1} more"] if missing[1:] else []))
PYTHON
}

unfinished() { # whether an environment is scripts/setup.sh's own, and was cut off on the way
    [[ -e $1/.treepo ]] && ! compgen -G "$1/.treepo-[cg]pu-*" >/dev/null
}

if [[ -n ${TREEPO_VENV:-} ]]; then
    candidates=("$TREEPO_VENV/bin/python3")
    [[ -x ${candidates[0]} ]] || fail "TREEPO_VENV=$TREEPO_VENV holds no environment"
else
    candidates=("${VIRTUAL_ENV:-}/bin/python3" "${CONDA_PREFIX:-}/bin/python3" "$PWD/.venv/bin/python3")
    [[ -n ${VIRTUAL_ENV:-} ]] || unset 'candidates[0]'
    [[ -n ${CONDA_PREFIX:-} ]] || unset 'candidates[1]'
    candidates+=("$(command -v python3 || true)")
fi

python="" notes=""
for candidate in "${candidates[@]}"; do
    # One that was passed over may come again as the PATH's.
    [[ -x $candidate && $notes != *"; $candidate "* ]] || continue
    if unfinished "${candidate%/bin/python3}"; then
        notes+="; $candidate is of an unfinished set-up, which bash scripts/setup.sh finishes"
        continue
    fi
    missing=$(lacks "$candidate")
    if [[ -z $missing ]]; then
        python=$candidate
        break
    fi
    notes+="; $candidate lacks $missing"
done
[[ -n $python ]] || fail "no Python here has what TreePO needs$notes; see Install in README.md"

if [[ ${1:-} == --find ]]; then
    echo "$python"
    exit
fi
[[ $from == "$(pwd -P)" ]] || notes+="; relative paths count from $PWD"
echo "[treepo] Python: $python$notes" >&2
exec "$python" -m "$@"
