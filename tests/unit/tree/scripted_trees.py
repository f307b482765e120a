r"""An engine that answers from a script, and trees as pictures.

Tokens are characters: token id = code point, and ``$`` is the end-of-sequence token. So scripts, prefixes and pictures
can be read as text. The log-prob of a token is minus its code point: ``z`` is less probable than ``a``.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from treepo.config import TreePOConfig, load_config
from treepo.tree import FinishReason, Node, Segment, SegmentRequest, Trajectory, Tree, TreeSampler

EOS = ord("$")
PROMPT = "?"

Answer = Callable[[SegmentRequest], str]


def encode(text: str) -> list[int]:
    return [ord(character) for character in text]


def decode(tokens: Sequence[int]) -> str:
    return "".join(map(chr, tokens))


def log_probs_of(text: str) -> list[float]:
    return [-float(ord(character)) for character in text]


def small_config(**options: Any) -> TreePOConfig:
    """Options of ``treepo``, small trees being the default."""
    return load_config({"width": 4, "segment_length": 4, "max_depth": 3, "max_divergence": 2, **options})


def make_sampler(
    *,
    prompt_id: str = "p",
    max_response_length: int | None = None,
    width_override: int | None = None,
    training_progress: float | None = None,
    active_prompts: Callable[[], int] | None = None,
    **options: Any,
) -> TreeSampler:
    """A sampler over characters; `options` as for `small_config`."""
    config = small_config(**options)
    return TreeSampler(
        prompt_id=prompt_id,
        prompt_tokens=encode(PROMPT),
        config=config,
        max_response_length=max_response_length or config.segment_length * config.max_depth,
        eos_token_ids=frozenset({EOS}),
        decode=decode,
        width=width_override,
        training_progress=training_progress,
        active_prompts=active_prompts,
    )


def segment(request: SegmentRequest, text: str) -> Segment:
    """The engine's answer."""
    return Segment(request_id=request.id, tokens=encode(text), log_probs=log_probs_of(text), stopped=text.endswith("$"))


def by_request(script: Mapping[int, str]) -> Answer:
    """Answers request by request; a request that is not named fails the test."""
    return lambda request: script[request.id]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request of a tree's history: what was asked, at which step, and the answer."""

    request: SegmentRequest
    step: int
    prefix: str
    answer: str

    @property
    def text(self) -> str:
        return self.prefix + self.answer


def grow_with_history(
    sampler: TreeSampler, answer: Answer, shuffle: random.Random | None = None
) -> tuple[Tree, list[Asked]]:
    """Grows the tree; with `shuffle` the segments of a step arrive in random order."""
    history: list[Asked] = []
    requests = sampler.start()
    step = 0
    while requests:
        step += 1
        asked = [
            Asked(
                request=request,
                step=step,
                prefix=decode(request.prefix_tokens(sampler.prompt_tokens)).removeprefix(PROMPT),
                answer=answer(request),
            )
            for request in requests
        ]
        history += asked
        if shuffle:
            shuffle.shuffle(asked)
        requests = []
        for entry in asked:
            assert not requests, "the step was over before its last segment"
            requests = sampler.receive(segment(entry.request, entry.answer))
    return sampler.tree(), history


def grow(sampler: TreeSampler, answer: Answer) -> Tree:
    """Grows the tree."""
    return grow_with_history(sampler, answer)[0]


def texts(tree: Tree) -> list[str]:
    """The text of every trajectory."""
    return [decode(trajectory.tokens) for trajectory in tree.trajectories]


def trajectory(*nodes: str, reason: FinishReason = FinishReason.EOS, log_probs: Sequence[float] = ()) -> Trajectory:
    """A finished path with these texts; `log_probs`, where given, is for all tokens in a row."""
    given = list(log_probs) or log_probs_of("".join(nodes))
    path: list[Node] = []
    for index, text in enumerate(nodes):
        path.append(Node(id=index + 1, tokens=encode(text), log_probs=given[: len(text)]))
        given = given[len(text) :]
    return Trajectory(nodes=tuple(path), reason=reason, finish_step=1, from_fallback=False)


def picture(tree: Tree) -> str:
    """The tree as text: one line per node, children by node id, and behind each leaf why it ended."""
    children: dict[tuple[int, ...], dict[int, str]] = {}
    ends: dict[tuple[int, ...], FinishReason] = {}
    for finished in tree.trajectories:
        ids = tuple(finished.path.node_ids)
        for depth, node in enumerate(finished.nodes):
            children.setdefault(ids[:depth], {})[node.id] = decode(node.tokens)
        ends[ids] = finished.reason
    lines = [PROMPT]

    def draw(prefix: tuple[int, ...], indent: str) -> None:
        nodes = sorted(children.get(prefix, {}).items())
        for index, (node_id, text) in enumerate(nodes):
            last = index == len(nodes) - 1
            path = (*prefix, node_id)
            reason = f" {ends[path]}" if path in ends else ""
            lines.append(f"{indent}{'└─ ' if last else '├─ '}{text}{reason}")
            draw(path, indent + ("   " if last else "│  "))

    draw((), "")
    return "\n".join(lines)


def drawing(text: str) -> str:
    """A picture written in a test, without the indentation of the code around it."""
    lines = [line for line in text.splitlines() if line.strip()]
    indent = min(len(line) - len(line.lstrip()) for line in lines)
    return "\n".join(line[indent:].rstrip() for line in lines)


def filled(script: Mapping[int, str]) -> Answer:
    """Answers by request; those not named get a full segment without an end."""
    return lambda request: script.get(request.id, "wxyz")[: request.max_tokens]


def assert_tree(expected: str, script: Mapping[int, str], **options: Any) -> None:
    """The tree that grows from a script is the one that is drawn; `options` as for `make_sampler`."""
    assert picture(grow(make_sampler(**options), filled(script))) == drawing(expected)
