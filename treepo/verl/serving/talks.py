"""Conversations of an evaluation with a user's environment: a question as trees of turns, or as talks by themselves.

Checked against verl 0.9.1 (``ContinuousTokenBuilder``); ``tests/contract/test_evaluation_talks.py`` holds the seam.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from verl.utils.tokenizer.continuous_token_wiring import create_continuous_token_builder
from verl.workers.rollout.llm_server import LLMServerClient

from treepo.config import TreePOConfig
from treepo.evaluation.ask.prompt_templates import PromptTemplate
from treepo.evaluation.ask.prompts import Prompt
from treepo.rollout import grow_tree
from treepo.tree import Tree
from treepo.verl.rollout.portable_engine import PortableEngine
from treepo.verl.rollout.tree_job import TreeJob
from treepo.verl.rollout.turns import TurnTree, messages_as_tokens, own_environment, turn_options


class EvaluationTalks:
    """Talks about questions."""

    def __init__(
        self,
        client: LLMServerClient,
        *,
        tokenizer: Any,
        model_type: str | None,
        put: PromptTemplate,
        multi_turn: Any,
        sampling_params: Mapping[str, Any],
        longest: int,
        seeded: bool,
        eos_token_ids: frozenset[int],
        replicas: int,
    ) -> None:
        """Takes hold of the servers.

        Args:
            client: verl's client of them.
            tokenizer: The model's, with the chat template that is used.
            model_type: The model's type by transformers, from which verl tells how turns end.
            put: How questions are put.
            multi_turn: verl's options ``rollout.multi_turn``.
            sampling_params: verl's sampling parameters.
            longest: Most tokens of a talk, observations included.
            seeded: Whether every request draws from its own seed.
            eos_token_ids: Tokens that end a turn.
            replicas: Servers that share the questions.
        """
        self._client = client
        self._tokenizer = tokenizer
        self._builder: Any = create_continuous_token_builder(tokenizer, hf_model_type=model_type)
        self._put = put
        self._multi_turn = multi_turn
        self._sampling_params = dict(sampling_params)
        self._longest = longest
        self._seeded = seeded
        self._eos = eos_token_ids
        self._replicas = replicas
        self._growing = 0

    async def grow(self, prompt: Prompt, *, options: TreePOConfig, width: int) -> Tree:
        """Talks about a question.

        Args:
            prompt: The question.
            options: TreePO's, with an environment.
            width: Talks wanted; one by itself neither forks nor falls back.

        Raises:
            RolloutError: The tree could not be grown.
        """
        question = prompt.question
        name = f"{question.benchmark}/{question.id}"
        tokens = list(prompt.tokens)
        partner = own_environment(
            {
                "raw_prompt": self._put.put(question),
                "data_source": question.data_source,
                "reward_model": {"ground_truth": question.ground_truth},
                "extra_info": dict(question.extra_info),
            },
            prompt_tokens=tokens,
            options=options,
            multi_turn=self._multi_turn,
            name=name,
            decode=self._decode,
            tokenise=partial(messages_as_tokens, self._builder),
        )
        job = TreeJob(
            tree_id=name,
            prompt_id=name,
            prompt_tokens=tokens,
            options=turn_options(options, width=width),
            sampling_params=self._sampling_params,
            max_response_length=self._longest,
            eos_token_ids=self._eos,
            width=None,
            training_progress=1.0,
            seeded=self._seeded,
            replicas=self._replicas,
            turns=True,
        )
        engine = PortableEngine(
            client=self._client,
            tree_id=name,
            sampling_params=self._sampling_params,
            seeded=self._seeded,
            eos_token_ids=self._eos,
        )
        turns = TurnTree(job, partner, engine, self._decode)
        self._growing += 1
        try:
            return await grow_tree(job.sampler(self._decode, lambda: self._growing), turns.engine)
        finally:
            self._growing -= 1

    def _decode(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode(list(tokens), skip_special_tokens=True)
