"""The options of environments: defaults, and one line for what cannot work."""

from pathlib import Path
from typing import Any

import pytest

from treepo.config import ConfigError, TreePOConfig, load_config
from treepo.config.policies import CutPosition, FallbackCandidates
from treepo.rollout import without_forks

ADDER = "turn_scenes:Adder"
MODULES = {
    "no_step": "class World:\n    def reset(self, row): ...\n",
    "no_fork": "class World:\n    def step(self, turn): ...\n",
    "wants_arguments": "class World:\n    def __init__(self, rows): ...\n    def step(self, turn): ...\n",
    "broken": "class World\n",
    "raises": "raise OSError('no\\ndata')\n",
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in MODULES.items():
        (tmp_path / f"odd_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)


def refusal(options: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as raised:
        load_config(options)
    return str(raised.value)


def test_without_a_name_nothing_answers() -> None:
    assert TreePOConfig().environment.model_dump(mode="json") == {
        "name": None,
        "fork": "replay",
        "timeout": 120.0,
        "on_error": "observation",
        "max_steps": None,
        "max_open": None,
    }


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"name": "odd_absent:World"},
            "treepo.environment.name=odd_absent:World cannot be imported: ModuleNotFoundError: "
            "No module named 'odd_absent'",
        ),
        (
            {"name": "odd_no_step:Missing"},
            "treepo.environment.name=odd_no_step:Missing cannot be imported: AttributeError: "
            "module 'odd_no_step' has no attribute 'Missing'",
        ),
        (
            {"name": "odd_raises:World"},
            "treepo.environment.name=odd_raises:World cannot be imported: OSError: no data",
        ),
        (
            {"name": "odd_no_step:World"},
            "treepo.environment.name=odd_no_step:World has no method step(turn): write one that returns a "
            "treepo.environment.Observation",
        ),
        (
            {"name": "odd_wants_arguments:World"},
            "treepo.environment.name=odd_wants_arguments:World must be made without arguments (missing a required "
            "argument: 'rows'): read the prompt's row in reset(row)",
        ),
        (
            {"name": "odd_no_fork:World", "fork": "fork"},
            "treepo.environment.fork=fork needs a method fork() of odd_no_fork:World: write one, or set "
            "treepo.environment.fork=replay",
        ),
        ({"name": "odd", "fork": "replay"}, None),
        ({"max_open": 0}, "treepo.environment.max_open=0 is refused: must be greater than or equal to 1"),
        ({"timeout": 0}, "treepo.environment.timeout=0 is refused: must be greater than 0"),
    ],
)
def test_an_environment_that_cannot_work_is_refused_in_one_line(
    environment: dict[str, Any], message: str | None
) -> None:
    said = refusal({"environment": environment})
    assert said == message if message else said.startswith("treepo.environment.name='odd' is refused: ")
    assert "\n" not in said


def test_a_module_with_a_syntax_error_is_refused_in_one_line() -> None:
    said = refusal({"environment": {"name": "odd_broken:World"}})
    assert said.startswith("treepo.environment.name=odd_broken:World cannot be imported: SyntaxError: ")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"fallback": {"window": 4}}, "treepo.fallback.window=4"),
        ({"fallback": {"cut": "block", "block_size": 4}}, "treepo.fallback.block_size=4"),
        ({"rollout": {"backend": "in_engine"}}, "treepo.rollout.backend=in_engine"),
    ],
)
def test_options_that_mean_nothing_between_turns_are_refused(options: dict[str, Any], named: str) -> None:
    assert refusal({**options, "environment": {"name": ADDER}}).startswith(
        f"{named} is refused with treepo.environment"
    )


def test_a_turn_is_the_block_of_cut_block() -> None:
    assert load_config({"fallback": {"cut": "block"}, "environment": {"name": ADDER}}).fallback.block_size is None
    assert "needs treepo.fallback.block_size" in refusal({"fallback": {"cut": "block"}})


@pytest.mark.parametrize(
    ("cut", "kept"), [("random", "from_start"), ("lowest_logprob", "from_start"), ("none", "none")]
)
def test_without_forks_all_begin_at_the_root_and_none_is_cut_but_from_the_start(cut: str, kept: str) -> None:
    options = {
        "width": 6,
        "max_divergence": 3,
        "divergence": {"budget": "ramp"},
        "fallback": {"cut": cut},
        "environment": {"name": ADDER, "fork": "none"},
    }
    changed = without_forks(load_config(options))
    assert changed.initial_divergence == (6, 6)
    assert changed.max_divergence == 1
    assert not changed.divergence.transfer
    assert changed.fallback.cut is CutPosition(kept)
    # Without a fallback nothing reads them.
    assert kept == "none" or changed.fallback.candidates is FallbackCandidates.ANY
    assert changed.environment.name == ADDER
