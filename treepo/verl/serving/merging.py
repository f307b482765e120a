"""Merges a checkpoint of verl's FSDP trainer into a Hugging Face model, by verl's own merger.

Checked against verl 0.9.1 (``verl/model_merger``), which writes bfloat16 whatever the shards hold.
"""

import subprocess
import sys
from pathlib import Path

from treepo.config import ConfigError
from treepo.evaluation.ask.model_folder import ModelSource
from treepo.files.whole import whole_folder

_LAST_LINES = 15


def merged(source: ModelSource) -> Path:
    """The folder of a model, its shards merged where that has not been done yet.

    Merging needs memory for the whole model. The folder appears whole or not at all.

    Raises:
        ConfigError: The shards cannot be merged; the end of the merger's output.
    """
    if source.shards is None:
        return source.folder
    with whole_folder(source.folder) as unfinished:
        command = ["merge", "--backend", "fsdp", "--local_dir", str(source.shards), "--target_dir", str(unfinished)]
        done = subprocess.run(
            [sys.executable, "-m", "verl.model_merger", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            last = "\n".join(done.stdout.splitlines()[-_LAST_LINES:])
            raise ConfigError(f"{source.shards} cannot be merged (status {done.returncode}):\n{last}")
        if (unfinished / "lora_adapter").exists():
            raise ConfigError(
                f"{source.shards} holds a LoRA adapter beside its base model; merge the two and give that folder"
            )
    return source.folder
