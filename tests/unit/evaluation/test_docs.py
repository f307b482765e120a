"""The page about evaluations names every option with its default."""

import json
from enum import Enum
from typing import Any

from training_run import ROOT

from treepo.evaluation.config import PRESETS_DIR, EvaluationConfig
from treepo.launch.evaluation import VARIABLES

PAGE = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")


def shown(default: Any) -> str:
    return json.dumps(default).strip('"') if not isinstance(default, Enum) else default.value


def test_every_option_stands_in_the_table_with_its_default_and_meaning() -> None:
    rows = [
        f"| `evaluation.{name}` | {f'`{shown(field.default)}`' if field.default != '' else ''} | {field.description} |"
        for name, field in EvaluationConfig.model_fields.items()
    ]
    assert [row for row in rows if row not in PAGE] == []


def test_every_variable_and_preset_is_named() -> None:
    names = [*VARIABLES, *(path.stem for path in PRESETS_DIR.glob("*.yaml") if path.stem != "base")]
    assert [name for name in names if f"`{name}`" not in PAGE] == []
