#!/usr/bin/env bash
# Trains with TreePO: on one node as it stands, on many as the same command on every node.
#
#   bash recipe/treepo/run_treepo_train.sh [--preset NAME] [--model FOLDER] [--train FILE] [--val FILE] \
#       [--dry-run] [option=value ...]
#
# --help lists the options; docs/launcher.md says which variables of a scheduler are read, and which Python is taken:
# TREEPO_VENV's, else the activated environment's, else that of .venv in the project, else the PATH's. Relative paths
# count from the project's folder.
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/with_python.sh" recipe.treepo.launch "$@"
