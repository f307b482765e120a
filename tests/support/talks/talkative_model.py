"""A tiny model that ends its turns: a few steps on talks of short words."""

import random
from pathlib import Path
from typing import Any

import torch
from tiny_stack import write_tiny_model
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

_STEPS, _BATCH, _TURNS = 60, 8, 3


def write_talkative_model(folder: Path) -> Path:
    """The tiny random model, after it has learned to write short words and to end its turn behind them."""
    write_tiny_model(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    draw = random.Random(0)
    for _ in range(_STEPS):
        texts = [tokenizer.apply_chat_template(_talk(draw), tokenize=False) for _ in range(_BATCH)]
        tokens = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
        logits = model(**tokens).logits[:, :-1]
        labels = tokens["input_ids"][:, 1:].masked_fill(tokens["attention_mask"][:, 1:] == 0, -100)
        loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.save_pretrained(folder)
    return folder


def _talk(draw: random.Random) -> list[dict[str, str]]:
    messages = [{"role": "user", "content": f"{draw.randint(0, 9)} plus {draw.randint(0, 9)}?"}]
    for _ in range(_TURNS):
        word = "".join(draw.choice("abcdefghij") for _ in range(draw.randint(2, 6)))
        messages += [
            {"role": "assistant", "content": word},
            {"role": "user", "content": f"{draw.randint(0, 20)} letters"},
        ]
    return messages
