"""The page about evaluations names every option with its type and default, as the code has it."""

from config_docs import with_evaluation_options
from training_run import ROOT

from treepo.evaluation.config import PRESETS_DIR
from treepo.evaluation.options import EvaluationConfig, Sampling
from treepo.launch.evaluation import VARIABLES

PAGE = (ROOT / "docs/evaluation_options.md").read_text(encoding="utf-8")
USE = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")


def test_the_options_on_the_page_are_up_to_date() -> None:
    assert with_evaluation_options(PAGE) == PAGE, "run `python tests/support/config_docs.py`"


def test_every_option_stands_there_with_its_meaning_and_every_value_of_a_choice() -> None:
    rows = {line.split("`")[1]: line for line in PAGE.splitlines() if line.startswith("| `evaluation.")}
    assert list(rows) == [f"evaluation.{name}" for name in EvaluationConfig.model_fields]
    for name, field in EvaluationConfig.model_fields.items():
        assert field.description
        assert rows[f"evaluation.{name}"].endswith(f" | {field.description} |")
    assert [kind.value for kind in Sampling if f"`{kind.value}`" not in rows["evaluation.sampling"]] == []
    assert [kind.value for kind in Sampling if f"* `{kind.value}`: " not in PAGE] == []


def test_types_say_range_and_what_a_list_holds() -> None:
    assert "| `evaluation.top_p` | number > 0 and ≤ 1 | `1.0` |" in PAGE
    assert "| `evaluation.divergences` | list of integers, at least 1 of them | `[2]` |" in PAGE
    assert "| `evaluation.model` | text |  |" in PAGE


def test_every_variable_and_preset_is_named() -> None:
    names = [*VARIABLES, *(path.stem for path in PRESETS_DIR.glob("*.yaml") if path.stem != "base")]
    assert [name for name in names if f"`{name}`" not in USE] == []
