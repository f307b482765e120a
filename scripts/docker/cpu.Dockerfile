# TreePO's pinned CPU set, for the quickstart and the tests:
#
#   docker build -f scripts/docker/cpu.Dockerfile -t treepo:cpu .
#   docker run --rm --shm-size=2g -v "$PWD/outputs:/treepo/outputs" treepo:cpu
FROM python:3.11-slim

WORKDIR /treepo
COPY . .
RUN bash scripts/setup.sh
CMD ["bash", "scripts/quickstart.sh"]
