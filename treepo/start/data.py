"""The rows to train and to validate on, read as verl's ``RLHFDataset`` reads them.

Checked against verl 0.9.1; nothing here imports it. ``tests/seams/test_start_seams.py`` holds the places that are
read.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from treepo.config import ConfigError
from treepo.datasets.table import Table, check_rows, difference
from treepo.start.declared import Start, reads

_TRAINING = ("data.train_files", "data.custom_cls")
_FILES = (*_TRAINING, "data.val_files")
_PROMPTS = (*_FILES, "data.prompt_key", "data.max_prompt_length", "data.filter_overlong_prompts")
_TOKENS = (
    *("actor_rollout_ref.model.path", "actor_rollout_ref.model.tokenizer_path"),
    *("actor_rollout_ref.model.custom_chat_template", "actor_rollout_ref.model.trust_remote_code"),
    *("data.apply_chat_template_kwargs", "data.tool_config_path", "data.function_tool_path"),
)
_PACKAGE, _FILE = "pkg://", "file://"
_LONGEST = 64
# Some ten seconds' worth.
_MOST_TOKENISED = 20_000


@reads("data.custom_cls")
def dataset_class(start: Start) -> None:
    """Refuses a dataset class whose file is not there; what it reads is its own matter."""
    path = start.config.data.custom_cls.path
    if path is None or str(path).startswith(_PACKAGE):
        return
    if not Path(str(path).removeprefix(_FILE)).is_file():
        raise ConfigError(
            f"data.custom_cls.path={path} is refused: there is no such file; give the whole path of one that is on "
            "every node"
        )


@reads(*_FILES, "data.prompt_key")
def rows(start: Start) -> None:
    """Refuses files that verl could not read, or that lack what a training needs of every row."""
    data = start.config.data
    if data.custom_cls.path is None:
        for option in ("data.train_files", "data.val_files"):
            if not OmegaConf.select(start.config, option):
                raise ConfigError(f"{option} is empty; give the path of a parquet file")
    for table in _tables(start):
        check_rows(table, prompt=data.prompt_key)


@reads(*_FILES)
def one_schema(start: Start) -> None:
    """Refuses files that verl cannot put one behind the other."""
    for tables in (start.training_tables, start.validation_tables):
        for other in tables[1:]:
            if found := difference(tables[0], other):
                raise ConfigError(
                    f"{other.option}: {found} in {tables[0].path} and {other.path}; give the column one type in all "
                    "files, as extra_info.index a whole number"
                )


@reads(*_FILES, "data.image_key", "data.video_key", "data.audio_key", "treepo")
def text_alone(start: Start) -> None:
    """Refuses pictures, films and sounds in what becomes trees: they would be left out without a word.

    verl's own loops, which validate otherwise, read them.
    """
    talks = start.options.environment.name is not None
    for table in (*start.training_tables, *(start.validation_tables if talks else ())):
        for key in ("image_key", "video_key", "audio_key"):
            column = start.config.data[key]
            row = column and next((row for row, value in enumerate(table.column(column)) if value), None)
            if row is not None:
                raise table.refusal(f"row {row} has {column} (data.{key}): trees grow from text alone; give other rows")


@reads(*_TRAINING, "data.train_batch_size", "data.train_max_samples", "trainer.val_only", "trainer.val_before_train")
def enough_rows(start: Start) -> None:
    """Refuses fewer rows than a batch: verl divides by the number of steps in an epoch."""
    data, found = start.config.data, start.training_rows
    if found is None or not _trains(start.config) or found >= data.train_batch_size:
        return
    source = "data.train_max_samples" if found == data.train_max_samples else "data.train_files"
    raise ConfigError(
        f"data.train_batch_size={data.train_batch_size} is refused: {source} gives {found} rows, and every prompt of a "
        "batch is another row; lower the batch size (and actor_rollout_ref.actor.ppo_mini_batch_size), or give more "
        "rows"
    )


@reads(*_PROMPTS, *_TOKENS, "data.truncation")
def prompt_lengths(start: Start) -> Iterator[str]:
    """Refuses a prompt that would lose its beginning: verl cuts it there, whatever ``data.truncation`` says.

    Of every file the longest prompts, counted in characters, are tokenised.
    """
    data, length = start.config.data, start.prompt_length
    if data.filter_overlong_prompts or length is None:
        return
    for table in _tables(start):
        longest = {row for _, row in sorted(_sizes(table, data.prompt_key), reverse=True)[:_LONGEST]}
        found = ((row, length(prompt)) for row, prompt in _chosen(table, data.prompt_key, longest))
        row, tokens = max(found, key=lambda one: one[1])
        if tokens <= data.max_prompt_length:
            continue
        problem = (
            f"row {row} has a prompt of {tokens:,} tokens, above data.max_prompt_length={data.max_prompt_length}, and "
            "loses its beginning"
        )
        if data.truncation != "left":
            raise table.refusal(
                f"{problem}; set data.filter_overlong_prompts=true, raise data.max_prompt_length, or accept it with "
                "data.truncation=left"
            )
        yield f"{table.option}: {table.path} {problem}; data.filter_overlong_prompts=true leaves such rows out"


@reads(*_PROMPTS, *_TOKENS, "data.train_batch_size", "trainer.val_only", "trainer.val_before_train")
def enough_prompts(start: Start) -> None:
    """Refuses a filter of long prompts that leaves fewer rows than a batch, or none to validate on."""
    data, length = start.config.data, start.prompt_length
    if not data.filter_overlong_prompts or length is None:
        return
    for option, tables, needed in (
        ("data.train_files", start.training_tables, data.train_batch_size if _trains(start.config) else 0),
        ("data.val_files", start.validation_tables, 1),
    ):
        # Without a table here nobody can know.
        kept = _count_kept(tables, data, length, most=needed) if tables else needed
        if kept < needed:
            raise ConfigError(
                f"data.filter_overlong_prompts=true leaves {kept} rows of {option}, and {needed} are needed: "
                f"all other prompts have more than data.max_prompt_length={data.max_prompt_length} tokens; raise it"
                + (", or lower data.train_batch_size" if kept else "")
            )


def _count_kept(tables: Sequence[Table], data: DictConfig, length: Callable[[Any], int], *, most: int) -> int:
    """Prompts that the filter leaves, counted up to `most`."""
    kept = 0
    for number, prompt in enumerate(prompt for table in tables for prompt in table.column(data.prompt_key)):
        # The filter itself reads them all; where so few are left, it is worth waiting for.
        if kept == most or number == _MOST_TOKENISED:
            return most
        kept += length(prompt) <= data.max_prompt_length
    return kept


def _tables(start: Start) -> Iterator[Table]:
    yield from start.training_tables
    yield from start.validation_tables


def _trains(config: DictConfig) -> bool:
    return not (config.trainer.val_only and config.trainer.val_before_train)


def _sizes(table: Table, prompt: str) -> Iterator[tuple[int, int]]:
    """Characters of every prompt, with its row."""
    for row, messages in enumerate(table.column(prompt)):
        yield sum(len(str(message["content"])) for message in messages), row


def _chosen(table: Table, prompt: str, rows: Collection[int]) -> Iterator[tuple[int, Any]]:
    if rows:
        yield from ((row, messages) for row, messages in enumerate(table.column(prompt)) if row in rows)
