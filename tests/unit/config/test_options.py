"""The typed configuration: defaults, refusals in one line, and the page that describes it."""

import json
from typing import Any

import pytest
from config_docs import DEFAULT_PATH, TRAINING_PATH, configuration_markdown, training_markdown
from pydantic import ValidationError

from treepo.config import ConfigError, TreePOConfig, load_config, option_names


def nested(option: str, value: Any) -> dict[str, Any]:
    """`{"a": {"b": value}}` for the option `a.b`."""
    for part in reversed(option.split(".")):
        value = {part: value}
    return value


def merged(*options: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for entry in options:
        for key, value in entry.items():
            both_groups = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both_groups else value
    return result


def refusal(*options: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as refused:
        load_config(merged(*options))
    message = str(refused.value)
    assert "\n" not in message
    return message


def test_the_defaults_are_valid_and_survive_a_round_trip():
    config = load_config({})
    assert config == TreePOConfig()
    assert load_config(config.model_dump(mode="json")) == config


def test_what_is_set_is_not_overwritten_by_a_default():
    # A published launcher's initial divergence always fell back to its default.
    assert load_config({"initial_divergence": [2, 8]}).initial_divergence == (2, 8)
    assert load_config({}).initial_divergence is None


def test_a_configuration_never_changes():
    with pytest.raises(ValidationError):
        load_config({}).width = 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widht": 8}, "treepo.widht is not an option; did you mean treepo.width?"),
        (
            {"fallback": {"max_bak": 1}},
            "treepo.fallback.max_bak is not an option; did you mean treepo.fallback.max_back?",
        ),
        ({"width": 1}, "treepo.width=1 is refused: must be greater than or equal to 2"),
        ({"segment_length": 0}, "treepo.segment_length=0 is refused: must be greater than or equal to 1"),
        (
            {"divergence": {"budget": "by_fixed_div"}},
            "treepo.divergence.budget='by_fixed_div' is refused: must be 'fixed', 'random', 'step_tokens' or 'ramp'",
        ),
        (
            {"divergence": {"logprob": {"temperature": 0}}},
            "treepo.divergence.logprob.temperature=0 is refused: must be greater than or equal to 0.000001",
        ),
        (
            {"max_divergence": 17},
            "treepo.max_divergence=17 exceeds treepo.width=16: lower the first or raise the second",
        ),
        (
            {"initial_divergence": [0, 3]},
            "treepo.initial_divergence=[0, 3] must satisfy 1 <= min <= max <= treepo.width=16",
        ),
        (
            {"initial_divergence": [4, 3]},
            "treepo.initial_divergence=[4, 3] must satisfy 1 <= min <= max <= treepo.width=16",
        ),
        (
            {"initial_divergence": [2, 17]},
            "treepo.initial_divergence=[2, 17] must satisfy 1 <= min <= max <= treepo.width=16",
        ),
        (
            {"divergence": {"budget": "random", "random_range": [1, 17]}},
            "treepo.divergence.random_range=[1, 17] must satisfy 1 <= min <= max <= treepo.width=16",
        ),
        (
            {"divergence": {"budget": "ramp", "ramp_depth": 15}},
            "treepo.divergence.ramp_depth=15 exceeds treepo.max_depth=14: lower the first or raise the second",
        ),
        (
            {"budget": {"total": "response_tokens", "response_tokens": 9, "min_width": 17}},
            "treepo.budget.min_width=17 exceeds treepo.width=16: lower the first or raise the second",
        ),
        (
            {"min_trajectory_length": 7169},
            "treepo.min_trajectory_length=7169 exceeds treepo.segment_length x treepo.max_depth=7168: "
            "lower the first or raise the second",
        ),
        (
            {"fallback": {"window": 7169}},
            "treepo.fallback.window=7169 exceeds treepo.segment_length x treepo.max_depth=7168: "
            "lower the first or raise the second",
        ),
        (
            {"fallback": {"cut": "block", "block_size": 7169}},
            "treepo.fallback.block_size=7169 exceeds treepo.segment_length x treepo.max_depth=7168: "
            "lower the first or raise the second",
        ),
        (
            {"fallback": {"candidates": "answered_min_windows", "min_windows": 8, "window": 1024}},
            "treepo.fallback.min_windows x its window=8192 exceeds treepo.segment_length x treepo.max_depth=7168: "
            "lower the first or raise the second",
        ),
        (
            {"divergence": {"budget": "step_tokens", "step_tokens": 1023}},
            "treepo.divergence.step_tokens=1023 is less than two segments of treepo.segment_length=512, so that no "
            "path would ever fork: set it to 1024 or more",
        ),
        (
            {"termination": {"answer_detector": "no_such_module_here:Scan"}},
            "treepo.termination.answer_detector=no_such_module_here:Scan cannot be used: "
            "No module named 'no_such_module_here'",
        ),
        (
            {"termination": {"answer_detector": "math:pi"}},
            "treepo.termination.answer_detector=math:pi cannot be used: math:pi cannot be called",
        ),
        (
            {"termination": {"answer_detector": "math:tau2"}},
            "treepo.termination.answer_detector=math:tau2 cannot be used: module 'math' has no attribute 'tau2'",
        ),
    ],
)
def test_a_refusal_is_one_line_with_option_and_remedy(options: dict[str, Any], message: str):
    assert refusal(options) == message


