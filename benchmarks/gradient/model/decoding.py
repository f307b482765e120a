"""Grows many trees with the project's own sampler, their segments decoded in batches by plain PyTorch.

What a step leaves in the cache serves the next one: a path that goes on, and those that fork from it, compute nothing
again. A fallback, which cuts within an older segment, begins anew.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from benchmarks.gradient.model.policy import Policy
from treepo.advantage import TreeRow
from treepo.config import TreePOConfig
from treepo.tree import Segment, Tree, TreeSampler

_ROWS = 128
"""Prefixes that are computed together, where none is in a cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What the model wrote behind a prefix.

    Attributes:
        tokens: Shape [n].
        log_probs: Of each, shape [n].
    """

    tokens: list[int]
    log_probs: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """Trees, and what they took.

    Attributes:
        trees: One per prompt.
        cpu_seconds: Of this process, for decoding.
    """

    trees: list[Tree]
    cpu_seconds: float


def grow_trees(
    policy: Policy, prompts: Sequence[int], config: TreePOConfig, *, seed: int, step: int | None = None
) -> Grown:
    """Grows the trees of some prompts, a step of all of them at a time.

    Args:
        policy: The policy.
        prompts: Numbers of prompts of its training set.
        config: How the trees grow.
        seed: Of all tokens; the trees' own randomness is the configuration's.
        step: Of a training, in which a prompt comes again and its tree makes other choices then.
    """
    samplers = [
        TreeSampler(
            prompt_id=str(number) if step is None else f"step {step} prompt {number}",
            prompt_tokens=policy.prompts[number].tokens,
            config=config,
            max_response_length=policy.response_length,
            eos_token_ids=frozenset({policy.end}),
            decode=policy.decode,
        )
        for number in prompts
    ]
    decoder = Decoder(policy.sampler, end=policy.end, generator=torch.Generator().manual_seed(seed))
    began = time.process_time()
    wanted = [(sampler, request) for sampler in samplers for request in sampler.start()]
    while wanted:
        decoded = decoder.decode(
            [request.prefix_tokens(sampler.prompt_tokens) for sampler, request in wanted],
            limits=[request.max_tokens for _, request in wanted],
        )
        segments = [
            Segment(
                request_id=request.id,
                tokens=one.tokens,
                log_probs=one.log_probs,
                stopped=one.tokens[-1] == policy.end,
            )
            for (_, request), one in zip(wanted, decoded, strict=True)
        ]
        wanted = [
            (sampler, following)
            for (sampler, _), segment in zip(wanted, segments, strict=True)
            for following in sampler.receive(segment)
        ]
    return Grown(trees=[sampler.tree() for sampler in samplers], cpu_seconds=time.process_time() - began)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """The trajectories of some trees, rows of a prompt together and prompts in order.

    Attributes:
        rows: Their paths.
        prompts: Shape (trajectories,), the prompt of each.
        mask: Bool, shape (trajectories, response_length), the tokens of the responses.
        rewards: Shape (trajectories,).
    """

    rows: list[TreeRow]
    prompts: np.ndarray
    mask: np.ndarray
    rewards: np.ndarray


def gather(policy: Policy, prompts: Sequence[int], trees: Sequence[Tree]) -> Gathered:
    """The trajectories of some trees, with their rewards; a tree per prompt."""
    finished = [
        (number, trajectory) for number, tree in zip(prompts, trees, strict=True) for trajectory in tree.trajectories
    ]
    paths = [(number, trajectory.path) for number, trajectory in finished]
    lengths = np.array([path.length for _, path in paths])
    return Gathered(
        rows=[
            TreeRow(prompt_id=str(number), node_ids=path.node_ids, node_lengths=path.node_lengths)
            for number, path in paths
        ],
        prompts=np.array([number for number, _ in paths]),
        mask=np.arange(policy.response_length)[None, :] < lengths[:, None],
        rewards=np.array([policy.reward(policy.prompts[number], one.tokens) for number, one in finished]),
    )


@dataclass(slots=True)
class _Batch:
    """Rows that are decoded together, one per prefix.

    Attributes:
        cache: Keys and values of what has been computed.
        mask: Which places of the cache, and of `tokens` behind it, hold tokens; the others pad on the left.
        positions: Of `tokens`, shape (rows, tokens).
        tokens: What is computed next, shape (rows, tokens).
    """

    cache: DynamicCache
    mask: Tensor
    positions: Tensor
    tokens: Tensor

    def take(self, rows: Tensor) -> None:
        """Keeps these rows, in this order, each as often as it is named."""
        self.cache.batch_select_indices(rows)
        self.mask, self.positions, self.tokens = self.mask[rows], self.positions[rows], self.tokens[rows]

    def follow(self, drawn: Tensor) -> None:
        """Puts a token behind every row."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(drawn), 1)], dim=1)
        self.positions, self.tokens = self.positions[:, -1:] + 1, drawn[:, None]


