"""Writes the trees of a training step to a file, as ``treepo.viewer`` reads them."""

import functools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transfer_queue as tq
from transfer_queue import KVBatchMeta

from treepo.files.whole import write_text_whole
from treepo.tree import FinishReason
from treepo.verl.rollout.rows import TreeFields, path_of
from treepo.viewer import Row, Scores, record_line, tree_from_rows, tree_record

_FIELDS = [
    "uid",
    "prompts",
    "responses",
    "rollout_log_probs",
    "rm_scores",
    "advantages",
    # Absent where rollout log-probs stand for the old ones (algorithm.rollout_correction.bypass_mode).
    "entropy",
    "extra_fields",
    "reward_model",
]


def dump_trees(batch: KVBatchMeta, *, step: int, path: Path, tokenizer: Any) -> int:
    """Writes every tree of a step, one line each.

    Args:
        batch: The step's rows, advantages included; padding rows are left out.
        step: The training step.
        path: The file to write; replaced if it exists, as when a step is trained again after a resume.
        tokenizer: Decodes the tokens.

    Returns:
        The number of trees.
    """
    keys = [key for key, tag in zip(batch.keys, batch.tags, strict=True) if not tag.get("is_padding", False)]
    assert batch.partition_id is not None, "a batch belongs to a partition"
    data = tq.kv_batch_get(keys=keys, partition_id=batch.partition_id, select_fields=_FIELDS)
    groups: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for place, key in enumerate(keys):
        # {uid}_{session}_{index}; the session is the trajectory's place in its tree.
        uid, session, _ = key.rsplit("_", 2)
        groups[uid].append((int(session), place))
    columns = {name: _column(data[name]) for name in _FIELDS if name in data.keys()}  # noqa: SIM118
    lines = [
        record_line(_record(uid, [place for _, place in sorted(places)], columns, step, tokenizer))
        for uid, places in groups.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_whole(path, "".join(lines))
    return len(lines)


def _column(values: Any) -> list[Any]:
    """The rows of a field: tensors without padding, or plain values, bare or wrapped by TransferQueue."""
    return [getattr(value, "data", value) if not hasattr(value, "tolist") else value.tolist() for value in values]


def _record(uid: str, places: Sequence[int], columns: dict[str, list[Any]], step: int, tokenizer: Any) -> Any:
    extras = [columns["extra_fields"][place] for place in places]
    fields: list[TreeFields] = [extra["treepo"] for extra in extras]
    stats = next(entry["tree_stats"] for entry in fields if entry["tree_stats"] is not None)
    entropies = columns.get("entropy")
    turn_stats = next((entry["turn_stats"] for entry in fields if entry["turn_stats"] is not None), None)
    tree = tree_from_rows(
        prompt_id=uid,
        prompt_tokens=columns["prompts"][places[0]],
        rows=[
            Row(
                tokens=columns["responses"][place],
                log_probs=columns["rollout_log_probs"][place],
                path=path_of(entry),
                node_versions=entry["node_versions"],
                observed=entry["observed"],
                reason=FinishReason(entry["reason"]),
                finish_step=entry["finish_step"],
                from_fallback=entry["from_fallback"],
            )
            for place, entry in zip(places, fields, strict=True)
        ],
        stats=stats,
    )
    return tree_record(
        tree,
        step=step,
        scores=[
            Scores(
                reward=sum(columns["rm_scores"][place]),
                reward_extra=extra.get("reward_extra_info", {}),
                advantages=columns["advantages"][place],
                entropies=None if entropies is None else entropies[place],
            )
            for place, extra in zip(places, extras, strict=True)
        ],
        decode=lambda tokens: tokenizer.decode(list(tokens)),
        ground_truth=(columns["reward_model"][places[0]] or {}).get("ground_truth"),
        piece=_pieces(tokenizer),
        extra_stats={
            "seconds": fields[0]["tree_seconds"],
            "discarded_tokens": stats["discarded_tokens"],
            **{f"turn_{name}": value for name, value in (turn_stats or {}).items()},
        },
    )


@functools.cache
def _pieces(tokenizer: Any) -> Any:
    @functools.cache
    def piece(token: int) -> str:
        return tokenizer.decode([token])

    return piece