PARTNERS = [
    ("divergence.random_range", [1, 2], "divergence.budget=random"),
    ("divergence.step_tokens", 9999, "divergence.budget=step_tokens"),
    ("divergence.ramp_depth", 3, "divergence.budget=ramp"),
    ("fallback.max_back", 3, "fallback.cut=random"),
    ("fallback.block_size", 3, "fallback.cut=block"),
    ("fallback.min_windows", 3, "fallback.candidates=answered_min_windows"),
    ("budget.response_tokens", 999, "budget.total=response_tokens"),
    ("budget.min_width", 3, "budget.total=response_tokens"),
]
OPTIONAL = ("divergence.ramp_depth", "fallback.max_back")
TOGETHER = {
    "budget.response_tokens": nested("budget.min_width", 2),
    "budget.min_width": nested("budget.response_tokens", 9),
}


@pytest.mark.parametrize(("option", "value", "policy"), PARTNERS)
def test_an_option_without_its_policy_is_refused(option: str, value: Any, policy: str):
    name, _, _ = policy.partition("=")
    others = nested("fallback.cut", "from_start") if name == "fallback.cut" else {}
    assert refusal(nested(option, value), others) == (
        f"treepo.{option}={json.dumps(value)} is refused: it is read with treepo.{policy} only; choose that or leave "
        "the option at null"
    )


@pytest.mark.parametrize(("option", "value", "policy"), PARTNERS)
def test_a_policy_with_what_it_reads_is_taken(option: str, value: Any, policy: str):
    name, _, chosen = policy.partition("=")
    policy_options = nested(name, chosen)
    load_config(merged(policy_options, nested(option, value), TOGETHER.get(option, {})))
    if option in OPTIONAL:
        load_config(policy_options)
        return
    assert refusal(policy_options, TOGETHER.get(option, {})) == f"treepo.{policy} needs treepo.{option}: set it"


def test_a_schedule_needs_both_ends_in_order():
    scheduled = merged(nested("divergence.allocation", "logprob"), nested("divergence.logprob.schedule", "ascending"))
    low, high = nested("divergence.logprob.min_temperature", 1), nested("divergence.logprob.max_temperature", 2)
    load_config(merged(scheduled, low, high))
    needs = "a treepo.divergence.logprob.schedule other than constant needs treepo.divergence.logprob."
    assert refusal(scheduled, low) == f"{needs}max_temperature: set it"
    assert refusal(scheduled, high) == f"{needs}min_temperature: set it"
    assert refusal(nested("divergence.allocation", "logprob"), low) == (
        "treepo.divergence.logprob.min_temperature=1.0 is refused: it is read with a "
        "treepo.divergence.logprob.schedule other than constant only; choose that or leave the option at null"
    )
    assert refusal(scheduled, high, nested("divergence.logprob.min_temperature", 3)).startswith(
        "treepo.divergence.logprob.min_temperature=3.0 exceeds treepo.divergence.logprob.max_temperature=2.0"
    )


@pytest.mark.parametrize("detector", ["", "module", "a:b:c", "a b:c", "1a:b", ":b", "a:"])
def test_an_answer_detector_is_an_import_path(detector: str):
    assert refusal(nested("termination.answer_detector", detector)).startswith(
        f"treepo.termination.answer_detector={detector!r} is refused"
    )


def test_values_at_their_limits_are_taken():
    load_config(
        {
            "width": 4,
            "segment_length": 8,
            "max_depth": 4,
            "max_divergence": 4,
            "initial_divergence": [1, 4],
            "min_trajectory_length": 32,
            "divergence": {"budget": "ramp", "ramp_depth": 4},
            "fallback": {
                "candidates": "answered_min_windows",
                "min_windows": 1,
                "window": 32,
                "cut": "block",
                "block_size": 32,
            },
            "budget": {"total": "response_tokens", "response_tokens": 1, "min_width": 4},
        }
    )


def test_the_pages_of_options_are_up_to_date():
    for path, page in ((DEFAULT_PATH, configuration_markdown()), (TRAINING_PATH, training_markdown())):
        assert path.read_text(encoding="utf-8") == page, "run `python tests/support/config_docs.py`"


def test_the_pages_name_every_option():
    page = configuration_markdown() + training_markdown()
    names = option_names()
    assert len(names) == len(set(names)) > 40
    assert [name for name in names if f"| `{name}` |" not in page] == []


def test_every_option_says_what_it_means():
    def without_meaning(model: Any) -> list[str]:
        missing = []
        for name, field in model.model_fields.items():
            if hasattr(field.annotation, "model_fields"):
                missing += without_meaning(field.annotation)
            elif not field.description:
                missing.append(name)
        return missing

    assert without_meaning(TreePOConfig) == []
