"""Trees for the viewer's tests: a small one whose numbers can be computed by hand, hostile ones, and many."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from report_page import HOSTILE

from treepo.viewer import ShownNode, ShownTrajectory, ShownTree

FRAME = ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")
"""What a chat template puts around every question."""


def node(number: int, parent: int | None, words: str, **fields: Any) -> ShownNode:
    """A node with a token per word, each of log-prob -0.5 and entropy 0.25."""
    pieces = [f"{word} " for word in words.split()]
    filled: dict[str, Any] = {
        "text": "".join(pieces),
        "pieces": pieces,
        "tokens": list(range(10, 10 + len(pieces))),
        "log_probs": [-0.5] * len(pieces),
        "entropies": [0.25] * len(pieces),
        "weight_versions": (3, 3),
    }
    return ShownNode(id=number, parent=parent, length=len(pieces), **{**filled, **fields})


def small_tree(uid: str = "u1", group: str = "step 1", question: str = "2 plus 2?", **fields: Any) -> ShownTree:
    """Three trajectories; the third grew out of a fallback into the first::

    prompt ─ 1 ┬ 2          right, 2 tokens and an observation of 1
               ├ 3 ── 4     wrong
               └ 5          wrong, from a fallback
    """
    nodes = [
        node(1, None, "let us add both", log_probs=[-0.1, -0.2, -0.3, -0.4]),
        node(2, 0, "four is seen", observed=1, log_probs=[-1.0, -3.0, 0.0]),
        node(3, 0, "five or"),
        node(4, 2, "six"),
        node(5, 0, "seven needle", entropies=[1.5, 2.5]),
    ]
    # The page's one numbers, and one per token in a node: the last is what was observed.
    leaves = [
        ShownTrajectory(
            leaf=1,
            reason="answered",
            from_fallback=False,
            finish_step=2,
            accuracy=1.0,
            reward=1.0,
            fields={"answer": "4"},
            advantages=[1.0, [2.0, 3.0, 0.0]],
        ),
        ShownTrajectory(
            leaf=3,
            reason="eos",
            from_fallback=False,
            finish_step=3,
            accuracy=0.0,
            reward=-0.5,
            fields={"answer": None},
            advantages=[-1.0, -1.0, -2.0],
        ),
        ShownTrajectory(
            leaf=4,
            reason="max_tokens",
            from_fallback=True,
            finish_step=4,
            accuracy=0.0,
            reward=-0.5,
            advantages=[-0.5, -0.5],
        ),
    ]
    filled: dict[str, Any] = {"ground_truth": "4", "nodes": nodes, "trajectories": leaves, "stats": {"forks": 1}}
    return ShownTree(group=group, uid=uid, prompt=question.join(FRAME), **{**filled, **fields})


def hostile_tree() -> ShownTree:
    """Hostile text wherever text can be."""
    tree = small_tree(HOSTILE, HOSTILE, HOSTILE, ground_truth={HOSTILE: HOSTILE}, stats={HOSTILE: 1})
    return replace(
        tree,
        nodes=[replace(one, text=HOSTILE * one.length, pieces=[HOSTILE] * one.length) for one in tree.nodes],
        trajectories=[replace(one, reason=HOSTILE, fields={HOSTILE: [HOSTILE]}) for one in tree.trajectories],
    )


def many_trees(steps: int, prompts: int) -> Iterator[ShownTree]:
    """Trees of many steps; those of odd prompts are all right and have no fallback."""
    for step in range(1, steps + 1):
        for prompt in range(prompts):
            tree = small_tree(f"u{step}-{prompt}", f"step {step}", f"{step} plus {prompt}?")
            if prompt % 2:
                tree = replace(
                    tree,
                    trajectories=[replace(one, accuracy=1.0, from_fallback=False) for one in tree.trajectories],
                )
            yield tree
