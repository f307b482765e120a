"""Generates for an evaluation on verl's vLLM servers, started over Ray without a trainer.

Checked against verl 0.9.1 (``LLMServerManager`` in standalone mode, ``LLMServerClient.generate``);
``tests/contract/test_generation.py`` holds the seams.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig
from verl.workers.rollout.llm_server import LLMServerClient, LLMServerManager

from treepo.config import TreePOConfig
from treepo.evaluation.ask.generator import Generated, Response
from treepo.evaluation.ask.prompts import Prompt
from treepo.evaluation.ask.setup import Setup
from treepo.tree import FinishReason, Trajectory, Tree
from treepo.verl.rollout.tree_client import grow_on_server
from treepo.verl.rollout.tree_job import TreeJob
from treepo.verl.rollout.tree_server import use_servers
from treepo.verl.serving.talks import EvaluationTalks

_WARM_UP_SAMPLES, _WARM_UP_TOKENS = 32, 32


class ServerGenerator:
    """Samples and trees from servers that run; see :class:`treepo.evaluation.ask.generator.Generator`.

    Args:
        client: verl's client of the servers.
        replicas: The servers' replicas.
        setup: The evaluation.
        eos_token_ids: Tokens that end an answer.
        talks: Talks with the environment, where there is one.
    """

    def __init__(
        self,
        client: LLMServerClient,
        replicas: Sequence[Any],
        setup: Setup,
        *,
        eos_token_ids: frozenset[int],
        talks: EvaluationTalks | None = None,
    ) -> None:
        options = setup.options
        self._talks, self._talk_options = talks, setup.talks
        self._client, self._replicas = client, replicas
        self._longest, self._seeded = options.response_length, options.seeded_requests
        self._log_probs = options.log_probs
        self._eos = eos_token_ids
        self._params: dict[str, Any] = {
            "temperature": options.temperature,
            "top_p": options.top_p,
            "top_k": options.top_k,
        }

    async def sample(self, prompt: Prompt, *, seed: int) -> Generated:
        """One independent sample.

        All samples of a question go to one server, whose prefix cache then holds the prompt.

        Raises:
            RuntimeError: The server ended the request.
        """
        if self._talks is not None:
            assert self._talk_options is not None, "there are talks where there is an environment"
            alone = self._talk_options.model_copy(update={"seed": seed})
            tree = await self._talks.grow(prompt, options=alone, width=1)
            return _of_tree(tree, log_probs=self._log_probs, alone=True)
        # verl's server takes keys out of the dictionary it is given.
        params = {**self._params, "max_tokens": self._longest, "logprobs": self._log_probs}
        if self._seeded:
            params["seed"] = seed
        output = await self._client.generate(_name(prompt), prompt_ids=list(prompt.tokens), sampling_params=params)
        tokens = list(output.token_ids)
        if output.stop_reason in ("aborted", "abort") or not tokens:
            raise RuntimeError("the server ended the request")
        # verl reports "stop" and "length" alike; what is shorter than it might be met an end token.
        ended = tokens[-1] in self._eos or len(tokens) < self._longest
        response = Response(
            tokens=tokens,
            log_probs=tuple(output.log_probs) if self._log_probs and output.log_probs is not None else None,
            finish=FinishReason.EOS if ended else FinishReason.MAX_TOKENS,
        )
        return Generated(
            responses=(response,),
            tokens_generated=len(tokens),
            prefix_tokens=len(prompt.tokens),
            cached_tokens=output.extra_fields.get("num_cached_tokens") or 0,
        )

    async def grow(self, prompt: Prompt, *, options: TreePOConfig) -> Generated:
        """One tree, grown within a server; with an environment outside of it.

        Raises:
            RolloutError: It could not be grown.
        """
        if self._talks is not None:
            tree = await self._talks.grow(prompt, options=options, width=options.width)
            return _of_tree(tree, log_probs=self._log_probs)
        job = TreeJob(
            tree_id=_name(prompt),
            prompt_id=_name(prompt),
            prompt_tokens=list(prompt.tokens),
            options=options,
            sampling_params=dict(self._params),
            max_response_length=self._longest,
            eos_token_ids=self._eos,
            width=options.width,
            training_progress=1.0,
            seeded=self._seeded,
            replicas=len(self._replicas),
        )
        grown = await grow_on_server(self._client, job)
        return _of_tree(grown.tree, discarded=grown.discarded_tokens, log_probs=self._log_probs)

    async def warm_up(self, prompt: Prompt) -> None:
        """Some short samples on every server, that are thrown away.

        Raises:
            RayError: A server does not answer.
        """
        params = {**self._params, "max_tokens": min(_WARM_UP_TOKENS, self._longest), "logprobs": True, "seed": 0}
        await asyncio.gather(
            *(
                # Names of their own: the balancer shares them out evenly.
                self._client.generate(f"warm-up/{number}", prompt_ids=list(prompt.tokens), sampling_params=dict(params))
                for number in range(_WARM_UP_SAMPLES * len(self._replicas))
            )
        )

    async def forget_prefixes(self) -> None:
        """Empties the servers' prefix caches."""
        await asyncio.gather(*(replica.clear_kv_cache() for replica in self._replicas))


def _name(prompt: Prompt) -> str:
    return f"{prompt.question.benchmark}/{prompt.question.id}"


def _of_tree(tree: Tree, *, log_probs: bool, discarded: int = 0, alone: bool = False) -> Generated:
    responses = tuple(
        Response(
            tokens=trajectory.tokens,
            log_probs=tuple(trajectory.log_probs) if log_probs else None,
            finish=trajectory.reason,
            final_turn=_final_turn(trajectory),
            path=None if alone else trajectory.path,
            from_fallback=trajectory.from_fallback,
        )
        for trajectory in tree.trajectories
    )
    return Generated(
        responses=responses,
        tokens_generated=tree.stats.tokens_generated + discarded,
        prefix_tokens=tree.stats.prefix_tokens,
        cached_tokens=tree.stats.cached_tokens,
    )


def _final_turn(trajectory: Trajectory) -> list[int] | None:
    """The tokens behind the last observation; None without one."""
    mask = trajectory.response_mask
    if all(mask):
        return None
    return trajectory.tokens[len(mask) - mask[::-1].index(0) :]


def start_servers(config: DictConfig, *, start_rank: int = 0) -> tuple[LLMServerClient, Sequence[Any]]:
    """Starts servers on all accelerators of the configuration; not to be called from a coroutine.

    Args:
        config: With ``actor_rollout_ref.rollout`` and ``.model``.
        start_rank: Rank of the first replica; ranks are unique in a Ray cluster.

    Returns:
        verl's client of them, and their replicas.
    """
    use_servers(trees=True)
    manager: Any = LLMServerManager.create(config, start_rank=start_rank)
    return manager.get_client(), manager.get_replicas()
