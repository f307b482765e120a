"""Whole trees on disk, `tests/golden/trees/*.json`; `python tests/unit/tree/golden_trees.py` writes them anew.

Written trees change only on purpose: every difference in a diff is a change of what users get under the same seed.
"""

import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripted_trees import Answer, decode, grow_with_history, make_sampler, picture

from treepo.tree import SegmentRequest

FOLDER = Path(__file__).resolve().parents[2] / "golden" / "trees"

CASES: dict[str, dict[str, Any]] = {
    "fixed": {"width": 6, "max_depth": 4},
    "fixed_start_2_to_4": {"width": 7, "initial_divergence": [2, 4]},
    "random_without_transfer": {
        "width": 6,
        "divergence": {"budget": "random", "random_range": [1, 3], "transfer": False},
        "fallback": {"candidates": "any"},
    },
    "ramp_with_cuts_inside_segments": {
        "width": 6,
        "max_depth": 4,
        "divergence": {"budget": "ramp"},
        "fallback": {"candidates": "by_reason", "window": 3, "max_back": 2},
    },
    "logprob_low_with_blocks": {
        "width": 6,
        "max_divergence": 2,
        "divergence": {
            "transfer": False,
            "allocation": "logprob",
            "logprob": {"score": "last_segment", "temperature": 5.0},
        },
        "fallback": {"candidates": "longer_first", "cut": "block", "block_size": 3},
    },
    "token_budget_and_least_length": {
        "width": 8,
        "min_trajectory_length": 4,
        "budget": {"total": "response_tokens", "response_tokens": 40, "min_width": 3},
        "fallback": {"candidates": "by_reason_soft", "cut": "lowest_logprob"},
    },
}

# Picked so that every tree shows what its case is about: forks, fallbacks and, where there may be, split nodes.
ENGINES = {
    "fixed": 109,
    "fixed_start_2_to_4": 0,
    "random_without_transfer": 6,
    "ramp_with_cuts_inside_segments": 5,
    "logprob_low_with_blocks": 1,
    "token_budget_and_least_length": 2339,
}


def letters(case: str) -> Answer:
    """An engine for one case: random letters, and an end in two of five segments."""

    def answer(request: SegmentRequest) -> str:
        draw = random.Random(f"{case} {ENGINES[case]} {request.seed}")
        ends = draw.random() < 0.4
        length = draw.randint(1, request.max_tokens) if ends else request.max_tokens
        text = "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=length))
        return text[:-1] + "$" if ends else text

    return answer


def record(case: str) -> dict[str, Any]:
    """Grows the tree of a case and writes down what was asked, what came back and what it became."""
    tree, history = grow_with_history(make_sampler(prompt_id=case, **CASES[case]), letters(case))
    return {
        "options": CASES[case],
        "requests": [
            {
                "step": entry.step,
                "id": entry.request.id,
                "parent": entry.request.parent_request,
                "continues": entry.request.continues,
                "prefix": entry.prefix,
                "most": entry.request.max_tokens,
                "reach": entry.request.reach,
                "answer": entry.answer,
            }
            for entry in history
        ],
        "tree": picture(tree).splitlines(),
        "trajectories": [
            {
                "nodes": list(trajectory.path.node_ids),
                "texts": [decode(node.tokens) for node in trajectory.nodes],
                "reason": trajectory.reason,
                "step": trajectory.finish_step,
                "fallback": trajectory.from_fallback,
            }
            for trajectory in tree.trajectories
        ],
        "stats": asdict(tree.stats),
    }


def to_text(recorded: dict[str, Any]) -> str:
    """JSON with one request, one line of the picture and one trajectory per line."""
    parts: list[str] = []
    for key, value in recorded.items():
        if isinstance(value, list):
            lines = ",\n".join(f"    {json.dumps(entry, ensure_ascii=False)}" for entry in value)
            parts.append(f'  "{key}": [\n{lines}\n  ]')
        else:
            parts.append(f'  "{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    for name in CASES:
        (FOLDER / f"{name}.json").write_text(to_text(record(name)), encoding="utf-8")
