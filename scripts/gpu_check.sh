#!/usr/bin/env bash
# Checks TreePO on one machine with one GPU, without a network: three stages, each of which stands alone.
#
#   bash scripts/gpu_check.sh [packing] [engine] [rollout] [--wheels DIR] [--output DIR] [--large] [--small]
#
#   packing   packed attention, models and FSDP2 against float64 and row by row; speed and memory. Needs torch and
#             transformers alone; within 6 minutes
#   engine    verl's FSDP2 engine and the packed one on the same rows: tests, exactness, seconds; Qwen2 and Qwen3. Needs
#             verl and Ray's client, not vLLM; within 8 minutes
#   rollout   vLLM: the engines' contract suite in float32 without graphs; then, as production runs, in bfloat16 with CUDA
#             graphs and flash attention, on Qwen2 and on Qwen3 (vLLM's second model runner), but for the tests that need
#             trees equal to the last bit; a small benchmark in bfloat16; four training steps, and that vLLM serves what
#             was trained; within 15 minutes
#
#   Without a stage all three run, one after the other. A stage says what it took, and ends its steps at its limit.
#   --wheels DIR   installs the wheels of a folder, without resolving, into a folder of its own over what the machine's
#                  Python has; without it that Python must have all that the stages need:
#                    bash scripts/setup.sh --gpu --dev && source .venv-gpu/bin/activate
#                  Wheels for another machine, of its Python's version and without what it has:
#                    pip download --no-deps --only-binary=:all: --python-version 3.12 \
#                      --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 -d DIR NAME==VERSION ...
#                  Of vLLM's compiled attention keep _vllm_fa3_C on Hopper, _vllm_fa2_C elsewhere: vLLM 0.24 cannot be
#                  imported without either.
#   --output DIR   where logs, tables, plots and steps.jsonl go; default outputs/gpu_check
#   --large        adds the benchmarks' profiles `gpu`, which take hours, and lifts the limits
#   --small        the same steps in their small sizes on the CPU, to see that they run
#
# A step that fails does not keep the others from running. Settings (environment variables):
#   TREEPO_PYTHON         the Python to use; default python3
#   TREEPO_STAGE_SECONDS  the limit of each stage instead of its own
#   TREEPO_REPEATS        measurements per arm and cell of the benchmarks; default 2
#   TREEPO_ATTENTION_BACKEND  vLLM's attention backend, instead of the one that it chooses
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

wheels="" output=outputs/gpu_check device=cuda large="" stages=()
while (($#)); do
    case $1 in
    packing | engine | rollout) stages+=("$1") ;;
    --wheels) wheels=${2:?--wheels needs a folder} && shift ;;
    --output) output=${2:?--output needs a folder} && shift ;;
    --large) large=yes ;;
    --small) device=cpu ;;
    *)
        echo "error: $1 is neither a stage (packing, engine, rollout) nor an option (--wheels, --output, --large, --small)" >&2
        exit 2
        ;;
    esac
    shift
