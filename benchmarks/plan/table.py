"""The plan as Markdown."""

from collections.abc import Mapping

from benchmarks.plan.hardware import Hardware
from benchmarks.plan.step import Arm, Planned, Setting
from benchmarks.plan.work import Cost


def tables(setting: Setting, hardware: Hardware, arms: Mapping[Arm, Planned]) -> str:
    """What is counted in a step, and what one accelerator does in it."""
    cell = setting.cell
    return "\n".join(
        [
            f"**{setting.gpus:,} GPUs: {cell.title}, mini-batches of {setting.mini_batch} prompts**",
            "",
            *_counts(arms),
            "",
            *_costs(setting, hardware, arms),
            "",
        ]
    )


def _counts(arms: Mapping[Arm, Planned]) -> list[str]:
    head = (
        *("arm", "tokens in rows", "generated", "requests", "segments", "prompt tokens computed", "from cache"),
        *("KV blocks", "log-probs run on", "updates run on", "sequences at once per GPU"),
    )
    return _table(
        head,
        [
            (
                str(arm),
                *(
                    f"{number:,}"
                    for number in (
                        *(found.row_tokens, found.sampled.generated, found.sampled.requests, found.sampled.segments),
                        *(found.sampled.computed, found.sampled.cached, found.sampled.blocks, found.old.total),
                        *(found.updated.total, found.at_once),
                    )
                ),
            )
            for arm, found in arms.items()
        ],
    )


def _costs(setting: Setting, hardware: Hardware, arms: Mapping[Arm, Planned]) -> list[str]:
    parts = list(next(iter(arms.values())).costs)
    head = ("arm, per GPU", *(f"{part}: PFLOP, GB, GB linked, s" for part in parts), "step, s", "of GRPO's")
    whole = {arm: _seconds(found, setting, hardware) for arm, found in arms.items()}
    return _table(
        head,
        [
            (
                str(arm),
                *(_cost(cost, setting, hardware) for cost in found.costs.values()),
                f"{whole[arm]:,.1f}",
                f"{whole[arm] / whole[Arm.GRPO]:.2f}",
            )
            for arm, found in arms.items()
        ],
    )


def _seconds(found: Planned, setting: Setting, hardware: Hardware) -> float:
    # Parts do not overlap: an engine sleeps while weights are updated.
    return sum(cost.seconds(hardware, setting.utilisation) for cost in found.costs.values())


def _cost(cost: Cost, setting: Setting, hardware: Hardware) -> str:
    seconds = cost.seconds(hardware, setting.utilisation)
    return f"{cost.flops / 1e15:,.3f}, {cost.memory_bytes / 1e9:,.0f}, {cost.link_bytes / 1e9:,.0f}, {seconds:,.1f}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [head, *rows]
    text = ["| " + " | ".join(line) + " |" for line in lines]
    return [text[0], "| --- |" + " ---: |" * (len(head) - 1), *text[1:]]
