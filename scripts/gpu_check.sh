#!/usr/bin/env bash
# Checks the rollout on one machine with an accelerator, without a network, from wheels brought along.
#
#   bash scripts/gpu_check.sh [--wheels DIR] [--output DIR] [--small]
#
#   --wheels DIR   wheels of the GPU set, of TreePO's own dependencies and of what the tests need, from
#                    pip wheel -w DIR -c constraints/gpu.txt -c constraints/dev.txt ".[gpu,dev]"
#                  without those of torch where the machine has its own; installed without resolving into a folder of
#                  their own, over what the machine's Python has. Without --wheels that Python must have all of it:
#                    pip install -c constraints/gpu.txt -c constraints/dev.txt -e ".[gpu,dev]"
#   --output DIR   where logs, tables and plots go; default outputs/gpu_check
#   --small        the same steps in their small profile on the CPU, to see that they run
#
# Steps, each under a limit, each with a log of its own; one that fails does not keep the others from running:
#   1. contract   the engine's contract suite, portable and in-engine, with faults and pauses
#   2. rollout    benchmarks.rollout at Qwen2.5-7B's shape without weights
#   3. update     benchmarks.update at the shapes of Qwen2.5-0.5B, 1.5B and 7B without weights
#   4. train      four training steps of a tiny model through verl, and that vLLM serves what was trained
# Settings (environment variables):
#   TREEPO_PYTHON             the Python to use; default python3
#   TREEPO_ATTENTION_BACKEND  vLLM's attention backend, as TRITON_ATTN where its flash-attention kernels were left out
#   TREEPO_STEP_SECONDS       limit of each step; default 7200
#   TREEPO_REPEATS            measurements per arm and cell of the benchmarks; default 1
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

wheels="" output=outputs/gpu_check device=cuda profile=gpu_check updates=gpu
while (($#)); do
    case $1 in
    --wheels) wheels=${2:?--wheels needs a folder} && shift ;;
    --output) output=${2:?--output needs a folder} && shift ;;
    --small) device=cpu profile=smallest updates=smallest ;;
    *)
        echo "error: $1 is not an option; there are --wheels, --output and --small" >&2
        exit 2
        ;;
    esac
    shift
done
python=${TREEPO_PYTHON:-python3}
limit=${TREEPO_STEP_SECONDS:-7200}
mkdir -p "$output"
output=$(cd "$output" && pwd)

if [[ -n $wheels ]]; then
    [[ -d $wheels ]] || { echo "error: --wheels $wheels is no folder" >&2 && exit 2; }
    echo "[gpu_check] installing the wheels of $wheels"
    "$python" -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$output/site" "$wheels"/*.whl
    rm -rf "$output/site/treepo" # what is checked is the checkout, not a wheel of it
    export PYTHONPATH="$output/site${PYTHONPATH:+:$PYTHONPATH}"
fi
missing=$("$python" - <<'PYTHON'
from importlib.util import find_spec

NEEDED = (
    *("torch", "transformers", "vllm", "ray", "verl", "tensordict", "transfer_queue"),
    *("datasets", "httpx", "huggingface_hub", "hydra", "jinja2", "math_verify", "matplotlib", "numpy", "omegaconf"),
    *("pebble", "pyarrow", "pydantic", "yaml", "rich", "tensorboard", "typer"),
    *("hypothesis", "pytest", "pytest_asyncio", "pytest_timeout"),
)
print(*(name for name in NEEDED if find_spec(name) is None))
PYTHON
)
[[ -z $missing ]] || {
    echo "error: $python lacks $missing; the head of scripts/gpu_check.sh says how to install them" >&2
    exit 2
}
if [[ $device == cuda ]]; then
    "$python" -c 'import torch; raise SystemExit(not torch.cuda.is_available())' || {
        echo "error: torch sees no accelerator here; --small runs the same steps on the CPU" >&2
        exit 2
    }
    "$python" -c 'import torch; print("[gpu_check] on", torch.cuda.get_device_name(0), "with torch", torch.__version__)'
fi

engine=()
[[ -n ${TREEPO_ATTENTION_BACKEND:-} ]] &&
    engine=("+actor_rollout_ref.rollout.engine_kwargs.vllm.attention_backend=$TREEPO_ATTENTION_BACKEND")
failed=()

step() { # NAME COMMAND...
    local name=$1
    shift
    echo "[gpu_check] $name: $output/$name.log"
    if timeout --kill-after=30 "$limit" "$@" >"$output/$name.log" 2>&1; then
        echo "[gpu_check] $name: passed"
    else
        echo "[gpu_check] $name: FAILED with status $?; the last lines:" >&2
        tail -n 15 "$output/$name.log" >&2
        failed+=("$name")
    fi
}

TREEPO_TEST_DEVICE=$device TREEPO_TEST_OVERRIDES="${engine[*]:-}" step contract \
    "$python" -m pytest -q -p no:cacheprovider tests/contract/test_engine_contract.py tests/contract/test_tree_server.py
step rollout "$python" -m benchmarks.rollout --profile "$profile" --repeats "${TREEPO_REPEATS:-1}" \
    --output "$output/rollout" \
    --models "$output/models" ${engine[@]+--override "${engine[@]}"}
step update "$python" -m benchmarks.update --profile "$updates" --repeats "${TREEPO_REPEATS:-1}" --output "$output/update"
TREEPO_TEST_DEVICE=$device TREEPO_TEST_OVERRIDES="${engine[*]:-}" step train \
    "$python" -m pytest -q -p no:cacheprovider tests/e2e/test_training.py -k "every_step or after_an_update"

if ((${#failed[@]})); then
    echo "[gpu_check] failed: ${failed[*]}" >&2
    exit 1
fi
echo "[gpu_check] all steps passed; tables: $output/rollout/rollout.md, $output/update/update.md"
