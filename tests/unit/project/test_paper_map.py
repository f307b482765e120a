"""The page that maps the paper to the code names only what exists, and every option of the sampler."""

import pkgutil
import re
from pathlib import Path

from treepo.config import option_names

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "paper_map.md").read_text(encoding="utf-8")
NAMES = set(re.findall(r"`(treepo\.[\w.]+)", PAGE))
OPTIONS = set(option_names())
GROUPS = {option.rpartition(".")[0] for option in OPTIONS}


def test_every_name_is_an_option_or_can_be_imported():
    assert len(NAMES) > 50
    for name in sorted(NAMES - OPTIONS - GROUPS):
        pkgutil.resolve_name(name)


def test_every_option_of_the_sampler_is_on_the_page():
    ours_alone = ("treepo.seed", "treepo.dump_trees", "treepo.rollout.", "treepo.advantage.", "treepo.packing.")
    missing = [
        option
        for option in sorted(OPTIONS - NAMES)
        if not option.startswith(ours_alone) and not any(option.startswith(f"{group}.") for group in NAMES & GROUPS)
    ]
    assert missing == []
