"""Writes the options into the pages from their types: ``python tests/support/config_docs.py``.

``docs/configuration.md`` and ``docs/configuration_training.md`` are written whole, ``docs/evaluation_options.md``
between two marks.
"""

import inspect
import json
import re
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, cast, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from treepo.advantage import OPTIONS_READ
from treepo.config import AdvantageConfig, TreePOConfig
from treepo.evaluation.options import EvaluationConfig

_DOCS = Path(__file__).resolve().parents[2] / "docs"
DEFAULT_PATH = _DOCS / "configuration.md"
TRAINING_PATH = _DOCS / "configuration_training.md"
EVALUATION_PATH = _DOCS / "evaluation_options.md"
_HEADER = """# Configuration

Every option of TreePO, with its type, its range and its default. Options of verl keep verl's names and are not listed
here. An option is set in a preset (`configs/*.yaml`) or on the command line:

```
treepo train --preset cpu_quickstart treepo.width=8 treepo.divergence.budget=ramp
```

An option that is misspelt, out of range, or that contradicts another is refused with one line before anything starts.
An option that nothing reads, because a policy is not chosen, is refused where it is set to something else than its
default; what only some estimators read is refused by a training with another one.

Here: how trees grow. Advantages, packing, the rollout in verl and environments:
[configuration_training.md](configuration_training.md). Evaluations: [evaluation_options.md](evaluation_options.md).

Words: [glossary.md](glossary.md). What the options do shows in the [metrics](metrics.md). Options for a task, a reward
and a model of your own: [own_task.md](own_task.md). What is printed when something goes wrong:
[troubleshooting.md](troubleshooting.md).

This page is written by `python tests/support/config_docs.py`; a test holds it to the code.
"""
_TRAINING_HEADER = """# Configuration: advantages, packing, rollout, environments

How options are set, and those of the tree itself: [configuration.md](configuration.md). This page is written by
`python tests/support/config_docs.py`; a test holds it to the code.
"""
_TRAINING = ("treepo.advantage", "treepo.packing", "treepo.rollout", "treepo.environment")
_MARKED = re.compile(
    r"(?<=<!-- options: written by `python tests/support/config_docs.py` -->\n\n).*?(?=\n<!-- end of options -->)",
    re.DOTALL,
)
_BOUNDS = {Ge: ("ge", "≥"), Gt: ("gt", ">"), Le: ("le", "≤"), Lt: ("lt", "<")}


def configuration_markdown() -> str:
    """The page about trees: one table per group of options, and behind it what the values of its policies do."""
    sections = (_section(name, model) for name, model in _groups("treepo", TreePOConfig) if name not in _TRAINING)
    return "\n".join([_HEADER, *sections])


def training_markdown() -> str:
    """The same about what is done with trees."""
    groups = dict(_groups("treepo", TreePOConfig))
    return "\n".join([_TRAINING_HEADER, *(_section(name, groups[name]) for name in _TRAINING)])


def option_rows() -> list[str]:
    """One row for every option of trainings and evaluations: name, type, default, meaning."""
    groups = [*_groups("treepo", TreePOConfig), ("evaluation", EvaluationConfig)]
    return [
        _row(f"{name}.{field_name}", field)
        for name, model in groups
        for field_name, field in model.model_fields.items()
        if not _is_group(field)
    ]


def with_evaluation_options(page: str) -> str:
    """The page about evaluations with their options, as they are now, between its marks."""
    assert _MARKED.search(page), "the page has marks around its options"
    return _MARKED.sub(lambda _: _options("evaluation", EvaluationConfig), page)


def _groups(name: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield name, model
    for field_name, field in model.model_fields.items():
        if _is_group(field):
            yield from _groups(f"{name}.{field_name}", cast(type[BaseModel], field.annotation))


def _section(name: str, model: type[BaseModel]) -> str:
    readers = f"\n{_readers()}\n" if model is AdvantageConfig else ""
    return f"## `{name}`\n\n{_options(name, model)}{readers}"


def _readers() -> str:
    """Which options of the group each estimator reads."""
    options = list(AdvantageConfig.model_fields)
    head = ["`algorithm.adv_estimator`", *(f"`{option}`" for option in options)]
    rows = [
        [f"`{name}`", *("reads" if option in read else "" for option in options)] for name, read in OPTIONS_READ.items()
    ]
    lines = [head, ["---"] * len(head), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"Which estimator reads which option; any other combination is refused:\n\n{table}"


def _options(name: str, model: type[BaseModel]) -> str:
    """A group's own options, those of its groups apart, and behind them what the values of its policies do."""
    options = {field_name: field for field_name, field in model.model_fields.items() if not _is_group(field)}
    rows = [_row(f"{name}.{field_name}", field) for field_name, field in options.items()]
    policies = [
        _policy(f"{name}.{field_name}", kind) for field_name, field in options.items() for kind in _enums(field)
    ]
    table = ["| option | type | default | meaning |", "| --- | --- | --- | --- |", *rows]
    return "\n".join([*table, "", *policies])


def _row(name: str, field: FieldInfo) -> str:
    return f"| `{name}` | {_type(field)} | {_shown(field.default)} | {field.description} |"


def _policy(name: str, kind: type[Enum]) -> str:
    meaning = (inspect.getdoc(kind) or "").replace("``", "`")
    return f"**`{name}`**: {meaning}\n"


def _type(field: FieldInfo) -> str:
    parts = get_args(field.annotation) or (field.annotation,)
    if get_origin(field.annotation) is tuple:
        parts = (field.annotation,)
    names = [_type_name(part) for part in parts]
    names[0] += _signs(field.metadata)
    for bound in field.metadata:
        if isinstance(bound, MinLen):
            names[0] += f", at least {bound.min_length} of them"
    return " or ".join(names)


def _signs(metadata: Sequence[Any]) -> str:
    signs = [
        f"{sign} {getattr(bound, attribute):g}"
        for bound in metadata
        for kind, (attribute, sign) in _BOUNDS.items()
        if isinstance(bound, kind)
    ]
    return f" {' and '.join(signs)}" if signs else ""


def _type_name(part: Any) -> str:
    if get_origin(part) is Annotated:
        return _type_name(get_args(part)[0]) + _signs(get_args(part)[1].metadata)
    if get_origin(part) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(part))
    if get_origin(part) is tuple and get_args(part)[-1] is Ellipsis:
        return f"list of {_type_name(get_args(part)[0])}s"
    if get_origin(part) is tuple:
        return f"[{', '.join(_type_name(item) for item in get_args(part))}]"
    if isinstance(part, type) and issubclass(part, Enum):
        return ", ".join(f"`{member.value}`" for member in part)
    return {int: "integer", float: "number", bool: "true or false", str: "text", NoneType: "null"}[part]


def _shown(default: Any) -> str:
    if default is None:
        return "`null`"
    if default == "":
        # It has to be given.
        return ""
    if isinstance(default, Enum):
        return f"`{default.value}`"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _enums(field: FieldInfo) -> list[type[Enum]]:
    kind = field.annotation
    return [kind] if isinstance(kind, type) and issubclass(kind, Enum) else []


def _is_group(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


if __name__ == "__main__":
    DEFAULT_PATH.parent.mkdir(exist_ok=True)
    DEFAULT_PATH.write_text(configuration_markdown(), encoding="utf-8")
    TRAINING_PATH.write_text(training_markdown(), encoding="utf-8")
    evaluation = EVALUATION_PATH.read_text(encoding="utf-8")
    EVALUATION_PATH.write_text(with_evaluation_options(evaluation), encoding="utf-8")
