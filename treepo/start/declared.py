"""What a check before the start is given, and how it says which options it reads."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from treepo.config import TreePOConfig
from treepo.config.load import tree_options
from treepo.datasets.table import Table, open_table
from treepo.verl.own_checks import prompt_length


@dataclass(frozen=True, kw_only=True)
class Start:
    """A training that is about to start. What several checks look at is read once.

    Attributes:
        config: The whole configuration, resolved.
        accept_changes: Whether a run that is there may resume with options other than its own.
    """

    config: DictConfig
    accept_changes: bool = False

    @cached_property
    def options(self) -> TreePOConfig:
        """TreePO's options.

        Raises:
            ConfigError: One of them is refused.
        """
        return tree_options(self.config)

    @cached_property
    def training_tables(self) -> tuple[Table, ...]:
        """The files of ``data.train_files`` that are here.

        None where the user's own dataset class reads them; one that verl fetches from elsewhere is left out.

        Raises:
            ConfigError: A file is missing or cannot be read.
        """
        return self._open("train_files")

    @cached_property
    def validation_tables(self) -> tuple[Table, ...]:
        """The same of ``data.val_files``."""
        return self._open("val_files")

    @property
    def training_rows(self) -> int | None:
        """Rows to train on, at most: prompts that are too long are left out later. None where nobody here can know."""
        data, tables = self.config.data, self.training_tables
        if len(tables) < len(_listed(data.train_files)) or not tables:
            return None
        rows = sum(table.rows for table in tables)
        return min(rows, data.train_max_samples) if data.train_max_samples > 0 else rows

    @cached_property
    def prompt_length(self) -> Callable[[Any], int] | None:
        """Counts the tokens of a prompt's messages; None where nobody can know before verl has fetched a tokenizer.

        Raises:
            ConfigError: The tokenizer cannot be loaded.
        """
        data, model = self.config.data, self.config.actor_rollout_ref.model
        tools = data.get("tool_config_path") or data.get("function_tool_path")
        if tools or not Path(str(model.tokenizer_path or model.path)).expanduser().is_dir():
            return None
        words = OmegaConf.to_container(data.apply_chat_template_kwargs)
        assert isinstance(words, dict)
        return prompt_length(model, {str(name): value for name, value in words.items()})

    def _open(self, name: str) -> tuple[Table, ...]:
        if self.config.data.custom_cls.path is not None:
            return ()
        here = (path for path in _listed(self.config.data[name]) if "://" not in path)
        return tuple(open_table(Path(path).expanduser(), f"data.{name}") for path in here)


def _listed(files: str | Sequence[str] | None) -> Sequence[str]:
    return [files] if isinstance(files, str) else files or ()


Check = Callable[[Start], Iterable[str] | None]
"""Gives warnings, a line each, or raises `ConfigError` with one line that names the option and the remedy."""

READS: dict[Check, tuple[str, ...]] = {}
"""Every check of the room, and the options that it reads."""


def reads(*options: str) -> Callable[[Check], Check]:
    """Declares a check.

    Args:
        options: What it reads of the configuration: full names of options, or of groups that it reads whole. A test
            runs every check on a configuration that holds nothing else.
    """

    def declare(check: Check) -> Check:
        READS[check] = options
        return check

    return declare
