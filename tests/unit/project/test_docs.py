"""What the pages quote is what the code says: messages, the example's code, the commands."""

import ast
import pkgutil
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_stack import fit_tokenizer, write_tiny_model
from training_run import ROOT

from recipe.own_task.write_data import write_task
from treepo.config import option_names
from treepo.config.load import compose, resolve
from treepo.start.checks import check

OWN_TASK = (ROOT / "docs/own_task.md").read_text(encoding="utf-8")
TROUBLE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page: Path) -> set[str]:
    """What a page's headings can be linked by."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file_and_heading_that_are_there(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, heading = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if "://" not in link and not (target.exists() and (not heading or heading in anchors(target))):
            broken.append(link)
    assert broken == []


def said() -> Iterator[str]:
    """Every text that our code can print a part of."""
    for place in ("treepo", "recipe", "scripts"):
        for path in (ROOT / place).rglob("*"):
            if path.suffix == ".sh":
                yield path.read_text(encoding="utf-8")
            elif path.suffix == ".py":
                nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                yield from (node.value for node in nodes if isinstance(node, ast.Constant) and type(node.value) is str)


def messages() -> list[str]:
    """What stands first in a cell under "printed", and is marked as no other program's."""
    found = []
    for table in re.findall(r"^\| printed \|.*\n\| --- .*\n((?:\|.*\n)+)", TROUBLE, flags=re.MULTILINE):
        for row in table.splitlines():
            cell = row.split(" | ")[0]
            quotes = re.findall(r"`([^`]+)`( \([A-Za-z, ]+\))?", cell) if cell.startswith("| `") else []
            found += [quote for quote, program in quotes if not program]
    return found


def test_every_message_that_the_page_on_troubles_quotes_is_one_of_ours() -> None:
    texts = list(said())
    parts = {part for message in messages() for part in message.split("…") if part.strip(" ;:,.")}
    assert len(parts) > 30
    assert {part for part in parts if not any(part in text for text in texts)} == set()


def test_code_on_the_page_of_an_own_task_is_the_examples() -> None:
    files = [path.read_text(encoding="utf-8") for path in (ROOT / "recipe/own_task").iterdir() if path.is_file()]
    _, *blocks = re.findall(r"```python\n(.*?)```", OWN_TASK, flags=re.DOTALL)
    assert len(blocks) == 2
    assert [block for block in blocks if not any(block in file for file in files)] == []
    # What stands behind a number sign is the page's own.
    options = "".join(re.findall(r"```yaml\n(.*?)```", OWN_TASK, flags=re.DOTALL)).splitlines()
    known = {line for file in files for line in file.splitlines()} | {"    path: /data/my_reward.py"}
    assert {line for option in options if (line := option.split("#")[0].rstrip()) not in known} == set()


@pytest.mark.parametrize("command", re.findall(r"^.*--config-dir recipe/own_task.*$", OWN_TASK, flags=re.MULTILINE))
def test_the_examples_commands_pass_the_checks_before_the_start(command: str, tmp_path: Path) -> None:
    words = shlex.split(command, comments=True)
    name = words[words.index("--preset") + 1]
    train, held_out = write_task(tmp_path, train=64, held_out=8)
    model = fit_tokenizer(write_tiny_model(tmp_path / "model"), train)
    own = [
        f"data.train_files=[{train}]",
        f"data.val_files=[{held_out}]",
        f"actor_rollout_ref.model.path={model}",
        f"run_dir={tmp_path / 'run'}",
    ]
    folder = ROOT / words[words.index("--config-dir") + 1]
    config = compose(name, own, config_dir=folder)
    resolve(config)
    assert check(config) == []


PAPER_MAP = (ROOT / "docs/paper_map.md").read_text(encoding="utf-8")
MAPPED = set(re.findall(r"`(treepo\.[\w.]+)", PAPER_MAP))
OPTIONS = set(option_names())
GROUPS = {option.rpartition(".")[0] for option in OPTIONS}


def test_every_name_on_the_map_of_the_paper_is_an_option_or_can_be_imported() -> None:
    assert len(MAPPED) > 50
    for name in sorted(MAPPED - OPTIONS - GROUPS):
        pkgutil.resolve_name(name)


def test_every_option_of_the_sampler_is_on_the_map_of_the_paper() -> None:
    ours_alone = ("treepo.seed", "treepo.dump_trees", "treepo.rollout.", "treepo.advantage.", "treepo.packing.")
    missing = [
        option
        for option in sorted(OPTIONS - MAPPED)
        if not option.startswith(ours_alone) and not any(option.startswith(f"{group}.") for group in MAPPED & GROUPS)
    ]
    assert missing == []
