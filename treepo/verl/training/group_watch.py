"""Ends a step that would never get its batch, in one line that says why.

verl's replay buffer replaces every group that it evicts, for ever where all of them fail or none passes the filter, and
takes a batch without any trajectory for a mistake in the options.

Checked against verl 0.9.1 (``ReplayBuffer``, ``ReplayBufferAsync``); ``tests/seams/test_recipe_seams.py`` holds the
seams.
"""

from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

_ERRORS = "their errors are printed above, after 'Error in _run_prompt'"
_REMEDY = "once the cause is gone the same command resumes from the last checkpoint"


class GroupWatch:
    """Looks on while a replay buffer takes its groups, and counts by step what failed and what was sent off beside it.

    What is sent off by another way, as a step's own batch and the batches to warm up, does not count.
    """

    def __init__(self, config: DictConfig, *, step: Callable[[], int]) -> None:
        """Begins to count.

        Args:
            config: The composed configuration.
            step: Gives the training step.
        """
        self._filter, self._batch_size = config.algorithm.filter_groups, config.data.train_batch_size
        self._now = step
        self._step, self._refills, self._failed = 0, 0, 0

    def attach(self, buffer: ReplayBuffer) -> None:
        """Takes its place in a replay buffer, in the object, since verl chooses its class."""
        watched: Any = buffer
        self._in_flight = lambda: sum(len(keys["train"]) for keys in (watched.pending_keys, watched.running_keys))
        self._verl_refill, watched.refill_fn = watched.refill_fn, self._refill
        self._verl_evict, watched._evict_terminal_groups = watched._evict_terminal_groups, self._evict
        self._verl_select, watched._select_prompt_uids = watched._select_prompt_uids, self._select

    def _evict(
        self, global_steps: int, partition_id: str, eviction_reasons: tuple[set[str], set[str], set[str], Any]
    ) -> Any:
        """Counts the failed groups that are to be replaced.

        Raises:
            RuntimeError: More failed in the step than its batch has prompts.
        """
        self._begin()
        self._failed += len(eviction_reasons[2])
        if self._failed > self._batch_size:
            raise RuntimeError(
                f"step {self._step}: {self._failed} trees failed, more than the step's {self._batch_size} prompts; "
                f"{_ERRORS}; {_REMEDY}"
            )
        return self._verl_evict(global_steps, partition_id, eviction_reasons)

    def _refill(self, num_prompts: int) -> Any:
        """Sends prompts off in the place of evicted ones.

        Raises:
            RuntimeError: ``algorithm.filter_groups.max_num_gen_batches`` batches of the step have been judged.
        """
        self._begin()
        # Those in flight may yet fill the batch: verl sends off twice what it evicts.
        judged = self._batch_size + self._refills - self._in_flight()
        groups = self._filter
        # verl 0.9 reads this bound only in its deprecated trainer.
        if groups.enable and 0 < groups.max_num_gen_batches * self._batch_size <= judged:
            failed = f", and {self._failed} trees failed ({_ERRORS})" if self._failed else ""
            raise RuntimeError(
                f"step {self._step}: {judged} prompts were not enough for {self._batch_size} whose trajectories "
                f"differ in algorithm.filter_groups.metric={groups.metric}{failed}; the data are too easy or too hard "
                f"for the model, or raise algorithm.filter_groups.max_num_gen_batches={groups.max_num_gen_batches}"
            )
        self._refills += num_prompts
        return self._verl_refill(num_prompts)

    def _select(self, partition_id: str, sampleable_keys: set[str], batch_size: int) -> Any:
        """Chooses the groups of a batch.

        Raises:
            RuntimeError: None of them has a trajectory.
        """
        chosen, rows, steps = self._verl_select(partition_id, sampleable_keys, batch_size)
        # {uid}_{session}_{index}
        if not {key.split("_")[0] for key in rows} & set(chosen):
            what, result = ("", "tree") if partition_id == "train" else ("validation at ", "response")
            raise RuntimeError(f"{what}step {self._now()}: no prompt has a {result}; {_ERRORS}; {_REMEDY}")
        return chosen, rows, steps

    def _begin(self) -> None:
        if self._step != self._now():
            self._step, self._refills, self._failed = self._now(), 0, 0
