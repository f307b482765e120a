"""The quickstart's tokenizer: a Qwen2 tokenizer with a small vocabulary learned from the task's own texts.

Loaders build every tokenizer of this model type as the byte-level one, so this is a genuine ``Qwen2Tokenizer``: all
256 bytes, learned merges, ChatML markers. Every digit is a token of its own and so is a newline.
"""

from collections.abc import Iterable

from tokenizers.pre_tokenizers import ByteLevel
from transformers import Qwen2Tokenizer

PAD = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], *, vocabulary: int) -> Qwen2Tokenizer:
    """Learns byte-pair merges from texts.

    Args:
        texts: What the model will read and write.
        vocabulary: Number of tokens at most, special tokens included.

    Returns:
        A tokenizer that pads on the left and ends a turn with ``<|im_end|>``.
    """
    alphabet = [PAD, TURN_START, TURN_END, *sorted(ByteLevel.alphabet())]
    bytes_only = Qwen2Tokenizer(
        vocab={token: index for index, token in enumerate(alphabet)},
        merges=[],
        unk_token=PAD,
        pad_token=PAD,
        eos_token=TURN_END,
        extra_special_tokens=[TURN_START],
        padding_side="left",
    )
    tokenizer = bytes_only.train_new_from_iterator(
        texts, vocab_size=vocabulary, initial_alphabet=sorted(ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
