# TreePO on verl's image for vLLM, which holds torch, vLLM and flash-attn and leaves verl to be installed:
#
#   docker build -f scripts/docker/gpu.Dockerfile --build-arg VERL_IMAGE=verlai/verl:<tag> -t treepo:gpu .
#
# Take a tag (https://hub.docker.com/r/verlai/verl) with the vLLM of constraints/gpu.txt.
ARG VERL_IMAGE
FROM ${VERL_IMAGE}

WORKDIR /treepo
COPY . .
# verl without its dependencies, which the image brings in versions that fit each other; then ours.
RUN pip install --no-cache-dir --no-deps "$(grep '^verl==' constraints/gpu.txt)" "$(grep '^transferqueue==' constraints/gpu.txt)" \
    && pip install --no-cache-dir -e . \
    && python -c "from importlib.metadata import version; import torch, vllm, verl, treepo; print(version('verl'))"
