# TreePO's pinned CPU set, for the quickstart and the tests:
#
#   docker build -f scripts/docker/cpu.Dockerfile -t treepo:cpu .
#   docker run --rm --shm-size=2g -v "$PWD/outputs:/opt/treepo/outputs" treepo:cpu
FROM python:3.11-slim

# Torch compiles kernels for vLLM's CPU build.
RUN apt-get update && apt-get install -y --no-install-recommends g++ git && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/treepo
COPY . .
RUN bash scripts/setup.sh
CMD ["bash", "scripts/quickstart.sh"]
