"""Writes ``docs/configuration.md`` from the configuration's types: ``python -m treepo.config_docs``."""

import inspect
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, cast, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from treepo.config import TreePOConfig

DEFAULT_PATH = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
_HEADER = """# Configuration

Every option of TreePO, with its type, its range and its default. Options of verl keep verl's names and are not listed
here. An option is set in a preset (`configs/*.yaml`) or on the command line:

```
python -m recipe.treepo.main_treepo --config-name cpu_quickstart treepo.width=8 treepo.divergence.budget=ramp
```

An option that is misspelt, out of range, or that contradicts another is refused with one line before anything starts.
Where the default is `null` because one policy alone reads the option, it stays `null` unless that policy is chosen, and
must then be set. Any other option that nothing reads, because a policy or an estimator is not chosen, is refused by a
training where it is set to something else than its default.

This page is written by `python -m treepo.config_docs`; a test holds it to the code.
"""
_BOUNDS = {Ge: ("ge", "≥"), Gt: ("gt", ">"), Le: ("le", "≤"), Lt: ("lt", "<")}


def configuration_markdown() -> str:
    """The page: one table per group of options, and behind it what the values of its policies do."""
    sections = (_section(name, model) for name, model in _groups("treepo", TreePOConfig))
    return "\n".join([_HEADER, *sections])


def _groups(name: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield name, model
    for field_name, field in model.model_fields.items():
        if _is_group(field):
            yield from _groups(f"{name}.{field_name}", cast(type[BaseModel], field.annotation))


def _section(name: str, model: type[BaseModel]) -> str:
    options = {field_name: field for field_name, field in model.model_fields.items() if not _is_group(field)}
    rows = [_row(f"{name}.{field_name}", field) for field_name, field in options.items()]
    policies = [
        _policy(f"{name}.{field_name}", kind) for field_name, field in options.items() for kind in _enums(field)
    ]
    table = ["| option | type | default | meaning |", "| --- | --- | --- | --- |", *rows]
    return "\n".join([f"## `{name}`", "", *table, "", *policies])


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
    for bound in field.metadata:
        if type(bound) in _BOUNDS:
            attribute, sign = _BOUNDS[type(bound)]
            names[0] += f" {sign} {getattr(bound, attribute):g}"
    return " or ".join(names)


def _type_name(part: Any) -> str:
    if get_origin(part) is tuple:
        return f"[{', '.join(_type_name(item) for item in get_args(part))}]"
    if isinstance(part, type) and issubclass(part, Enum):
        return ", ".join(f"`{member.value}`" for member in part)
    return {int: "integer", float: "number", bool: "true or false", str: "text", NoneType: "null"}[part]


def _shown(default: Any) -> str:
    if default is None:
        return "`null`"
    if isinstance(default, Enum):
        return f"`{default.value}`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _enums(field: FieldInfo) -> list[type[Enum]]:
    kind = field.annotation
    return [kind] if isinstance(kind, type) and issubclass(kind, Enum) else []


def _is_group(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


if __name__ == "__main__":
    DEFAULT_PATH.parent.mkdir(exist_ok=True)
    DEFAULT_PATH.write_text(configuration_markdown(), encoding="utf-8")
