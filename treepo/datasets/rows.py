"""Turns a source row into a row of verl's layout, or says why it is left out."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

import pyarrow as pa

from treepo.datasets.spec import LETTERS, AnswerFormat, Condition, Group, SetSpec
from treepo.rewards.boxed import last_boxed

_CHAT = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMA = pa.schema(
    [
        ("data_source", pa.string()),
        ("prompt", _CHAT),
        ("ability", pa.string()),
        ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
        (
            "extra_info",
            pa.struct(
                [
                    ("index", pa.int64()),
                    ("split", pa.string()),
                    ("set", pa.string()),
                    ("question", pa.string()),
                    ("source_index", pa.int64()),
                    ("id", pa.string()),
                ]
            ),
        ),
    ]
)
"""One schema for all sets: verl joins the files of a training, which must agree in every column."""

_PLACE = re.compile(r"\{(?:question|options)\}")
# MATH has a few boxes of another make.
_FRAME = re.compile(r"\\fbox(?=\s*\{)")
_BARE_BOX = re.compile(r"\\boxed\s+([^\s${}.,]+)")


class Reason(StrEnum):
    """Why a row of the source is not in the set."""

    FILTERED = "filtered"
    EMPTY_QUESTION = "empty_question"
    EMPTY_ANSWER = "empty_answer"
    DUPLICATE = "duplicate"
    CONFLICTING_DUPLICATE = "conflicting_duplicate"
    IN_BENCHMARK = "in_benchmark"


class ColumnError(Exception):
    """A column holds something else than it should."""

    def __init__(self, column: str, expected: str, value: object) -> None:
        super().__init__(f"the column {column} should hold {expected}, holds {type(value).__name__} {value!r:.80}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A row of a set.

    Attributes:
        text: The question without instructions.
        prompt: The chat.
        ground_truth: The answer; several, any of which is right, as a JSON list.
        source_index: Its place among the source's rows.
        id: The source's own name of it, "" where it has none.
    """

    text: str
    prompt: list[dict[str, str]]
    ground_truth: str
    source_index: int
    id: str


def convert(spec: SetSpec, row: Mapping[str, Any], source_index: int) -> Question | Reason:
    """Reads one row of the source.

    Raises:
        ColumnError: A column is missing in a nested one, or its type is not the declared one.
    """
    if not all(_fulfils(row, condition) for condition in spec.where):
        return Reason.FILTERED
    columns = spec.columns
    options = _options(row, columns.options)
    if columns.prompt is not None:
        chat = _chat(row, columns.prompt)
        question = _bare(chat[-1]["content"], spec.strip)
    else:
        assert columns.question is not None
        question = _text(row, columns.question)
        context = _text(row, columns.context) if columns.context is not None else ""
        question = f"{context}\n\n{question}" if context and question else question
        chat = _fill(spec, question, options)
    if not question:
        return Reason.EMPTY_QUESTION
    ground_truth = _answer(row, columns.answer, columns.answer_format, len(options))
    if not ground_truth:
        return Reason.EMPTY_ANSWER
    name = _get(row, columns.id) if columns.id is not None else None
    return Question(
        text=question,
        prompt=chat,
        ground_truth=ground_truth,
        source_index=source_index,
        id="" if name is None else str(name),
    )


def verl_row(spec: SetSpec, question: Question, index: int) -> dict[str, Any]:
    """The row of :data:`SCHEMA` at a place of the set."""
    return {
        "data_source": spec.name,
        "prompt": question.prompt,
        "ability": spec.answer_type.value,
        "reward_model": {"style": "rule", "ground_truth": question.ground_truth},
        "extra_info": {
            "index": index,
            "split": "train" if spec.group is Group.TRAIN else "test",
            "set": spec.name,
            "question": question.text,
            "source_index": question.source_index,
            "id": question.id,
        },
    }


