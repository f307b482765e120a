"""A model of the hub at one commit, as a folder on this machine."""

from pathlib import Path

import httpx
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from treepo.config import ConfigError

_LEFT_OUT = ("*.pth", "*.gguf", "*.onnx", "*.msgpack", "*.h5", "original/*", "onnx/*")
"""Other copies of the weights, which no server of ours reads."""


_OLDER = "*.bin"
"""Weights of repositories without safetensors; beside these they are another copy."""


def fetch_model(name: str, revision: str | None) -> Path:
    """Downloads a model, or finds it in the hub's cache.

    Args:
        name: Its name on the hub.
        revision: Branch, tag or commit; None for the default branch.

    Returns:
        The folder of the cache that holds this one commit, and is called like it.

    Raises:
        ConfigError: The hub has no such model or revision, or cannot be reached while the cache does not hold it.
    """
    try:
        folder = Path(snapshot_download(name, revision=revision, ignore_patterns=[*_LEFT_OUT, _OLDER]))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, revision=revision, ignore_patterns=list(_LEFT_OUT)))
        return folder
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, httpx.TransportError, OSError) as error:
        at = "" if revision is None else f" at evaluation.model_revision={revision}"
        why = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"evaluation.model={name}{at} cannot be downloaded ({type(error).__name__}: {why}); check both, or give a "
            "folder"
        ) from error
