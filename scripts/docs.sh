#!/usr/bin/env bash
# The pages as a site, with the reference generated from the code:
#
#   bash scripts/docs.sh [mkdocs' options]        serves it at http://127.0.0.1:8000, and follows changes
#   bash scripts/docs.sh build [folder]           builds it, strictly; folder: default build/site
#
# It runs in the environment of scripts/setup.sh, with its settings. The built site can be read
# as files (index.html); its search needs a server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh --docs
# Material's advertisement of its successor.
export NO_MKDOCS_2_WARNING=1
mkdocs=("${TREEPO_VENV:-.venv}/bin/python" -m mkdocs)
if [[ ${1:-} == build ]]; then
    exec "${mkdocs[@]}" build --strict -f docs/site/mkdocs.yml -d "$(realpath -m "${2:-build/site}")"
fi
exec "${mkdocs[@]}" serve -f docs/site/mkdocs.yml "$@"
