"""What is wrong with a sampler's arguments or with a segment: each check gives the problem in words, or None."""

from collections.abc import Iterable

from treepo.config import TreePOConfig
from treepo.config.policies import DivergenceAllocation, DivergenceBudget, TemperatureSchedule
from treepo.tree.node import Node, Segment, SegmentRequest

_LARGEST = (2.0 - 2.0**-23) * 2.0**127  # in single precision, which nodes hold


def argument_problem(
    config: TreePOConfig,
    *,
    width: int,
    max_response_length: int,
    training_progress: float | None,
    counts_active_prompts: bool,
) -> str | None:
    """What is wrong with the arguments of a `TreeSampler`."""
    if width < 1:
        return f"width={width} must be at least 1"
    if max_response_length < 1:
        return f"max_response_length={max_response_length} must be at least 1"
    least = config.min_trajectory_length
    if least is not None and least > max_response_length:
        return f"treepo.min_trajectory_length={least} exceeds max_response_length={max_response_length}"
    if training_progress is not None and not 0 <= training_progress <= 1:
        return f"training_progress={training_progress} must be within 0 and 1"
    options = config.divergence
    if options.budget is DivergenceBudget.STEP_TOKENS and not counts_active_prompts:
        return "treepo.divergence.budget=step_tokens needs active_prompts"
    scheduled = options.logprob.schedule is not TemperatureSchedule.CONSTANT
    if options.allocation is DivergenceAllocation.LOGPROB and scheduled and training_progress is None:
        return f"treepo.divergence.logprob.schedule={options.logprob.schedule} needs training_progress"
    return None


def segment_problem(request: SegmentRequest, segment: Segment, *, room: int) -> str | None:
    """What is wrong with the answer to a request, behind whose prefix the response may have `room` tokens more."""
    count = len(segment.tokens)
    if not 1 <= count <= request.max_tokens:
        return f"request {request.id} asked for 1 to {request.max_tokens} tokens, the engine gave {count}"
    if len(segment.log_probs) != count:
        return f"request {request.id} has {count} tokens but {len(segment.log_probs)} log-probs; they must align"
    if segment.observation and segment.stopped:
        return f"request {request.id} ended the response, and yet an observation follows"
    if segment.observation and count + len(segment.observation) >= room:
        return f"request {request.id}: behind an observation of {len(segment.observation)} tokens there is no room left"
    # Their sum is finite where all of them are, and is found in a tenth of the time.
    if not -_LARGEST <= sum(segment.log_probs) <= _LARGEST:
        for token, log_prob in zip(segment.tokens, segment.log_probs, strict=True):
            if not -_LARGEST <= log_prob <= _LARGEST:
                return f"request {request.id} gives token {token} the log-prob {log_prob}; it must be finite"
    return None


def end_problem(request: SegmentRequest, node: Node, eos_token_ids: Iterable[int]) -> str | None:
    """What is wrong with where the node decoded for a request ends.

    A response ends with its end token. One that is decoded beyond it would be scored and trained on with the rest.
    """
    for token in eos_token_ids:
        place = node.position(token)
        if place is not None and place < node.length - 1:
            return f"request {request.id} went on behind end token {token}, token {place + 1} of {node.length}"
    return None
