"""Small models on several ranks that share each packed sequence, compared with rows one by one."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks.packing_passes import (
    CONFIGS,
    Outcome,
    differences,
    grow_rows,
    make_model,
    pass_by_rows,
    pass_packed,
)
from treepo.packing import Rows

KINDS = (*CONFIGS, "gemma3", "qwen3_moe")


def special_rows() -> Rows:
    """Rows that share nothing, repeat, end inside others or have no response, of trees of very unequal sizes."""
    prompt, trunk = [5, 6, 7, 8], [21, 22, 23, 24, 25]
    prompts = [prompt] * 5 + [[5, 6, 9], [11, 12], [3]]
    return Rows.of(prompts, [[*trunk, 31, 32], [*trunk, 41], trunk[:3], [*trunk, 41], [], [51], [71] * 9, [3]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one rank found.

    Attributes:
        errors: Relative errors against rows by case, and by number as `differences` gives them; on the first rank.
        log_probs: Shape (row_tokens,), of one of the cases.
    """

    errors: dict[str, dict[str, float]]
    log_probs: Tensor


def compare_with_rows(group: dist.ProcessGroup, *, kinds: Sequence[str]) -> Found:
    """Runs all cases; the ranks' scores and mean gradients are the same, so one of them compares.

    Args:
        group: The ranks.
        kinds: Models of `benchmarks.packing_passes`, at least qwen2.
    """
    rows = grow_rows(random.Random(0), prompts=2, width=4, response_length=24)
    found: dict[str, dict[str, float]] = {}
    model = make_model("qwen2")

    def compare(case: str, of: Rows = rows, *, joined: bool = False, **options: Any) -> Outcome:
        passed = pass_packed(model, of, group=group, **options)
        if group.rank() == 0:
            expected = pass_by_rows(model, of)
            outcomes = [_joined(outcome) if joined else outcome for outcome in (passed, expected)]
            found[case] = differences(*outcomes)
        return passed

    first = compare("qwen2")
    compare("split into micro-batches", max_tokens=int(rows.lengths.max()))
    compare("special rows", special_rows())
    # Two tokens: of three ranks one has none of its own. Queries have a single key, so some gradients are zero.
    compare("fewer tokens than ranks", Rows.of([[7]], [[8]]), joined=True)
    # Nothing is scored, and still every rank runs through.
    pass_packed(model, Rows.of([[7, 8], [7, 9]], [[], []]), group=group)
    compare("bfloat16", autocast=True)
    if group.rank() == 0:
        exact = pass_by_rows(model, rows)
        found["noise: rows in bfloat16"] = differences(pass_by_rows(model, rows, autocast=True), exact)
    for kind in (kind for kind in kinds if kind != "qwen2"):
        model = make_model(kind)
        compare(kind)
        if kind in ("qwen3", "gemma3"):
            model.gradient_checkpointing_enable({"use_reentrant": False})
            compare(f"{kind}, gradient checkpointing")
    return Found(errors=found, log_probs=first.log_probs)


def _joined(outcome: Outcome) -> Outcome:
    """All gradients as one."""
    return replace(outcome, gradients={"all": torch.cat([grad.flatten() for grad in outcome.gradients.values()])})
