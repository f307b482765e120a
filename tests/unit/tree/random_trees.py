"""Random configurations, a random engine, and the invariants that every tree keeps (an oracle on plain text)."""

import math
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st
from scripted_trees import Answer, Asked, decode, log_probs_of, make_sampler

from treepo.config import TreePOConfig
from treepo.tree import FinishReason, SegmentRequest, Tree, TreeSampler

PIECES = ("a", "b", "ab", "z", "\\boxed{", "{", "}", "\\", "\\}", "\\boxed{5}", "bb", "$")


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


@st.composite
def tree_options(draw: st.DrawFn) -> dict[str, Any]:
    """Options of ``treepo`` that are valid together and all read, over all policies."""
    width = draw(st.integers(2, 8))
    length = draw(st.integers(1, 7))
    depth = draw(st.integers(1, 5))
    longest = length * depth
    ranges = st.tuples(st.integers(1, width), st.integers(1, width)).map(lambda ends: (min(ends), max(ends)))
    window = draw(_maybe(st.integers(1, longest)))
    least = draw(_maybe(st.integers(1, max(1, longest // 2))))
    divergence = draw(_divergence(ranges, depth, length))
    repetition = {
        "priority": draw(st.sampled_from(["first", "last"])),
        "substring": draw(st.integers(1, 3)),
        "count": draw(st.integers(2, 4)),
    }
    return {
        "width": width,
        "segment_length": length,
        "max_depth": depth,
        **({} if divergence["budget"] == "random" else {"max_divergence": draw(st.integers(1, min(width, 4)))}),
        "initial_divergence": draw(_maybe(ranges)),
        **({} if least is None else {"min_trajectory_length": least, "max_dropped": 10_000}),
        "divergence": divergence,
        "fallback": draw(_fallback(longest, window, length)),
        "budget": draw(_budget(width, longest)),
        "termination": {
            "answer": draw(st.sampled_from(["boxed", "boxed_and_eos"])),
            "repetition": draw(st.sampled_from([{"enabled": False}, {"enabled": True, **repetition}])),
        },
    }


@st.composite
def _divergence(draw: st.DrawFn, ranges: st.SearchStrategy[tuple[int, int]], depth: int, length: int) -> dict[str, Any]:
    budget = draw(st.sampled_from(["fixed", "random", "step_tokens", "ramp"]))
    options: dict[str, Any] = {"budget": budget, "transfer": draw(st.booleans())}
    if budget == "random":
        options["random_range"] = draw(ranges)
    if budget == "step_tokens":
        options["step_tokens"] = draw(st.integers(2 * length, 20 * length))
    if budget == "ramp" and depth >= 2:
        options["ramp_depth"] = draw(_maybe(st.integers(2, depth)))
    options["allocation"] = draw(st.sampled_from(["even", "logprob"]))
    if options["allocation"] == "logprob":
        options["logprob"] = {
            "score": draw(st.sampled_from(["sum", "mean", "last_segment"])),
            "prefer": draw(st.sampled_from(["low", "high"])),
            "temperature": draw(st.sampled_from([1e-6, 0.5, 20.0, 1e6])),
        }
    return options


@st.composite
def _fallback(draw: st.DrawFn, longest: int, window: int | None, length: int) -> dict[str, Any]:
    policies = ["answered_or_eos", "any", "by_reason", "by_reason_soft", "longer_first", "answered_min_windows"]
    candidates = draw(st.sampled_from(policies))
    cut = draw(st.sampled_from(["random", "random", "lowest_logprob", "block", "from_start", "none"]))
    if cut == "none":
        return {"cut": cut}
    options: dict[str, Any] = {"candidates": candidates, "cut": cut}
    if cut == "from_start" and candidates != "answered_min_windows":
        window = None
    options["window"] = window
    if candidates == "answered_min_windows":
        options["min_windows"] = draw(st.integers(1, longest // (window or length)))
    if cut == "random":
        options["max_back"] = draw(_maybe(st.integers(1, 4)))
    if cut == "block":
        options["block_size"] = draw(st.integers(1, longest))
        options["block_prefer"] = draw(st.sampled_from(["low", "high"]))
    return options


@st.composite
def _budget(draw: st.DrawFn, width: int, longest: int) -> dict[str, Any]:
    if draw(st.booleans()):
        return {"total": "trajectories"}
    return {
        "total": "response_tokens",
        "response_tokens": draw(st.integers(1, width * longest)),
        "min_width": draw(st.integers(1, width)),
    }


def random_sampler(options: dict[str, Any], max_response_length: int, prompt_id: str = "p") -> TreeSampler:
    """A sampler with these options; `max_response_length` is raised where the least length asks for more."""
    return make_sampler(
        prompt_id=prompt_id,
        max_response_length=max(max_response_length, options.get("min_trajectory_length") or 1),
        active_prompts=lambda: 3,
        **options,
    )


def random_answer(engine_seed: int) -> Answer:
    """An engine whose answer follows from its seed and the request's."""

    def answer(request: SegmentRequest) -> str:
        draw = random.Random(f"{engine_seed} {request.seed}")
        wanted = draw.choice([request.max_tokens, request.max_tokens, draw.randint(1, request.max_tokens)])
        # Under a least length a model that only ever stops at once would not end; now and then it must continue.
        pieces = PIECES if draw.random() < 0.5 else PIECES[:-1]
        text = ""
        while len(text) < wanted and not text.endswith("$"):
            text += draw.choice(pieces)
        return text[:wanted]

    return answer


def check_tree(sampler: TreeSampler, tree: Tree, history: list[Asked]) -> None:
    """Holds a grown tree to all invariants, given everything that was asked and answered."""
    config = sampler.config
    _check_steps(sampler, tree, history)
    _check_trajectories(sampler, tree, history)
    _check_nodes(tree)
    _check_stats(config, tree, history)
    stats = tree.stats
    assert stats.steps <= config.max_depth * (stats.fallbacks + 1)
    assert stats.fallbacks <= len(tree.trajectories) + stats.dropped
    may_be_fewer = config.fallback.cut == "none" or config.budget.total == "response_tokens"
    assert 1 <= len(tree.trajectories) <= sampler.width
    assert may_be_fewer or len(tree.trajectories) == sampler.width


def parents_of(history: list[Asked]) -> Counter[int]:
    """How many requests went on from each request's segment."""
    return Counter(asked.request.parent_request for asked in history if asked.request.parent_request is not None)


def _check_steps(sampler: TreeSampler, tree: Tree, history: list[Asked]) -> None:
    config = sampler.config
    children = parents_of(history)
    assert [asked.request.id for asked in history] == list(range(len(history)))
    depth: dict[int, int] = {}
    for asked in history:
        request = asked.request
        assert request.max_tokens == min(config.segment_length, sampler.max_response_length - len(asked.prefix))
        if request.parent_request is None:
            assert not request.continues
            depth[request.id] = 1 + math.ceil(len(asked.prefix) / config.segment_length)
            earlier = [other.text for other in history if other.step < asked.step]
            assert not asked.prefix or any(text.startswith(asked.prefix) and text != asked.prefix for text in earlier)
        else:
            assert asked.prefix == history[request.parent_request].text, "what is sent is what came back"
            depth[request.id] = 1 + depth[request.parent_request]
        assert depth[request.id] <= config.max_depth
    continued = [asked.request.parent_request for asked in history if asked.request.continues]
    assert sorted(parent for parent in continued if parent is not None) == sorted(children), "continues exactly once"
    for step, asked in _steps(history):
        finished = sum(trajectory.finish_step < step for trajectory in tree.trajectories)
        active = {entry.request.parent_request for entry in asked if entry.request.parent_request is not None}
        assert len(asked) + finished <= sampler.width
        if step > 1 and active:
            before = sum(entry.step == step - 1 for entry in history)
            _check_divergence(config, len(asked), len(active), before, max(children[parent] for parent in active))


def _check_divergence(config: TreePOConfig, total: int, active: int, before: int, most: int) -> None:
    options = config.divergence
    divergence = options.random_range[1] if options.random_range else config.max_divergence
    if options.budget in ("fixed", "random"):
        assert total <= divergence * before
    if options.budget == "step_tokens":
        assert options.step_tokens is not None
        assert total <= max(active, options.step_tokens // 3 // config.segment_length)
    if not options.transfer:
        assert most <= divergence
    if options.allocation == "even":
        assert most == math.ceil(total / active)


def _check_trajectories(sampler: TreeSampler, tree: Tree, history: list[Asked]) -> None:
    """Trajectories are the requests that nobody went on from, in order; their reasons follow from the plain text."""
    config = sampler.config
    children = parents_of(history)
    least = config.min_trajectory_length or 1
    leaves = [asked for asked in history if not children[asked.request.id]]
    kept = [asked for asked in leaves if len(asked.text) >= least]
    assert len(leaves) - len(kept) == tree.stats.dropped
    assert len(tree.trajectories) == len(kept)
    for asked, trajectory in zip(kept, tree.trajectories, strict=True):
        assert decode(trajectory.tokens) == asked.text
        assert trajectory.log_probs == log_probs_of(asked.text)
        assert trajectory.finish_step == asked.step
        assert trajectory.length == len(asked.text) == sum(trajectory.path.node_lengths) <= sampler.max_response_length
        assert trajectory.reason is expected_reason(sampler, asked, history)
        assert trajectory.from_fallback == _from_fallback(asked, history)
    for asked in history:
        if children[asked.request.id]:
            assert expected_reason(sampler, asked, history) is None


def _from_fallback(asked: Asked, history: list[Asked]) -> bool:
    while asked.request.parent_request is not None:
        asked = history[asked.request.parent_request]
    return asked.step > 1


def _depth(asked: Asked, history: list[Asked], segment_length: int) -> int:
    if asked.request.parent_request is None:
        return 1 + math.ceil(len(asked.prefix) / segment_length)
    return 1 + _depth(history[asked.request.parent_request], history, segment_length)


def expected_reason(sampler: TreeSampler, asked: Asked, history: list[Asked]) -> FinishReason | None:
    """Step 3 of the sampler, written once more over the whole text."""
    config = sampler.config
    rule = config.termination.repetition
    tail = asked.prefix[-rule.substring * rule.count :]
    repeated = rule.enabled and slow_has_repetition(tail + asked.answer, rule.substring, rule.count, len(tail))
    boxed = slow_has_box(asked.text)
    ended = asked.text.endswith("$")
    rules = [
        (FinishReason.ANSWERED, boxed and (ended or config.termination.answer == "boxed")),
        (FinishReason.EOS, ended),
        (FinishReason.MAX_TOKENS, len(asked.text) == sampler.max_response_length),
        (FinishReason.MAX_DEPTH, _depth(asked, history, config.segment_length) == config.max_depth),
    ]
    rules.insert(0 if rule.priority == "first" else len(rules), (FinishReason.REPETITION, repeated))
    return next((reason for reason, holds in rules if holds), None)


def slow_has_repetition(text: str, substring: int, count: int, new_from: int) -> bool:
    starts: dict[str, list[int]] = {}
    for start in range(len(text) - substring + 1):
        starts.setdefault(text[start : start + substring], []).append(start)
    return any(len(found) >= count and found[-1] + substring > new_from for found in starts.values())


def slow_has_box(text: str) -> bool:
    r"""Whether from some ``\boxed{`` on the braces balance, characters behind a backslash not counted."""
    start = text.find("\\boxed{")
    while start >= 0:
        depth, position = 1, start + len("\\boxed{")
        while position < len(text) and depth:
            character = text[position]
            position += 2 if character == "\\" and not text.startswith("\\boxed{", position) else 1
            depth += {"{": 1, "}": -1}.get(character, 0)
        if not depth:
            return True
        start = text.find("\\boxed{", start + 1)
    return False


def _check_nodes(tree: Tree) -> None:
    """A node has one content and one prefix; what trajectories share, they share as nodes."""
    places: dict[int, tuple[tuple[int, ...], str]] = {}
    for trajectory in tree.trajectories:
        ids = tuple(trajectory.path.node_ids)
        for depth, node in enumerate(trajectory.nodes):
            assert len(node.tokens) == len(node.log_probs) > 0
            assert node.id > 0
            assert places.setdefault(node.id, (ids[:depth], decode(node.tokens))) == (ids[:depth], decode(node.tokens))
    assert len({tuple(trajectory.path.node_ids) for trajectory in tree.trajectories}) == len(tree.trajectories)
    distinct = sum(len(text) for _, text in places.values())
    if tree.stats.dropped == 0:
        assert distinct == tree.stats.tokens_generated, "no token is lost or invented"
    assert distinct <= tree.stats.tokens_generated


def _check_stats(config: TreePOConfig, tree: Tree, history: list[Asked]) -> None:
    stats = tree.stats
    fallback_steps = sorted({asked.step for asked in history if asked.request.parent_request is None} - {1})
    assert stats.segments == len(history)
    assert stats.steps == history[-1].step
    assert stats.fallbacks == len(fallback_steps)
    before = [t for t in tree.trajectories if not fallback_steps or t.finish_step < fallback_steps[0]]
    assert stats.finished_before_fallback == len(before)
    assert stats.tokens_generated == sum(len(asked.answer) for asked in history)
    assert stats.tokens_in_trajectories == sum(len(trajectory.tokens) for trajectory in tree.trajectories)
    assert stats.forks == sum(bool(asked.prefix) and not asked.request.continues for asked in history)
    assert stats.dropped <= config.max_dropped


def _steps(history: list[Asked]) -> Iterator[tuple[int, list[Asked]]]:
    for step in range(1, history[-1].step + 1):
        yield step, [asked for asked in history if asked.step == step]
