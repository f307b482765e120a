"""The tokens that end an answer."""

import functools

from verl.utils.fs import copy_to_local
from verl.utils.model import get_generation_config


@functools.cache
def end_tokens(model_path: str, tokenizer_eos: int | None) -> frozenset[int]:
    """The tokenizer's token, and those of the generation config, which vLLM stops at too.

    Args:
        model_path: The model's folder, or its name on the hub.
        tokenizer_eos: The tokenizer's own end token.
    """
    generation_config = get_generation_config(copy_to_local(model_path))
    configured = generation_config.eos_token_id if generation_config is not None else None
    tokens = [tokenizer_eos, *(configured if isinstance(configured, list) else [configured])]
    return frozenset(token for token in tokens if token is not None)