def _get(row: Mapping[str, Any], column: str) -> Any:
    value: Any = row
    for part in column.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise ColumnError(column, "a value", value)
        value = value[part]
    return value


def _text(row: Mapping[str, Any], column: str) -> str:
    value = _get(row, column)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ColumnError(column, "text", value)
    return value.strip()


def _fulfils(row: Mapping[str, Any], condition: Condition) -> bool:
    value = _get(row, condition.column)
    if value is not None and not isinstance(value, str | int):
        raise ColumnError(condition.column, "text or a whole number", value)
    return value in condition.one_of


def _options(row: Mapping[str, Any], columns: str | list[str] | None) -> list[str]:
    if columns is None:
        return []
    if not isinstance(columns, str):
        return [_text(row, column) for column in columns]
    value = _get(row, columns)
    if not isinstance(value, Mapping) or sorted(value) != list(LETTERS[: len(value)]):
        raise ColumnError(columns, "options by letter, A first", value)
    return [_text(value, letter) for letter in sorted(value)]


def _chat(row: Mapping[str, Any], column: str) -> list[dict[str, str]]:
    value = _get(row, column)
    messages = value if isinstance(value, list) else []
    texts = [(m.get("role"), m.get("content")) for m in messages if isinstance(m, Mapping)]
    if len(texts) < len(messages) or not all(isinstance(part, str) for text in texts for part in text):
        raise ColumnError(column, "messages with role and content", value)
    if not texts or texts[-1][0] != "user":
        raise ColumnError(column, "a chat that ends with the user's message", value)
    return [{"role": str(role), "content": str(content)} for role, content in texts]


def _bare(text: str, phrases: Sequence[str]) -> str:
    for phrase in phrases:
        text = text.replace(phrase, "")
    return text.strip()


def _fill(spec: SetSpec, question: str, options: Sequence[str]) -> list[dict[str, str]]:
    assert spec.template is not None
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    parts = {"{question}": question, "{options}": listed}
    # In one pass: a question may itself say {options}.
    return [{"role": m.role, "content": _PLACE.sub(lambda found: parts[found[0]], m.content)} for m in spec.template]


def _answer(row: Mapping[str, Any], column: str, form: AnswerFormat, options: int) -> str:
    match form:
        case AnswerFormat.TEXT:
            return _text(row, column)
        case AnswerFormat.BOXED:
            return _boxed(_text(row, column))
        case AnswerFormat.NUMBER:
            return _number(column, _get(row, column))
        case AnswerFormat.LIST:
            return _any_of(column, _get(row, column))
        case AnswerFormat.LETTER:
            letter = _text(row, column).upper()
            if letter and (len(letter) > 1 or letter not in LETTERS[:options]):
                raise ColumnError(column, f"a letter from A to {LETTERS[options - 1]}", letter)
            return letter
        case AnswerFormat.INDEX:
            index = _get(row, column)
            if index is None:
                return ""
            if isinstance(index, bool) or not isinstance(index, int) or index >= options:
                raise ColumnError(column, f"a whole number below {options}", index)
            return LETTERS[index] if index >= 0 else ""


def _boxed(solution: str) -> str:
    answer = last_boxed(_FRAME.sub(r"\\boxed", solution))
    if answer is None:
        bare = _BARE_BOX.findall(solution)
        answer = bare[-1] if bare else ""
    return answer.strip()


def _number(column: str, value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ColumnError(column, "a number", value)
    text = str(value).strip()
    if not text:
        return ""
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ColumnError(column, "a number", value) from None
    if not number.is_finite():
        raise ColumnError(column, "a number", value)
    return str(int(number)) if number == number.to_integral_value() else text


def _any_of(column: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, list) or not all(isinstance(answer, str) for answer in value):
        raise ColumnError(column, "a list of texts", value)
    answers = list(dict.fromkeys(answer.strip() for answer in value if answer.strip()))
    return json.dumps(answers, ensure_ascii=False) if len(answers) > 1 else "".join(answers)
