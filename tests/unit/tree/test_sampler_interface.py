"""What the sampler refuses, and how it says so."""

import math
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from scripted_trees import by_request, decode, encode, grow, make_sampler, segment, small_config

from treepo.tree import Segment, SegmentRequest, TreeSampler


def answered(request: SegmentRequest, **changes: Any) -> Segment:
    given = {"request_id": request.id, "tokens": encode("ab"), "log_probs": [-1.0, -1.0], "stopped": False}
    return Segment(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"request_id": 7}, "request 7 was never made"),
        ({"request_id": -1}, "request -1 was never made"),
        ({"request_id": 2}, "request 2 was never made"),
        ({"tokens": [], "log_probs": []}, "request 0 asked for 1 to 4 tokens, the engine gave 0"),
        ({"tokens": [1] * 5, "log_probs": [0.0] * 5}, "request 0 asked for 1 to 4 tokens, the engine gave 5"),
        ({"log_probs": [-1.0]}, "request 0 has 2 tokens but 1 log-probs; they must align"),
        ({"log_probs": [-1.0] * 3}, "request 0 has 2 tokens but 3 log-probs; they must align"),
        ({"log_probs": [-1.0, -math.inf]}, "request 0 gives token 98 the log-prob -inf; it must be finite"),
        ({"log_probs": [math.nan, -1.0]}, "request 0 gives token 97 the log-prob nan; it must be finite"),
        ({"log_probs": [math.inf, -math.inf]}, "request 0 gives token 97 the log-prob inf; it must be finite"),
        ({"log_probs": [-1.0, -1e39]}, "request 0 gives token 98 the log-prob -1e+39; it must be finite"),
        ({"tokens": encode("$b")}, "request 0 went on behind end token 36, token 1 of 2"),
        ({"tokens": encode("a$b$"), "log_probs": [-1.0] * 4}, "request 0 went on behind end token 36, token 2 of 4"),
    ],
)
def test_a_wrong_segment_names_the_prompt_and_leaves_no_trace(changes: dict[str, Any], problem: str):
    sampler = make_sampler(prompt_id="step 3 prompt 14")
    first, second = sampler.start()
    with pytest.raises(ValueError, match="prompt") as refused:
        sampler.receive(answered(first, **changes))
    assert str(refused.value) == f"prompt step 3 prompt 14: {problem}"
    assert sampler.receive(answered(first)) == []
    assert len(sampler.receive(answered(second))) == 4


def test_the_least_log_prob_of_single_precision_is_taken():
    sampler = make_sampler(width_override=1)
    (request,) = sampler.start()
    least = -3.4028234663852886e38
    sampler.receive(answered(request, log_probs=[least, least], stopped=True))
    assert sampler.tree().trajectories[0].log_probs == [least, least]


def test_a_decoder_of_text_that_fails_leaves_the_request_open():
    broken = True

    def decode_or_fail(tokens: Sequence[int]) -> str:
        if broken:
            raise RuntimeError("no such token")
        return decode(tokens)

    sampler = TreeSampler(
        prompt_id="p",
        prompt_tokens=[1],
        config=small_config(),
        max_response_length=12,
        eos_token_ids=frozenset(),
        decode=decode_or_fail,
        width=1,
    )
    (request,) = sampler.start()
    with pytest.raises(RuntimeError, match="no such token"):
        sampler.receive(answered(request, stopped=True))
    assert not sampler.done
    broken = False
    assert sampler.receive(answered(request, stopped=True)) == []
    assert sampler.tree().stats.segments == 1


def test_a_request_is_answered_once():
    sampler = make_sampler()
    first, _ = sampler.start()
    sampler.receive(answered(first))
    with pytest.raises(ValueError, match="prompt p: request 0 was answered before"):
        sampler.receive(answered(first))


def test_a_sampler_starts_once():
    sampler = make_sampler()
    sampler.start()
    with pytest.raises(ValueError, match="prompt p: the sampler was started before"):
        sampler.start()


