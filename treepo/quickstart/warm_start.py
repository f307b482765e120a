"""The tiny model's warm start: supervised training on careless workings, so that RL has something to put right.

The pupil whose workings the model learns from forgets every third carry. The model then knows the form and most of the
arithmetic, is right on a part of the problems, and what separates right from wrong is one token: RL can move it fast.
"""

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer
from transformers.utils import logging as transformers_logging

from treepo.files.whole import whole_folder
from treepo.quickstart.lessons import IGNORED, Lessons
from treepo.quickstart.settings import WarmStartSettings
from treepo.quickstart.task import draw, held_out_chains
from treepo.quickstart.tokenizer import train_tokenizer

_RECORD = "warm_start.json"
_CHECK_PROBLEMS = 192


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """A warm-started model.

    Attributes:
        path: Its folder, for transformers, vLLM and verl.
        accuracy: Held-out accuracy, sampled at temperature 1.
        greedy_accuracy: Held-out accuracy at temperature 0.
        steps: Training steps it took.
        seconds: Time it took.
    """

    path: Path
    accuracy: float
    greedy_accuracy: float
    steps: int
    seconds: float


class WarmStartFailed(RuntimeError):
    """The accuracy did not come into the band."""


# Told the step, the loss, and the accuracy where it was just measured.
Progress = Callable[[int, float, float | None], None]


def warm_start(cache: Path, lessons: Lessons, *, progress: Progress) -> WarmStart:
    """Trains the model, or finds it in the cache.

    Args:
        cache: Folder of all cached models. A model is moved there whole when it is done.
        lessons: What to train, and on what.
        progress: Told after every step.

    Raises:
        WarmStartFailed: The accuracy did not come into the band.
    """
    settings = lessons.settings
    folder = cache / f"model-{settings.key}"
    record = folder / _RECORD
    if record.is_file():
        return WarmStart(path=folder, **json.loads(record.read_text()))
    start = time.monotonic()
    threads = torch.get_num_threads()
    # The layers are too small to be shared out, and a busy second core would stall every one of them.
    torch.set_num_threads(1)
    try:
        result, model, tokenizer = _train_and_measure(lessons, progress)
    finally:
        torch.set_num_threads(threads)
    result["seconds"] = time.monotonic() - start
    low, high = settings.band
    if not low <= result["accuracy"] <= high:
        raise WarmStartFailed(
            f"the warm start reached a held-out accuracy of {result['accuracy']:.1%}, outside "
            f"{low:.0%} to {high:.0%}; try another seed"
        )
    transformers_logging.disable_progress_bar()
    with whole_folder(folder) as unfinished:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        (unfinished / _RECORD).write_text(json.dumps(result, indent=1))
    return WarmStart(path=folder, **json.loads(record.read_text()))


def build_tokenizer(lessons: Lessons) -> Qwen2Tokenizer:
    """The tokenizer, learned from the task's training problems."""
    return train_tokenizer(lessons.texts(), vocabulary=lessons.settings.vocabulary)


def build_model(settings: WarmStartSettings, tokenizer: Qwen2Tokenizer) -> Qwen2ForCausalLM:
    """The untrained model, in float32."""
    torch.manual_seed(settings.seed)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=settings.hidden_size,
            intermediate_size=settings.intermediate_size,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.hidden_size // 32,
            num_key_value_heads=settings.hidden_size // 32,
            head_dim=32,  # pyright: ignore[reportCallIssue]
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            dtype=torch.float32,
        )
    )


def _train_and_measure(
    lessons: Lessons, progress: Progress
) -> tuple[dict[str, float], Qwen2ForCausalLM, Qwen2Tokenizer]:
    model, tokenizer, steps = _train(lessons, progress)
    chains = held_out_chains(lessons.settings.task)
    result = {
        "accuracy": lessons.accuracy(model, tokenizer, chains * 2, temperature=1.0),
        "greedy_accuracy": lessons.accuracy(model, tokenizer, chains, temperature=0.0),
        "steps": steps,
    }
    return result, model, tokenizer


def _train(lessons: Lessons, progress: Progress) -> tuple[Qwen2ForCausalLM, Qwen2Tokenizer, int]:
    settings = lessons.settings
    tokenizer = build_tokenizer(lessons)
    model = build_model(settings, tokenizer)
    optimisers = _optimisers(model, settings)
    checks = random.Random(f"checks {settings.seed}")
    check_chains = [draw(checks, settings.task) for _ in range(_CHECK_PROBLEMS)]
    for step, (tokens, labels) in enumerate(_batches(tokenizer, lessons), start=1):
        for optimiser, lr in optimisers:
            optimiser.param_groups[0]["lr"] = lr * settings.rate(step)
            optimiser.zero_grad()
        hidden = model.model(input_ids=tokens).last_hidden_state[:, :-1]
        learned = labels[:, 1:] != IGNORED
        # The vocabulary's logits are the dearest part: only where there is something to learn.
        loss = functional.cross_entropy(model.lm_head(hidden[learned]), labels[:, 1:][learned])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser, _ in optimisers:
            optimiser.step()
        accuracy = None
        if step % settings.check_every == 0:
            accuracy = lessons.accuracy(model, tokenizer, check_chains, temperature=1.0)
        progress(step, loss.item(), accuracy)
        if step == settings.most_steps or (accuracy is not None and accuracy >= settings.target):
            return model, tokenizer, step
    raise AssertionError("batches never end")


def _optimisers(model: PreTrainedModel, settings: WarmStartSettings) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the layers' matrices, AdamW for the rest: several times fewer steps than AdamW for all."""
    named = list(model.named_parameters())
    matrices = [weight for name, weight in named if weight.ndim == 2 and "embed" not in name]
    chosen = {id(weight) for weight in matrices}
    others = [weight for _, weight in named if id(weight) not in chosen]
    return [
        (torch.optim.Muon(matrices, lr=settings.matrix_lr, momentum=0.95, weight_decay=0.0), settings.matrix_lr),
        (torch.optim.AdamW(others, lr=settings.other_lr, betas=(0.9, 0.98), weight_decay=0.0), settings.other_lr),
    ]


def _batches(tokenizer: Qwen2Tokenizer, lessons: Lessons) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of fresh problems, none held out: tokens and labels, shape (batch, longest)."""
    settings = lessons.settings
    rng = random.Random(f"warm start {settings.seed}")
    held_out = {chain.arithmetic for chain in held_out_chains(settings.task)}
    slips = random.Random(f"slips {settings.seed}")
    pad = tokenizer.pad_token_id
    while True:
        rows: list[tuple[list[int], list[int]]] = []
        while len(rows) < settings.batch:
            chain = draw(rng, settings.task)
            if chain.arithmetic not in held_out:
                rows.append(lessons.lesson(tokenizer, chain, slips))
        longest = max(len(tokens) for tokens, _ in rows)
        yield (
            torch.tensor([[*tokens, *[pad] * (longest - len(tokens))] for tokens, _ in rows]),
            torch.tensor([[*labels, *[IGNORED] * (longest - len(labels))] for _, labels in rows]),
        )
