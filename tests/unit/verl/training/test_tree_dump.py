"""A step's rows become its trees: padding left out, entropies where the trainer computed some."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from treepo.tree import FinishReason, Node, Trajectory, Tree, TreeStats
from treepo.verl.rollout.rows import tree_fields
from treepo.verl.training import tree_dump
from treepo.viewer import read_records

STATS = TreeStats(**dict.fromkeys(TreeStats.__dataclass_fields__, 1))


def small_tree() -> Tree:
    """Two trajectories that share a node of two tokens."""
    trunk = Node(id=1, tokens=(5, 6), log_probs=(-0.5, -0.25))
    leaves = [Node(id=2, tokens=(7,), log_probs=(-1.0,)), Node(id=3, tokens=(8, 9), log_probs=(-2.0, -3.0), observed=1)]
    return Tree(
        prompt_id="u",
        prompt_tokens=(1, 2),
        trajectories=tuple(
            Trajectory(nodes=(trunk, leaf), reason=FinishReason.EOS, finish_step=2, from_fallback=False)
            for leaf in leaves
        ),
        stats=STATS,
    )


class Letters:
    """A tokenizer whose tokens are letters."""

    def decode(self, tokens: list[int]) -> str:
        return "".join(chr(96 + token) for token in tokens)


@pytest.fixture
def columns() -> dict[str, list[Any]]:
    """What TransferQueue holds of the tree's two rows."""
    tree = small_tree()
    fields = tree_fields(tree, seconds=1.5, discarded_tokens=3)
    rows = tree.trajectories
    return {
        "uid": ["u", "u"],
        "prompts": [torch.tensor(tree.prompt_tokens)] * 2,
        "responses": [torch.tensor(row.tokens) for row in rows],
        "rollout_log_probs": [torch.tensor(row.log_probs) for row in rows],
        "rm_scores": [torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0] * 4)],
        "advantages": [torch.tensor([0.5, 0.5, 1.5]), torch.tensor([0.5, 0.5, -1.0, 0.0])],
        "entropy": [torch.tensor([0.125, 0.25, 0.5]), torch.tensor([0.125, 0.25, 0.75, 0.0])],
        "extra_fields": [{"treepo": entry, "reward_extra_info": {"acc": entry is fields[0]}} for entry in fields],
        "reward_model": [{"ground_truth": "7"}] * 2,
    }


def dumped(columns: dict[str, list[Any]], path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The record that is read back, of rows in another order and with a padding row behind them."""

    def get(*, keys: list[str], partition_id: str, select_fields: list[str]) -> dict[str, list[Any]]:
        assert (set(keys), partition_id) == ({"u_0_0", "u_1_0"}, "train")
        places = [int(key.split("_")[1]) for key in keys]
        return {name: [columns[name][place] for place in places] for name in select_fields if name in columns}

    monkeypatch.setattr(tree_dump.tq, "kv_batch_get", get)
    batch = SimpleNamespace(
        keys=["u_1_0", "u_0_0", "padding_0_0"],
        tags=[{}, {}, {"is_padding": True}],
        partition_id="train",
    )
    assert tree_dump.dump_trees(batch, step=4, path=path, tokenizer=Letters()) == 1  # pyright: ignore[reportArgumentType]
    (record,) = read_records(path)
    return record


def test_the_rows_of_a_step_are_its_trees(
    columns: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = dumped(columns, tmp_path / "trees" / "step_4.jsonl", monkeypatch)
    assert (record.step, record.prompt.uid, record.prompt.text, record.prompt.ground_truth) == (4, "u", "ab", "7")
    assert [(node.id, node.text, node.pieces) for node in record.nodes] == [
        (1, "ef", ("e", "f")),
        (2, "g", ("g",)),
        (3, "hi", ("h", "i")),
    ]
    assert [node.entropies for node in record.nodes] == [(0.125, 0.25), (0.5,), (0.75, 0.0)]
    assert [leaf.advantages for leaf in record.trajectories] == [(0.5, 1.5), (0.5, -1.0)]
    assert [leaf.reward for leaf in record.trajectories] == [1.0, 0.0]
    assert [leaf.reward_extra for leaf in record.trajectories] == [{"acc": True}, {"acc": False}]
    assert (record.stats["seconds"], record.stats["discarded_tokens"]) == (1.5, 3)
    assert record.tree() == small_tree()


def test_without_a_pass_for_old_log_probs_there_are_no_entropies(
    columns: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del columns["entropy"]
    record = dumped(columns, tmp_path / "step_4.jsonl", monkeypatch)
    assert [node.entropies for node in record.nodes] == [None] * 3
