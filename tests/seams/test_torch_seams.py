"""PyTorch's flash-attention operators, which packing calls below the public function. Checked on 2.11.0 and 2.13.0."""

import torch

FORWARD = [
    *("query", "key", "value", "cum_seq_q", "cum_seq_k", "max_q", "max_k", "dropout_p", "is_causal"),
    "return_debug_mask",
]
BACKWARD = [
    *("grad_out", "query", "key", "value", "out", "logsumexp", "cum_seq_q", "cum_seq_k", "max_q", "max_k"),
    *("dropout_p", "is_causal", "rng_state", "unused"),
]


def positional(operator: object) -> list[str]:
    return [argument.name for argument in operator.default._schema.arguments if not argument.kwarg_only]  # type: ignore[attr-defined]


def keywords(operator: object) -> set[str]:
    return {argument.name for argument in operator.default._schema.arguments if argument.kwarg_only}  # type: ignore[attr-defined]


def test_the_operators_take_the_arguments_that_treepo_packing_attention_flash_gives() -> None:
    forward, backward = torch.ops.aten._flash_attention_forward, torch.ops.aten._flash_attention_backward
    assert positional(forward) == FORWARD
    assert positional(backward) == BACKWARD
    for operator in (forward, backward):
        assert {"scale", "window_size_left", "window_size_right"} <= keywords(operator)
    assert [returned.name for returned in forward.default._schema.returns] == [
        *("output", "softmax_logsumexp", "rng_state", "unused", "debug_attn_mask")
    ]
    assert len(backward.default._schema.returns) == 3
