"""verl's agent loop with one tree per prompt.

verl's worker runs ``n`` sessions per prompt. Here a training prompt runs one session, the tree, and every trajectory is
handed on as a session of its own, so that the trainer sees the rows it would see from ``n`` independent samples.
Validation prompts stay verl's own, independent samples; with an environment of the user's, which verl does not know,
each is a tree of one trajectory.

Checked against verl 0.9.1 (``verl/trainer/ppo/v1/agent_loop_tq.py``); ``tests/seams/test_verl_seams.py`` holds the
seams.
"""

import asyncio
from functools import partial
from typing import Any

import ray
import transfer_queue as tq
from omegaconf import DictConfig
from tensordict import TensorDict
from verl.experimental.agent_loop import AgentLoopBase, AgentLoopOutput
from verl.experimental.agent_loop.agent_loop import register
from verl.experimental.agent_loop.tool_agent_loop import ToolAgentLoop
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ, AgentLoopWorkerTQ
from verl.trainer.ppo.v1.trainer_base import get_trainer_cls
from verl.utils.profiler import simple_timer
from verl.utils.tensordict_utils import assign_non_tensor_stack

from treepo.config.load import tree_options
from treepo.config.policies import TOOL_AGENT, RolloutBackend
from treepo.rollout import grow_tree
from treepo.tree import Trajectory
from treepo.verl.rollout.backend import backend, replicas, seeded, updates_per_step
from treepo.verl.rollout.end_tokens import end_tokens
from treepo.verl.rollout.occurrences import Occurrences, prompt_name
from treepo.verl.rollout.portable_engine import PortableEngine
from treepo.verl.rollout.rows import tree_fields, turn_count
from treepo.verl.rollout.tree_client import grow_on_server
from treepo.verl.rollout.tree_job import GrownTree, TreeJob
from treepo.verl.rollout.turns import (
    Partner,
    TurnTree,
    messages_as_tokens,
    own_environment,
    own_tools,
    turn_options,
    turns_for_reward,
)

TREE_AGENT = "treepo_tree"
_OCCURRENCE = "treepo_occurrence"
_ASKED = "treepo_asked_agent"
_VALIDATES = "treepo_validates"

# Of this process, which holds one worker: trees that grow now, and the widths that rows of the dataset ask for, by uid.
_growing: set[str] = set()
_own_widths: dict[str, int] = {}


