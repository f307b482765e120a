#!/usr/bin/env bash
# A training on a Ray cluster that runs already.
#
#   RAY_API_SERVER_ADDRESS=http://HEAD:8265 RUN_DIR=/shared/runs/first \
#       bash scripts/cluster/ray_job_submit.sh [option=value ...]
#
#   PRESET   a preset of configs/; default qwen2_5_7b
#   PROJECT  the project's folder as the cluster's nodes see it; default the one that this script is in
#   RUN_DIR  the run's folder, on storage that all nodes share
#
# `trainer.nnodes` and `trainer.n_gpus_per_node` must fit the cluster. `ray job stop` ends it, and the same command
# resumes from the last checkpoint.
set -euo pipefail

: "${RAY_API_SERVER_ADDRESS:?set it to the address of the cluster, as http://HEAD:8265}"
: "${RUN_DIR:?set it to a folder that all nodes share}"
project=${PROJECT:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
# As one word, since Ray joins the words of the command with blanks.
command=$(printf '%q ' python -m treepo train --preset "${PRESET:-qwen2_5_7b}" \
    ++ray_kwargs.ray_init.address=auto "run_dir=$RUN_DIR" "$@")
exec ray job submit -- bash -c "cd $(printf '%q' "$project") && exec $command"
