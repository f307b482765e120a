"""vLLM's worker on a CPU, made to take new weights.

Named by ``actor_rollout_ref.rollout.engine_kwargs.vllm.worker_extension_cls`` in the CPU presets.
"""

from typing import Any

from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension

from treepo.verl.cpu.patches import keep_plain_weights


class CPUWorkerExtension(vLLMColocateWorkerExtension):
    """verl's worker extension, with linear layers that keep their weights."""

    def __new__(cls, **kwargs: Any) -> "CPUWorkerExtension":
        """Replaces the layers' dispatch before vLLM builds the model."""
        keep_plain_weights()
        return super().__new__(cls, **kwargs)