@register(TREE_AGENT)
class TreeAgentLoop(AgentLoopBase):
    """Grows the tree of one prompt."""

    def __init__(self, *args: Any, tools: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # verl names a factory as its type.
        self._tokenizer: Any = self.tokenizer
        self._options = tree_options(self.config)
        # What verl's loop with tools is made of, where the row asks for it.
        self._made_of = (args, {**kwargs, "tools": tools})

    async def run(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, sampling_params: dict[str, Any], **kwargs: Any
    ) -> AgentLoopOutput | list[AgentLoopOutput]:
        """Grows the tree.

        Args:
            sampling_params: verl's sampling parameters.
            **kwargs: The prompt's row of the dataset, with ``raw_prompt``, ``index`` and ``global_steps``.

        Returns:
            One output per trajectory, in the order in which they finished; in a validation, the only one.
        """
        partner = await self._partner(kwargs)
        job = await self._job(sampling_params, kwargs, partner)
        turns = None if partner is None else TurnTree(job, partner, self._portable(job), self._decode)
        metrics: dict[str, float] = {}
        growing = f"{job.tree_id}_{kwargs['session_id']}"
        _growing.add(growing)
        try:
            with simple_timer("generate_sequences", metrics):
                grown = await self._grow(job, turns)
        finally:
            _growing.discard(growing)
        fields = tree_fields(
            grown.tree,
            seconds=metrics["generate_sequences"],
            discarded_tokens=grown.discarded_tokens,
            turn_stats=None if turns is None else turns.stats(),
        )
        outputs = [
            self._output(
                job.prompt_tokens,
                trajectory,
                {"tool_rewards": [], **({} if turns is None else turns.fields(trajectory)), "treepo": row},
                metrics,
            )
            for trajectory, row in zip(grown.tree.trajectories, fields, strict=True)
        ]
        return outputs[0] if kwargs.get(_VALIDATES) else outputs

    async def _partner(self, row: dict[str, Any]) -> Partner | None:
        """Who answers the turns; None where a trajectory is one turn."""
        name = f"step {row['global_steps']} prompt {row['index']}"
        if row.get(_ASKED) == TOOL_AGENT:
            arguments, options = self._made_of
            return await own_tools(ToolAgentLoop(*arguments, **options), row, options=self._options, name=name)
        if self._options.environment.name is not None:
            return own_environment(
                row,
                prompt_tokens=await self.ct_build_initial_tokens(list(row["raw_prompt"])),
                options=self._options,
                multi_turn=self.rollout_config.multi_turn,
                name=name,
                decode=self._decode,
                tokenise=partial(messages_as_tokens, self.continuous_token_builder),
            )
        return None

    async def _job(self, sampling_params: dict[str, Any], row: dict[str, Any], partner: Partner | None) -> TreeJob:
        uid, step = str(row["uid"]), int(row["global_steps"])
        eos_token_ids = end_tokens(self.config.actor_rollout_ref.model.path, self._tokenizer.eos_token_id)
        options, width = self._options, _own_widths.get(uid)
        if partner is None:
            prompt_ids = await self.ct_build_initial_tokens(list(row["raw_prompt"]))
        else:
            prompt_ids = partner.prompt_tokens
            options = turn_options(options, width=1 if row.get(_VALIDATES) else width or options.width)
            eos_token_ids, sampling_params = partner.end_turns(eos_token_ids, sampling_params)
        prompt_id = prompt_name(step, row["index"], prompt_ids, occurrence=int(row.get(_OCCURRENCE, 0)))
        return TreeJob(
            tree_id=uid,
            prompt_id=f"{prompt_id} validation {row['session_id']}" if row.get(_VALIDATES) else prompt_id,
            prompt_tokens=prompt_ids,
            options=options,
            sampling_params=sampling_params,
            max_response_length=self.rollout_config.response_length,
            eos_token_ids=eos_token_ids,
            width=width if partner is None else None,
            training_progress=self._training_progress(step),
            seeded=seeded(self.config, self._options),
            replicas=replicas(self.config),
            turns=partner is not None,
        )

    def _portable(self, job: TreeJob) -> PortableEngine:
        return PortableEngine(
            client=self.server_manager,
            tree_id=job.tree_id,
            sampling_params=job.sampling_params,
            seeded=job.seeded,
            eos_token_ids=job.eos_token_ids,
        )

    async def _grow(self, job: TreeJob, turns: TurnTree | None) -> GrownTree:
        if turns is None and backend(self.config, self._options) is RolloutBackend.IN_ENGINE:
            return await grow_on_server(self.server_manager, job)
        engine = self._portable(job) if turns is None else turns.engine
        tree = await grow_tree(job.sampler(self._decode, self._active_prompts), engine)
        return GrownTree(tree=tree, discarded_tokens=0)

    def _output(
        self, prompt_ids: list[int], trajectory: Trajectory, extra_fields: dict[str, Any], metrics: dict[str, float]
    ) -> AgentLoopOutput:
        first, last = trajectory.weight_versions
        return AgentLoopOutput(
            prompt_ids=prompt_ids,
            response_ids=trajectory.tokens,
            response_mask=trajectory.response_mask,
            response_logprobs=trajectory.log_probs,
            # verl counts the prompt and every observation as turns too.
            num_turns=2 * turn_count(extra_fields["treepo"]),
            metrics={**metrics, "num_preempted": -1},  # pyright: ignore[reportArgumentType]
            extra_fields={"turn_scores": [], "min_global_steps": first, "max_global_steps": last, **extra_fields},
        )

    def _training_progress(self, step: int) -> float:
        """Share of the training that is over, 0 at the first step and 1 at the last; steps count from 1."""
        # verl's trainer writes the number of updates here before it makes the workers.
        updates = self.config.actor_rollout_ref.actor.optim.total_training_steps
        steps = updates // updates_per_step(self.config)
        # Step 0 is the validation before the first.
        return min(1.0, max(0, step - 1) / max(1, steps - 1))

    def _active_prompts(self) -> int:
        """Trees growing now: this worker's, times the number of workers, which share the prompts out evenly."""
        return len(_growing) * self.rollout_config.agent.num_workers

    def _decode(self, tokens: Any) -> str:
        return self._tokenizer.decode(list(tokens), skip_special_tokens=True)


# The class behind verl's Ray actor.
_Worker: Any = AgentLoopWorkerTQ.__ray_metadata__.modified_class  # pyright: ignore[reportAttributeAccessIssue]


class TreeAgentLoopWorker(_Worker):
    """verl's worker; training prompts become trees."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._own_environment = tree_options(self.config).environment.name is not None

    async def _run_prompt(self, prompt: dict, sampling_params: dict, trajectory: dict, trace: bool = False) -> None:
        validates, asked = bool(trajectory["validate"]), prompt["agent_name"]
        prompt = {**prompt, _ASKED: asked}
        if not validates:
            if "__rollout_n__" in prompt:
                _own_widths[str(prompt["uid"])] = int(prompt["__rollout_n__"])
            prompt |= {"agent_name": TREE_AGENT, "__rollout_n__": 1}
        elif self._own_environment:
            prompt |= {"agent_name": TREE_AGENT, _VALIDATES: True}
        try:
            await super()._run_prompt(prompt, sampling_params, trajectory=trajectory, trace=trace)
        finally:
            _own_widths.pop(str(prompt["uid"]), None)

    async def _compute_score(self, outputs: list[AgentLoopOutput], kwargs: dict) -> None:
        if self._own_environment or kwargs[_ASKED] == TOOL_AGENT:
            told = turns_for_reward(outputs[-1], partial(self.tokenizer.decode, skip_special_tokens=True))
            kwargs = {**kwargs, "extra_info": {**(kwargs.get("extra_info") or {}), **told}}
        await super()._compute_score(outputs, kwargs=kwargs)

    async def _agent_loop_postprocess(
        self, output: AgentLoopOutput | list[AgentLoopOutput], validate: bool, **kwargs: Any
    ) -> None:
        # verl scores only the last of a list of outputs; every trajectory of a tree is a session with its own reward.
        if not isinstance(output, list):
            await super()._agent_loop_postprocess(output, validate, **kwargs)
            return
        post = super()._agent_loop_postprocess
        posted = await asyncio.gather(
            *(
                post(trajectory, validate, **{**kwargs, "session_id": session_id})
                for session_id, trajectory in enumerate(output)
            ),
            # All of them settle before the group gets its status, so that none writes into a cleared group.
            return_exceptions=True,
        )
        failures = [outcome for outcome in posted if isinstance(outcome, BaseException)]
        if failures:
            # verl trains on the rows that a failed group has, and part of a tree is none.
            await tq.async_kv_clear(
                keys=[f"{kwargs['uid']}_{session_id}_0" for session_id in range(len(output))],
                partition_id="val" if validate else "train",
            )
            raise failures[0]


class TreeAgentLoopManager(AgentLoopManagerTQ):
    """verl's manager with tree workers; named by ``actor_rollout_ref.rollout.agent.agent_loop_manager_class``."""

    @classmethod
    def create(cls, *args: Any, config: DictConfig, **kwargs: Any) -> Any:
        """Makes the manager, as verl's task runner asks for it.

        Args:
            *args: verl's.
            config: The whole configuration.
            **kwargs: verl's.

        Raises:
            RuntimeError: The trainer is verl's own.
        """
        trainer: Any = get_trainer_cls(config.trainer.v1.trainer_mode)
        if not getattr(trainer, "knows_trees", False):
            raise RuntimeError(
                f"{cls.__name__} grows trees, and verl's {trainer.__name__} would take their trajectories for "
                "independent samples: train with `treepo train`, or leave "
                "actor_rollout_ref.rollout.agent.agent_loop_manager_class out"
            )
        return super().create(*args, config=config, **kwargs)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Wrapped here and not at its definition: Ray then sends the class by reference, and the worker process imports
        # this module, which registers the agent loop.
        self.agent_loop_workers_class = ray.remote(TreeAgentLoopWorker)
        self._occurrences = Occurrences()

    def generate_sequences(self, prompts: TensorDict) -> None:
        """Sends prompts off to the workers, every training prompt with the number of its occurrence in the step."""
        if "validate" not in prompts or not prompts["validate"]:
            rows = zip(prompts["index"], prompts["raw_prompt"], strict=True)
            assign_non_tensor_stack(prompts, _OCCURRENCE, self._occurrences.count(prompts["global_steps"], rows))
        super().generate_sequences(prompts)