done
((${#stages[@]})) || stages=(packing engine rollout)
python=${TREEPO_PYTHON:-python3}
repeats=${TREEPO_REPEATS:-2}
mkdir -p "$output"
output=$(cd "$output" && pwd)
: >"$output/steps.jsonl"

if [[ -n $wheels ]]; then
    [[ -d $wheels ]] || { echo "error: --wheels $wheels is no folder" >&2 && exit 2; }
    SECONDS=0
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$output/site" \
        "$wheels"/*.whl
    rm -rf "$output/site/treepo" # what is checked is the checkout, not a wheel of it
    "$python" -m compileall -q -j 0 "$output/site" >"$output/compileall.log" || true # some wheels carry templates
    export PYTHONPATH="$output/site${PYTHONPATH:+:$PYTHONPATH}"
    echo "[gpu_check] installed the wheels of $wheels in $SECONDS s"
fi
missing=$("$python" - "${stages[@]}" <<'PYTHON'
import sys
from importlib.util import find_spec

NEEDED = {
    "packing": ("torch", "transformers", "numpy"),
    "engine": (
        *("torch", "transformers", "verl", "ray", "tensordict", "transfer_queue", "peft", "datasets", "hydra"),
        *("omegaconf", "pydantic", "pyarrow", "yaml", "psutil", "numpy", "matplotlib", "rich", "typer"),
        *("hypothesis", "pytest", "pytest_timeout"),
    ),
    "rollout": (
        *("torch", "transformers", "vllm", "ray", "verl", "tensordict", "transfer_queue"),
        *("datasets", "httpx", "huggingface_hub", "hydra", "jinja2", "math_verify", "matplotlib", "numpy", "omegaconf"),
        *("pebble", "pyarrow", "pydantic", "yaml", "rich", "tensorboard", "typer"),
        *("hypothesis", "pytest", "pytest_asyncio", "pytest_timeout"),
    ),
}
asked = dict.fromkeys(name for stage in sys.argv[1:] for name in NEEDED[stage])
print(*(name for name in asked if find_spec(name) is None))
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

step() { # STAGE NAME COMMAND...: within what is left of the stage's time
    local stage=$1 name=$2 began=$SECONDS status=0
    shift 2
    timeout --kill-after=30 $((ends > SECONDS ? ends - SECONDS : 1)) "$@" >"$output/$stage-$name.log" 2>&1 || status=$?
    printf '{"stage": "%s", "step": "%s", "status": %d, "seconds": %d}\n' \
        "$stage" "$name" "$status" $((SECONDS - began)) >>"$output/steps.jsonl"
    if ((status == 0)); then
        echo "[gpu_check] $stage, $name: passed in $((SECONDS - began)) s"
    else
        echo "[gpu_check] $stage, $name: FAILED with status $status after $((SECONDS - began)) s; the last lines:" >&2
        tail -n 15 "$output/$stage-$name.log" >&2
    fi
}

vllm=()
[[ -n ${TREEPO_ATTENTION_BACKEND:-} ]] &&
    vllm=("+actor_rollout_ref.rollout.engine_kwargs.vllm.attention_backend=$TREEPO_ATTENTION_BACKEND")
pytest=(env TREEPO_TEST_DEVICE="$device" TREEPO_TEST_OVERRIDES="${vllm[*]:-}" "$python" -m pytest -q -p no:cacheprovider)

packing() {
    local small=()
    [[ $device == cpu ]] && small=(--small)
    step packing check "$python" -m benchmarks.packing_gpu --device "$device" --output "$output/packing" "${small[@]}"
}

engine() {
    local profile=gpu_check
    [[ $device == cpu ]] && profile=smallest
    # The first two measure no time, and run side by side.
    step engine tests "${pytest[@]}" tests/contract/test_packed_engine.py &
    step engine exactness "$python" -m benchmarks.engine_check --device "$device" --rounds 1 --output "$output/engine" &
    wait
    step engine speed "$python" -m benchmarks.update --profile "$profile" --repeats "$repeats" \
        --output "$output/engine/update"
    [[ -z $large ]] || step engine large "$python" -m benchmarks.update --profile gpu --output "$output/engine/large"
}

rollout() {
    local profile=gpu_check
    [[ $device == cpu ]] && profile=smallest
    step rollout contract "${pytest[@]}" tests/contract/test_engine_contract.py tests/contract/test_tree_server.py
    # As production runs. What is batched together changes how bfloat16 rounds, so trees are not alike in every run.
    local server=actor_rollout_ref.rollout model
    local production="$server.dtype=bfloat16"
    [[ $device == cpu ]] || production+=" $server.enforce_eager=false $server.engine_kwargs.vllm.block_size=null"
    for model in qwen2 qwen3; do
        step rollout "$model" env TREEPO_TEST_DEVICE="$device" TREEPO_TEST_MODEL="$model" \
            TREEPO_TEST_OVERRIDES="$production ${vllm[*]:-}" "$python" -m pytest -q -p no:cacheprovider \
            tests/contract/test_engine_contract.py -k "not alike_in_every_run and not greedy_trees"
    done
    step rollout speed "$python" -m benchmarks.rollout --profile "$profile" --repeats "$repeats" \
        --output "$output/rollout" --models "$output/models" "${vllm[@]/#/--override=}"
    step rollout train "${pytest[@]}" tests/e2e/test_training.py -k "every_step or after_an_update"
    [[ -z $large ]] || step rollout large "$python" -m benchmarks.rollout --profile gpu \
        --output "$output/rollout/large" --models "$output/models" "${vllm[@]/#/--override=}"
}

declare -A limits=([packing]=360 [engine]=480 [rollout]=900)
for stage in "${stages[@]}"; do
    SECONDS=0
    ends=${TREEPO_STAGE_SECONDS:-${limits[$stage]}}
    # A CPU needs longer, and the large profiles take hours.
    [[ -z $large && $device == cuda || -n ${TREEPO_STAGE_SECONDS:-} ]] || ends=86400
    "$stage"
    echo "[gpu_check] $stage: $SECONDS s"
done

if grep -qv '"status": 0,' "$output/steps.jsonl"; then
    echo "[gpu_check] failed: $(grep -v '"status": 0,' "$output/steps.jsonl" | cut -d'"' -f4,8 | tr '"\n' '  ')" >&2
    exit 1
fi
echo "[gpu_check] all steps passed; tables and raw numbers: $output"