class Decoder:
    """Continues prefixes at temperature 1.

    Args:
        model: A causal language model on the CPU, which does not change while the decoder is used.
        end: The token that ends a response.
        generator: The only source of randomness.
    """

    def __init__(self, model: PreTrainedModel, *, end: int, generator: torch.Generator) -> None:
        self._model, self._end, self._generator = model, end, generator
        self._left: list[tuple[dict[tuple[int, ...], int], _Batch]] = []

    @torch.inference_mode()
    def decode(self, prefixes: Sequence[list[int]], *, limits: Sequence[int]) -> list[Decoded]:
        """Continues every prefix.

        Args:
            prefixes: Token ids, any lengths; one that the call before ended with is not computed again.
            limits: Most tokens behind each, at least 1.
        """
        keys = [tuple(prefix) for prefix in prefixes]
        left, self._left = self._left, []
        found: dict[int, Decoded] = {}
        for rows, batch in left:
            own = [index for index, key in enumerate(keys) if index not in found and key in rows]
            if own:
                found.update(self._run(batch, [rows[keys[index]] for index in own], own, keys, limits))
        # Alike in length, so that little is padded.
        others = sorted({key for index, key in enumerate(keys) if index not in found}, key=lambda key: (len(key), key))
        for first in range(0, len(others), _ROWS):
            rows = {key: row for row, key in enumerate(others[first : first + _ROWS])}
            own = [index for index, key in enumerate(keys) if index not in found and key in rows]
            found.update(self._run(self._begin(list(rows)), [rows[keys[index]] for index in own], own, keys, limits))
        return [found[index] for index in range(len(prefixes))]

    def _begin(self, prefixes: Sequence[tuple[int, ...]]) -> _Batch:
        longest = max(map(len, prefixes))
        mask = torch.tensor([[0] * (longest - len(prefix)) + [1] * len(prefix) for prefix in prefixes])
        return _Batch(
            cache=DynamicCache(config=self._model.config),
            mask=mask,
            positions=(mask.cumsum(1) - 1).clamp(min=0),
            tokens=torch.tensor([[self._end] * (longest - len(prefix)) + list(prefix) for prefix in prefixes]),
        )

    def _run(
        self,
        batch: _Batch,
        rows: Sequence[int],
        own: Sequence[int],
        keys: Sequence[tuple[int, ...]],
        limits: Sequence[int],
    ) -> dict[int, Decoded]:
        """Decodes from the rows of a batch, a row for each of `own`, and keeps the cache of those that may continue."""
        found = {index: Decoded(tokens=[], log_probs=[]) for index in own}
        logits = self._compute(batch)
        # Paths with one prefix share its computation, and part here.
        chosen = torch.tensor(rows)
        batch.take(chosen)
        logits = logits[chosen]
        numbers, room = torch.tensor(own), torch.tensor([limits[index] for index in own])
        ended = torch.zeros(len(own), dtype=torch.bool)
        while True:
            drawn, log_probs = _draw(logits, self._generator)
            over = ended | (room <= 0)
            for index, done, token, log_prob in zip(
                numbers.tolist(), over.tolist(), drawn.tolist(), log_probs.tolist(), strict=True
            ):
                if not done:
                    found[index].tokens.append(token)
                    found[index].log_probs.append(log_prob)
            room, ended = room - 1, ended | (drawn == self._end)
            batch.follow(drawn)
            running = (~ended & (room > 0)).nonzero().flatten()
            if not len(running):
                break
            # Rows that are over are dropped in batches: selecting costs a copy of the whole cache.
            if len(running) <= 0.8 * len(numbers):
                batch.take(running)
                numbers, room, ended = numbers[running], room[running], ended[running]
            logits = self._compute(batch)
        # Rows that filled their segment with this token. Those that filled it earlier have gone on in the cache since.
        going = (~ended & (room == 0)).nonzero().flatten()
        if len(going):
            batch.take(going)
            ends = [(*keys[index], *found[index].tokens) for index in numbers[going].tolist()]
            self._left.append(({key: row for row, key in enumerate(ends)}, batch))
        return found

    def _compute(self, batch: _Batch) -> Tensor:
        return self._model(
            input_ids=batch.tokens,
            attention_mask=batch.mask,
            position_ids=batch.positions,
            past_key_values=batch.cache,
            logits_to_keep=1,
        ).logits[:, -1]


def _draw(logits: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One token per row of ``logits`` (rows, vocabulary), and its log-probability."""
    log_probs = logits.float().log_softmax(-1)
    drawn = torch.multinomial(log_probs.exp(), 1, generator=generator)
    return drawn.flatten(), log_probs.gather(1, drawn).flatten()
