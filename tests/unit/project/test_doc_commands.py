"""What the pages tell a reader to type is taken by the commands, and their Python runs."""

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluation_run import call, sample
from tiny_stack import write_tiny_model
from training_run import ROOT
from transformers import AutoModelForCausalLM
from typer.core import TyperGroup
from typer.main import get_command

from treepo.commands import COMMANDS
from treepo.config.load import compose, tree_options
from treepo.evaluation.config import compose_evaluation
from treepo.launch.evaluation import VARIABLES

PAGES = [
    page for place in ("*.md", "docs/*.md", "recipe/*/README.md", "data/README.md") for page in sorted(ROOT.glob(place))
]
# What a script or module of ours is in words of the command.
STANDS_FOR = {
    "recipe/treepo/run_treepo_train.sh": ["launch", "train"],
    "recipe/treepo/run_treepo_eval.sh": ["launch", "eval"],
    "recipe.treepo.main_treepo": ["train"],
    "scripts/prepare_data.sh": ["data"],
    "scripts/quickstart.sh": ["quickstart"],
    "treepo": [],
    "treepo.quickstart": ["quickstart"],
}


def typed(page: Path) -> Iterator[list[str]]:
    """The words of every line of a page's ``bash`` blocks.

    The first value stands for a loop's variable, and the reader's own class and options are put in or left out.
    """
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        for name, first in re.findall(r"for (\w+) in (\S+)", block):
            block = block.replace(f"${name}", first)
        block = block.replace("my_package.world:World", "recipe.calculator.calculator:Calculator")
        block = re.sub(r"^for .*?; do|^done$|; done$|bash -c '[^']*&& (?=treepo)|'$", "", block, flags=re.MULTILINE)
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(re.sub(r"--preset \.\.\. | \.\.\.(?=\s|$)", " ", line), comments=True)
            if words:
                yield words


def ours(words: list[str]) -> list[str] | None:
    """A line as words of the command ``treepo``; None where it is another program's."""
    for index, word in enumerate(words):
        if word in STANDS_FOR and words[index - 1] not in ("cd", "install"):
            return [*STANDS_FOR[word], *words[index + 1 :]]
    return None


def parse(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The command that takes the words, and what it reads from them."""
    name, *rest = words
    command: Any = get_command(import_module(f"treepo.commands.{name}").app)
    context = command.make_context(name, rest)
    while isinstance(command, TyperGroup):
        below, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        name, context = f"{name} {below}", command.make_context(below, rest)
    return name, context.params


COMPOSED: dict[str, Any] = {"train": compose, "eval": compose_evaluation}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_is_taken_and_composes(page: Path) -> None:
    for words in typed(page):
        given = ours(words)
        if not given or given == ["--help"]:
            continue
        assert given[0] in COMMANDS, words
        for variable in re.findall(r"^([A-Z_]+)=", "\n".join(words), flags=re.MULTILINE):
            assert variable in VARIABLES or variable in ("MASTER_ADDR", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"), words
        name, params = parse(given)
        kind = name.split()[-1]
        if kind in COMPOSED and name != "data":
            folder = params["config_dir"]
            config = COMPOSED[kind](params["preset"], params["overrides"] or [], config_dir=folder and ROOT / folder)
            if kind == "train":
                tree_options(config)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_script_and_module_that_a_page_runs_is_there_and_knows_its_options(page: Path) -> None:
    for words in typed(page):
        assert [word for word in words if word.endswith(".sh") and not (ROOT / word).is_file()] == []
        if "-m" in words and (name := words[words.index("-m") + 1]).startswith(("benchmarks.", "recipe.")):
            place = ROOT / name.replace(".", "/")
            files = place.glob("*.py") if place.is_dir() else [place.with_suffix(".py")]
            source = "\n".join(file.read_text(encoding="utf-8") for file in files)
            assert source, words
            if name.startswith("benchmarks."):
                assert {word.removeprefix("--") for word in words if word.startswith("--")} <= names(source), words


def names(source: str) -> set[str]:
    """What may be an option: argparse's strings, and the parameters of typer's functions."""
    parameters = re.findall(r"\b([a-z_]+): ", source)
    return {*re.findall(r"--([a-z][a-z-]*)", source), *(name.replace("_", "-") for name in parameters)}


def test_a_word_that_no_command_takes_is_found(tmp_path: Path) -> None:
    # The tests above are worth as much as this.
    page = tmp_path / "page.md"
    command = "treepo train --preset cpu_quickstart \\\n    treepo.widht=$seed"
    page.write_text(f"```bash\nfor seed in 3 4; do\n{command}\ndone\n```\n")
    with pytest.raises(Exception, match="widht"):
        test_every_command_of_a_page_is_taken_and_composes(page)


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_pages_code_of_packing_runs(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(write_tiny_model(tmp_path / "model"))
    seen = []

    def loss(log_probs: torch.Tensor, entropies: torch.Tensor, rows: Any) -> torch.Tensor:
        seen.append((log_probs.shape, entropies.shape, list(rows)))
        return log_probs.sum()

    alone, shared = python_blocks("packing_inside.md")
    names: dict[str, Any] = {"prompts": [[5, 6], [5, 6]], "responses": [[7, 8], [7, 9, 4]], "response_length": 4}
    names |= {"device": "cpu", "model": model, "loss": loss}
    exec(alone, names)
    assert seen == [((2, 4), (2, 4), [0, 1])]
    assert all(parameter.grad is not None for parameter in model.parameters())
    expected = names["scores"]
    # Of this process alone.
    store = torch.distributed.HashStore()  # pyright: ignore[reportPrivateImportUsage]
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        names["group"] = torch.distributed.group.WORLD
        exec(shared, names)
    finally:
        torch.distributed.destroy_process_group()
    for joined, own in zip(names["scores"], expected, strict=True):
        torch.testing.assert_close(joined, own)


def test_the_pages_code_of_a_run_writes_what_was_pending(tmp_path: Path) -> None:
    (block,) = python_blocks("evaluation_files.md")
    asked = sample(benchmark="aime_2024", model="checkpoints/step_200")
    given = {"folder": tmp_path, "question_ids": ["q0"], "sample": asked, "call": call(benchmark="aime_2024")}
    # One sample is enough.
    exec(block.replace("        run.append_call(call)\n", "        run.append_call(call)\n        break\n"), given)
    assert len((tmp_path / "samples/aime_2024.jsonl").read_text().splitlines()) == 1
    assert (tmp_path / "calls.jsonl").read_text()


def test_the_pages_code_of_judging_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = python_blocks("scoring.md")
    exec(block.replace("workers=8", "workers=1"), {"pairs": [("\\boxed{2}", "2"), ("\\boxed{3}", "2")]})
    assert "exact" in capsys.readouterr().out
