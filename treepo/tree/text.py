"""Rules on the text of a response, read segment by segment: the answer and the repetition.

Both look across segment boundaries: the answer scan carries its state along the path, and the repetition rule sees the
end of the text before the segment.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from treepo.config import TerminationConfig
from treepo.config.group import import_named
from treepo.config.policies import AnswerRule
from treepo.tree.node import Node, Nodes
from treepo.tree.termination import has_repetition


@runtime_checkable
class AnswerScan(Protocol):
    """Finds the answer in a response that comes piece by piece; named by ``treepo.termination.answer_detector``.

    A scan never changes: `feed` gives a new one, because paths that fork share what was read before.
    """

    @property
    def complete(self) -> bool:
        """Whether the response holds a complete answer."""
        ...

    @property
    def begun(self) -> bool:
        """Whether it holds at least the beginning of one."""
        ...

    def feed(self, text: str) -> "AnswerScan":
        """The scan after `text` as well."""
        ...


def ends_by_text(rules: TerminationConfig, decode: Callable[[Sequence[int]], str], nodes: Nodes) -> bool:
    """Whether the text of an active path's last node ends the path, whatever its environment would say.

    Args:
        rules: The options of the rules.
        decode: Text of some token ids.
        nodes: The path's; they need not be of the tree yet, but their ids differ.
    """
    by_answer = rules.answer is AnswerRule.BOXED
    if not by_answer and not rules.repetition.enabled:
        return False
    reader, repeated = TextReader(rules, decode), False
    for place, node in enumerate(nodes):
        repeated = reader.read(nodes[:place], node)
    return repeated or (by_answer and reader.answer(nodes).complete)


class TextReader:
    """Reads the text of one tree's nodes, and remembers the scan at the end of each.

    Args:
        rules: The options of the rules.
        decode: Text of some token ids.

    Raises:
        ValueError: The answer detector does not give an `AnswerScan`.
    """

    def __init__(self, rules: TerminationConfig, decode: Callable[[Sequence[int]], str]) -> None:
        answer = import_named(rules.answer_detector)()
        if not isinstance(answer, AnswerScan):
            raise ValueError(
                f"treepo.termination.answer_detector={rules.answer_detector} gives a {type(answer).__name__}, "
                "which lacks complete, begun or feed of treepo.tree.AnswerScan"
            )
        self._repetition = rules.repetition
        self._decode = decode
        self._root_answer = answer
        # By node id: a node has one prefix only. The tail is as much of the text as a repetition can reach back to.
        self._answers: dict[int, AnswerScan] = {}
        self._tails: dict[int, str] = {}

    def answer(self, nodes: Nodes) -> AnswerScan:
        """The answer scan at the end of a path whose nodes were read."""
        return self._answers[nodes[-1].id] if nodes else self._root_answer

    def tail(self, nodes: Nodes) -> str:
        """The end of a path's text, as long as a repetition can reach back from the next node."""
        return self._tails[nodes[-1].id] if nodes else ""

    def read(self, before: Nodes, node: Node) -> bool:
        """Reads a node behind `before`; returns whether it repeats itself, alone or with the text before it."""
        rule = self._repetition
        # What an environment says neither answers nor repeats.
        text = self._decode(node.tokens[: node.written])
        self._answers[node.id] = self.answer(before).feed(text)
        if not rule.enabled:
            self._tails[node.id] = ""
            return False
        tail = self.tail(before)
        seen = tail + text
        self._tails[node.id] = seen[-rule.substring * rule.count :]
        # What was repeated before the node is not its doing: an occurrence has to end in the node.
        return has_repetition(seen, substring=rule.substring, count=rule.count, new_from=len(tail))

    def split(self, before: Nodes, node: Node, head: Node, tail: Node) -> None:
        """Takes note that `node` behind `before` became `head` and `tail`."""
        self.read(before, head)
        self._answers[tail.id] = self._answers.pop(node.id)
        self._tails[tail.id] = self._tails.pop(node.id)

    def forget(self, nodes: Nodes) -> None:
        """Forgets what was read at the end of a path that is given up."""
        del self._answers[nodes[-1].id]
        del self._tails[nodes[-1].id]
