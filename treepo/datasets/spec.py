"""A set as its file in ``treepo/datasets/sets`` declares it: source, columns, prompt, answer type and metric."""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from treepo.config.suggestion import close_to
from treepo.datasets.errors import DataError

LETTERS = "ABCDEFGHIJ"
"""Names of the options of a multiple choice question."""

COMMIT = re.compile(r"[0-9a-f]{40}")
"""A revision that names one commit; anything else is a branch or a tag, which moves."""


class Group(StrEnum):
    """What a set is for."""

    TRAIN = "train"
    BENCHMARKS = "benchmarks"


class AnswerType(StrEnum):
    """How an answer is judged; the value is the row's ``ability``."""

    MATH = "math"
    CHOICE = "multiple_choice"


class AnswerFormat(StrEnum):
    r"""How the source writes the answer.

    ``text``: as it stands. ``number``: a number or its text; whole numbers are written without decimals. ``boxed``: the
    last ``\boxed{}`` of a solution. ``list``: texts, any of which is right. ``letter``: of the right option. ``index``:
    of the right option, from 0; negative where the source hides it.
    """

    TEXT = "text"
    NUMBER = "number"
    BOXED = "boxed"
    LIST = "list"
    LETTER = "letter"
    INDEX = "index"


class Metric(StrEnum):
    """The headline metric over the samples of a question: their mean, or the majority's answer."""

    AVG = "avg"
    MAJ = "maj"


