"""The tiny model's warm start: supervised training on careless workings, so that RL has something to put right.

The pupil whose workings the model learns from forgets every third carry. The model then knows the form and most of the
arithmetic, is right on a part of the problems, and what separates right from wrong is one token: RL can move it fast.
"""

import hashlib
import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer
from transformers.utils import logging as transformers_logging

from treepo.quickstart.chains import Chain, story, working
from treepo.quickstart.sampling import sample
from treepo.quickstart.task import TaskSettings, draw, held_out_chains, train_chains
from treepo.quickstart.tokenizer import train_tokenizer
from treepo.rewards.boxed import last_boxed

# Raised when the code changes what a model would become, so that no older one is taken from the cache.
_VERSION = 2
_RECORD = "warm_start.json"
_IGNORED = -100
_CHECK_PROBLEMS = 192


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStartSettings:
    """What decides the warm-started model.

    Attributes:
        task: The task it is trained on.
        seed: Seed of the weights, the problems and the samples.
        hidden_size: Width of the model.
        layers: Layers of the model.
        intermediate_size: Width of its feed-forward layers.
        vocabulary: Tokens, at most.
        batch: Problems per step.
        matrix_lr: Learning rate of the layers' matrices, by Muon.
        other_lr: Learning rate of embeddings and norms, by AdamW.
        slip_chance: How often the pupil forgets a carry.
        target: Accuracy at which the training stops, sampled at temperature 1 on problems of their own.
        band: Accuracies between which the result must lie.
        most_steps: Steps at most.
        check_every: Steps between two looks at the accuracy.
        response_length: Tokens of a sampled response, at most.
    """

    task: TaskSettings = field(default_factory=TaskSettings)
    seed: int = 0
    hidden_size: int = 96
    layers: int = 3
    intermediate_size: int = 256
    vocabulary: int = 400
    batch: int = 32
    matrix_lr: float = 0.02
    other_lr: float = 5e-3
    slip_chance: float = 0.35
    target: float = 0.3
    band: tuple[float, float] = (0.15, 0.5)
    most_steps: int = 1200
    check_every: int = 40
    response_length: int = 160

    @property
    def key(self) -> str:
        """Names the result in the cache."""
        text = json.dumps({"version": _VERSION, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


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


def warm_start(cache: Path, settings: WarmStartSettings, *, progress: Progress) -> WarmStart:
    """Trains the model, or finds it in the cache.

    Args:
        cache: Folder of all cached models. A model is moved there whole when it is done.
        settings: What to train.
        progress: Told after every step.

    Raises:
        WarmStartFailed: The accuracy did not come into the band.
    """
    folder = cache / f"model-{settings.key}"
    record = folder / _RECORD
    if record.is_file():
        return WarmStart(path=folder, **json.loads(record.read_text()))
    start = time.monotonic()
    threads = torch.get_num_threads()
    # The layers are too small to be shared out, and a busy second core would stall every one of them.
    torch.set_num_threads(1)
    try:
        result, model, tokenizer = _train_and_measure(settings, progress)
    finally:
        torch.set_num_threads(threads)
    result["seconds"] = time.monotonic() - start
    low, high = settings.band
    if not low <= result["accuracy"] <= high:
        raise WarmStartFailed(
            f"the warm start reached a held-out accuracy of {result['accuracy']:.1%}, outside "
            f"{low:.0%} to {high:.0%}; try another seed"
        )
    unfinished = cache / f"unfinished-{settings.key}"
    shutil.rmtree(unfinished, ignore_errors=True)
    transformers_logging.disable_progress_bar()
    model.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    (unfinished / _RECORD).write_text(json.dumps(result, indent=1))
    unfinished.rename(folder)
    return WarmStart(path=folder, **json.loads(record.read_text()))


def build_tokenizer(settings: WarmStartSettings) -> Qwen2Tokenizer:
    """The tokenizer, learned from the task's training problems."""
    texts = (f"user\n{story(chain)}\nassistant\n{working(chain)}\n" for chain in train_chains(settings.task))
    return train_tokenizer(texts, vocabulary=settings.vocabulary)


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


def prompt_tokens(tokenizer: Qwen2Tokenizer, chain: Chain) -> list[int]:
    """The prompt as the rollout sees it."""
    messages = [{"role": "user", "content": story(chain)}]
    tokens = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    return cast(list[int], tokens)


def _train_and_measure(
    settings: WarmStartSettings, progress: Progress
) -> tuple[dict[str, float], Qwen2ForCausalLM, Qwen2Tokenizer]:
    model, tokenizer, steps = _train(settings, progress)
    chains = held_out_chains(settings.task)
    result = {
        "accuracy": _accuracy(model, tokenizer, chains * 2, settings, temperature=1.0),
        "greedy_accuracy": _accuracy(model, tokenizer, chains, settings, temperature=0.0),
        "steps": steps,
    }
    return result, model, tokenizer


def _train(settings: WarmStartSettings, progress: Progress) -> tuple[Qwen2ForCausalLM, Qwen2Tokenizer, int]:
    tokenizer = build_tokenizer(settings)
    model = build_model(settings, tokenizer)
    optimisers = _optimisers(model, settings)
    checks = random.Random(f"checks {settings.seed}")
    check_chains = [draw(checks, settings.task) for _ in range(_CHECK_PROBLEMS)]
    for step, (tokens, labels) in enumerate(_batches(tokenizer, settings), start=1):
        warm_up = min(1.0, step / 30)
        for optimiser, lr in optimisers:
            optimiser.param_groups[0]["lr"] = lr * warm_up
            optimiser.zero_grad()
        hidden = model.model(input_ids=tokens).last_hidden_state[:, :-1]
        learned = labels[:, 1:] != _IGNORED
        # The vocabulary's logits are the dearest part: only where there is something to learn.
        loss = functional.cross_entropy(model.lm_head(hidden[learned]), labels[:, 1:][learned])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser, _ in optimisers:
            optimiser.step()
        accuracy = None
        if step % settings.check_every == 0:
            accuracy = _accuracy(model, tokenizer, check_chains, settings, temperature=1.0)
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


def _batches(tokenizer: Qwen2Tokenizer, settings: WarmStartSettings) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of fresh problems, none held out: tokens and labels, shape (batch, longest)."""
    rng = random.Random(f"warm start {settings.seed}")
    held_out = {chain.arithmetic for chain in held_out_chains(settings.task)}
    slips = random.Random(f"slips {settings.seed}")
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    while True:
        pairs = []
        while len(pairs) < settings.batch:
            chain = draw(rng, settings.task)
            if chain.arithmetic in held_out:
                continue
            text = working(chain, slips=slips, slip_chance=settings.slip_chance)
            pairs.append((prompt_tokens(tokenizer, chain), [*tokenizer.encode(text), end]))
        longest = max(len(prompt) + len(response) for prompt, response in pairs)
        tokens, labels = [], []
        for prompt, response in pairs:
            padding = longest - len(prompt) - len(response)
            tokens.append([*prompt, *response, *[pad] * padding])
            labels.append([*[_IGNORED] * len(prompt), *response, *[_IGNORED] * padding])
        yield torch.tensor(tokens), torch.tensor(labels)


def _accuracy(
    model: Qwen2ForCausalLM,
    tokenizer: Qwen2Tokenizer,
    chains: list[Chain],
    settings: WarmStartSettings,
    *,
    temperature: float,
) -> float:
    """Share of problems with the right number in the last box, one sample each."""
    assert isinstance(tokenizer.eos_token_id, int)
    responses = sample(
        model,
        [prompt_tokens(tokenizer, chain) for chain in chains],
        end=tokenizer.eos_token_id,
        max_new_tokens=settings.response_length,
        temperature=temperature,
        generator=torch.Generator().manual_seed(settings.seed),
    )
    texts = [str(tokenizer.decode(response)) for response in responses]
    right = [last_boxed(text) == str(chain.answer) for text, chain in zip(texts, chains, strict=True)]
    return sum(right) / len(chains)
