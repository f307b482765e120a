"""A reward that nothing could call, or that is named where nothing reads it, is refused before any process starts."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from start_checks import run_checks

from treepo.config import ConfigError
from treepo.start import reward_function


def check_reward(config: DictConfig) -> None:
    run_checks(config, reward_function)


def config(path: str | None, name: str = "compute_score", **old: Any) -> DictConfig:
    return OmegaConf.create({"reward": {"custom_reward_function": {"path": path, "name": name}}, **old})


@pytest.mark.parametrize(
    "text",
    [
        "def compute_score(**kwargs):\n    return 1.0\n",
        "async def compute_score(**kwargs):\n    return 1.0\n",
        "compute_score = print\n",
        "from math import floor as compute_score\n",
        "from math import *\n",
        "try:\n    import fast\nexcept ImportError:\n    def compute_score(**kwargs):\n        return 1.0\n",
    ],
)
def test_a_function_is_found_however_its_module_binds_it(text: str, tmp_path: Path) -> None:
    file = tmp_path / "my_reward.py"
    file.write_text(text)
    check_reward(config(str(file)))
    check_reward(config(f"file://{file}"))


def test_the_file_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "my_reward.py").write_text("raise RuntimeError\ndef compute_score(): return 1.0\n")
    check_reward(config(str(tmp_path / "my_reward.py")))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no such file; give the whole path of one that is on every node"),
        ("def score():\n    return 1\n", "defines no such function; it has score"),
        ("# def compute_score\n", "defines no such function; it has none"),
        ("def compute_score(:\n", "cannot be read"),
    ],
)
def test_a_function_that_is_not_there_is_one_line(text: str | None, words: str, tmp_path: Path) -> None:
    file = tmp_path / "my_reward.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        check_reward(config(str(file)))
    assert str(refused.value).startswith("reward.custom_reward_function.")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_module_is_looked_for_as_python_does() -> None:
    check_reward(config("pkg://treepo.rewards.math"))
    check_reward(config(None))
    with pytest.raises(ConfigError, match=r"Python finds no module my\.rewards; put its folder into PYTHONPATH"):
        check_reward(config("pkg://my.rewards"))
    with pytest.raises(ConfigError, match=r"custom_reward_function\.name=nothing is refused: .*math\.py defines no"):
        check_reward(config("pkg://treepo.rewards.math", "nothing"))


@pytest.mark.parametrize(
    ("old", "line"),
    [
        (
            {"custom_reward_function": {"path": "mine.py", "name": None}},
            "custom_reward_function.path=mine.py is refused: .*set reward.custom_reward_function.path in its place",
        ),
        (
            {"reward_model": {"reward_manager": "dapo", "model": {"path": None}}},
            "reward_model.reward_manager=dapo is refused: .*set reward.reward_manager.name in its place",
        ),
        (
            {"reward_model": {"reward_kwargs": {"overlong_buffer_cfg": {"enable": True}}}},
            "set reward.reward_kwargs.overlong_buffer_cfg.enable in its place",
        ),
        ({"reward_model": {"enable": True}}, "set reward.reward_model.enable in its place"),
        ({"reward_model": {"model": {"path": "m"}}}, "set reward.reward_model.model_path in its place"),
        ({"sandbox_fusion": {"url": "http://x"}}, "set reward.sandbox_fusion.url in its place"),
    ],
)
def test_an_option_of_verls_older_layout_is_refused_with_the_one_that_is_read(old: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        check_reward(config(None, **old))
    check_reward(config(None, custom_reward_function={"path": None}, reward_model={"enable": None}))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("pass", "may come to its end in line 2 without returning anything"),
        ("if kwargs:\n        return 1.0", "may come to its end"),
        ("if kwargs:\n        return 1.0\n    else:\n        score = 0.0", "may come to its end"),
        ("try:\n        return 1.0\n    except ValueError:\n        score = 0.0", "may come to its end"),
        ("for one in kwargs:\n        return 1.0", "may come to its end"),
        ("if kwargs:\n        return\n    return 1.0", "returns nothing in line 3"),
        ("return None", "returns nothing in line 2"),
        ("return {'acc': 1.0}", "returns a dict without the key score in line 2"),
    ],
)
def test_a_way_through_the_function_without_a_score_is_refused(body: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "my_reward.py"
    file.write_text(f"def compute_score(**kwargs):\n    {body}\n")
    with pytest.raises(ConfigError, match=words) as refused:
        check_reward(config(str(file)))
    assert str(refused.value).endswith("return a number, or a dict with the key score, on every way through it")


@pytest.mark.parametrize(
    "body",
    [
        "if kwargs:\n        return 1.0\n    else:\n        raise ValueError",
        "try:\n        return 1.0\n    except ValueError:\n        return 0.0",
        "try:\n        score = 1.0\n    finally:\n        return 0.0",
        "with open('x') as file:\n        return 1.0",
        "while True:\n        return 1.0",
        "match kwargs:\n        case _:\n            return 1.0",
        "return {'score': 1.0}",
        "return {**kwargs}",
        "return {name: 1.0 for name in kwargs}",
        "def inner():\n        return\n    return inner() or 1.0",
        "raise NotImplementedError",
        "if kwargs:\n        return 1.0\n    fail()",
    ],
)
def test_a_function_that_may_well_give_a_score_everywhere_is_taken(body: str, tmp_path: Path) -> None:
    file = tmp_path / "my_reward.py"
    file.write_text(f"def compute_score(**kwargs):\n    {body}\n")
    check_reward(config(str(file)))