Text = Annotated[str, StringConstraints(min_length=1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Message(_Model):
    """One message of a prompt; ``{question}`` and ``{options}`` stand for the row's."""

    role: Literal["system", "user"]
    content: Text


class Columns(_Model):
    """Which column of the source holds what; a dot leads into a nested column.

    Attributes:
        question: The question.
        prompt: A ready chat, kept as it is, instead of a question; its last user message is the question.
        context: What stands before the question, where the row has it.
        options: Options of a multiple choice question: one column that holds text by letter, or one column each.
        answer: The answer.
        answer_format: How it is written.
        id: The source's own name of the row.
    """

    question: Text | None = None
    prompt: Text | None = None
    context: Text | None = None
    options: Text | Annotated[list[Text], Field(min_length=2, max_length=len(LETTERS))] | None = None
    answer: Text
    answer_format: AnswerFormat
    id: Text | None = None

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if (self.question is None) == (self.prompt is None):
            raise ValueError("exactly one of question and prompt must be given")
        if self.prompt is not None and (self.context is not None or self.options is not None):
            raise ValueError("a prompt is kept as it is: it takes neither context nor options")
        if (self.answer_format in (AnswerFormat.LETTER, AnswerFormat.INDEX)) != (self.options is not None):
            raise ValueError("options go with the answer formats letter and index, and with no other")
        return self


class Condition(_Model):
    """Rows are kept whose column holds one of the values."""

    column: Text
    one_of: Annotated[list[str | int], Field(min_length=1)]


class SetSpec(_Model):
    """One set.

    Attributes:
        name: Name of the set, of its parquet file and of its rows' ``data_source``.
        title: What people call it.
        group: What it is for.
        repository: Dataset repository on the hub.
        revision: Commit, or a branch that is resolved to its commit when the set is fetched.
        files: Files of the repository, parquet, JSON or JSON Lines, in the order of the rows.
        split: The source's name of these rows.
        licence: As the source declares it.
        year: Year of a contest: a model whose data ends before it cannot have read it; none for sets that are none.
        columns: Which column holds what.
        where: What a row must fulfil to belong to the set.
        template: The prompt; none where the source has ready prompts.
        strip: Phrases that are no part of a ready prompt's question.
        answer_type: How an answer is judged.
        metric: Headline metric; none for training sets.
        duplicates: Whether a question that came before is dropped; benchmarks keep what was published.
        expected_rows: Rows that fulfil `where` at this revision; none where it is not known.
        published_weight: Questions by which the published overall score weighs the benchmark.
        note: What a reader should know.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    title: Text
    group: Group
    repository: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Text
    files: Annotated[list[Text], Field(min_length=1)]
    split: Text
    licence: Text
    year: Annotated[int, Field(ge=1900, le=2100)] | None = None
    columns: Columns
    where: list[Condition] = []
    template: list[Message] | None
    strip: list[Text] = []
    answer_type: AnswerType
    metric: Metric | None
    duplicates: Literal["keep", "drop"]
    expected_rows: Annotated[int, Field(gt=0)] | None
    published_weight: Annotated[int, Field(gt=0)] | None
    note: str = ""

    @field_validator("files")
    @classmethod
    def _readable(cls, files: list[str]) -> list[str]:
        for file in files:
            if not file.endswith((".parquet", ".json", ".jsonl")):
                raise ValueError(f"{file} is neither .parquet nor .json nor .jsonl")
            if file.startswith("/") or ".." in file.split("/"):
                raise ValueError(f"{file} leads out of the repository")
        return files

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.template is None) != (self.columns.prompt is not None):
            raise ValueError("a template is needed, unless columns.prompt holds ready prompts")
        if (self.answer_type is AnswerType.CHOICE) != (self.columns.options is not None):
            raise ValueError("columns.options go with the answer type multiple_choice, and with no other")
        if self.template is not None:
            text = " ".join(message.content for message in self.template if message.role == "user")
            if "{question}" not in text or ("{options}" in text) != (self.answer_type is AnswerType.CHOICE):
                raise ValueError("the template's user message must hold {question}, and {options} for multiple choice")
        if (self.metric is None) != (self.group is Group.TRAIN):
            raise ValueError("benchmarks have a metric, training sets have none")
        return self

    @property
    def top_columns(self) -> list[str]:
        """Columns to read, the nested ones by their outermost name."""
        options = self.columns.options
        named = [
            self.columns.question,
            self.columns.prompt,
            self.columns.context,
            *([options] if isinstance(options, str) else options or []),
            self.columns.answer,
            self.columns.id,
            *(condition.column for condition in self.where),
        ]
        return list(dict.fromkeys(name.split(".")[0] for name in named if name is not None))


def read_spec(file: Traversable) -> SetSpec:
    """Reads one set's file.

    Raises:
        DataError: The file is no valid set; one line with the field.
    """
    try:
        spec = SetSpec.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise DataError(f"{file.name}: no YAML ({' '.join(str(error).split())})") from error
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "the set"
        raise DataError(f"{file.name}: {place}: {problem['msg'].removeprefix('Value error, ')}") from error
    if file.name != f"{spec.name}.yaml":
        raise DataError(f"{file.name}: the set's name is {spec.name}, so the file must be {spec.name}.yaml")
    return spec


def catalogue() -> dict[str, SetSpec]:
    """All sets that come with the package, by name: the training sets first."""
    return {spec.name: spec for spec in _shipped()}


@cache
def _shipped() -> tuple[SetSpec, ...]:
    files = resources.files("treepo.datasets").joinpath("sets").iterdir()
    specs = (read_spec(file) for file in files if file.name.endswith(".yaml"))
    return tuple(sorted(specs, key=lambda spec: (spec.group is not Group.TRAIN, spec.name)))


def choose(names: Iterable[str], sets: Mapping[str, SetSpec]) -> list[SetSpec]:
    """The sets of these names, each once.

    Args:
        names: Names of sets or groups, or `all`; none stands for all.
        sets: The sets there are.

    Raises:
        DataError: No set or group has a name; the line has the ones most like it.
    """
    groups = {"all": list(sets), **{group: [n for n, spec in sets.items() if spec.group is group] for group in Group}}
    chosen: dict[str, None] = {}
    for name in list(names) or ["all"]:
        if name not in sets and name not in groups:
            raise DataError(f"no set or group is called {name}; {hint(name, [*sets, *groups])}")
        chosen.update(dict.fromkeys(groups.get(name, [name])))
    return [sets[name] for name in chosen]


def hint(name: str, known: list[str]) -> str:
    """What a wrong name may have meant."""
    close = close_to(name, known, most=3, cutoff=0.5)
    return f"did you mean {' or '.join(sorted(close))}?" if close else f"there are {', '.join(known)}"
