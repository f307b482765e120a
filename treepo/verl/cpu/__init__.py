"""The CPU as a platform of verl, for training tiny models without an accelerator.

Every process of a run loads it through verl's own door, ``VERL_USE_EXTERNAL_MODULES=treepo.verl.cpu``, with
``VERL_PLATFORM=cpu``; the CPU presets in ``configs/`` set both for the whole Ray job.
"""

from treepo.verl.cpu.patches import apply_patches
from treepo.verl.cpu.platform import PlatformCPU

apply_patches()

__all__ = ["PlatformCPU"]