def test_the_tree_is_there_when_it_has_grown_and_not_before():
    sampler = make_sampler(width=2)
    assert not sampler.done
    with pytest.raises(ValueError, match="prompt p: the tree has not grown yet, 0 segments are missing"):
        sampler.tree()
    first, second = sampler.start()
    assert not sampler.done
    sampler.receive(segment(first, "a$"))
    with pytest.raises(ValueError, match="prompt p: the tree has not grown yet, 1 segments are missing"):
        sampler.tree()
    assert sampler.receive(segment(second, "b$")) == []
    assert sampler.done
    tree = sampler.tree()
    assert (tree.prompt_id, tree.prompt_tokens) == ("p", encode("?"))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"width_override": 0}, "width=0 must be at least 1"),
        ({"max_response_length": -1}, "max_response_length=-1 must be at least 1"),
        ({"training_progress": -0.1}, "training_progress=-0.1 must be within 0 and 1"),
        ({"training_progress": 1.1}, "training_progress=1.1 must be within 0 and 1"),
        (
            {"min_trajectory_length": 9, "max_response_length": 8},
            "treepo.min_trajectory_length=9 exceeds max_response_length=8",
        ),
        (
            {"divergence": {"budget": "step_tokens", "step_tokens": 9}},
            "treepo.divergence.budget=step_tokens needs active_prompts",
        ),
        (
            {
                "divergence": {
                    "allocation": "logprob",
                    "logprob": {"schedule": "descending", "min_temperature": 1, "max_temperature": 2},
                }
            },
            "treepo.divergence.logprob.schedule=descending needs training_progress",
        ),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], problem: str):
    with pytest.raises(ValueError, match="prompt p: ") as refused:
        make_sampler(**arguments)
    assert str(refused.value) == f"prompt p: {problem}"


def test_arguments_at_the_edge_are_taken():
    options: dict[str, Any] = {"min_trajectory_length": 8, "max_response_length": 8, "width_override": 1}
    for progress in (0, 1, None):
        assert make_sampler(training_progress=progress, **options).width == 1
    assert make_sampler(max_response_length=1).start()[0].max_tokens == 1


def test_max_response_length_zero_is_refused():
    with pytest.raises(ValueError, match="max_response_length=0 must be at least 1"):
        TreeSampler(
            prompt_id="p",
            prompt_tokens=[1],
            config=small_config(),
            max_response_length=0,
            eos_token_ids=frozenset({2}),
            decode=decode,
        )


@pytest.mark.parametrize("count", [0, -1])
def test_a_wrong_number_of_active_prompts_is_refused(count: int):
    sampler = make_sampler(
        width_override=2, active_prompts=lambda: count, divergence={"budget": "step_tokens", "step_tokens": 99}
    )
    with pytest.raises(ValueError, match=f"prompt p: active_prompts gave {count}, but this prompt is growing"):
        grow(sampler, lambda request: "abcd")
    assert not sampler.done


def test_too_many_short_trajectories_are_an_error_that_names_the_prompt():
    sampler = make_sampler(prompt_id="step 1 prompt 2", min_trajectory_length=3, max_dropped=5)
    with pytest.raises(ValueError, match="prompt step 1 prompt 2") as stopped:
        grow(sampler, lambda request: "a$")
    assert str(stopped.value) == (
        "prompt step 1 prompt 2: more than treepo.max_dropped=5 trajectories were shorter than "
        "treepo.min_trajectory_length=3: lower the latter"
    )
    # Nothing of it passes for a tree.
    sampler = make_sampler(prompt_id="p", min_trajectory_length=3, max_dropped=1)
    first, second = sampler.start()
    sampler.receive(segment(first, "a$"))
    with pytest.raises(ValueError, match=r"treepo\.max_dropped=1"):
        sampler.receive(segment(second, "a$"))
    assert not sampler.done
    with pytest.raises(ValueError, match="prompt p: there is no tree, its last step failed"):
        sampler.tree()
    # Exactly as many are allowed.
    script = dict.fromkeys(range(5), "a$") | dict.fromkeys(range(5, 30), "abc$")
    sampler = make_sampler(min_trajectory_length=3, max_dropped=5)
    tree = grow(sampler, by_request(script))
    assert tree.stats.dropped == 5
    # What is dropped is not kept in memory either.
    assert set(sampler._texts._answers) == {node.id for trajectory in tree.trajectories for node in trajectory.nodes}


def test_the_room_imports_nothing_heavy():
    heavy = ("torch", "numpy", "transformers", "ray", "vllm", "verl")
    code = f"import sys, treepo.tree; print([name for name in {heavy} if name in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert seen.stdout.strip() == "[]"
