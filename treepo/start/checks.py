"""Everything that is looked at before any process starts: the one list of checks."""

from omegaconf import DictConfig

from treepo.start import (
    checkpoints,
    data,
    environment,
    model,
    resumption,
    reward_function,
    rollout,
    training,
    warnings,
)
from treepo.start.declared import Check, Start

CHECKS: tuple[Check, ...] = (
    # What the configuration says by itself.
    training.engine,
    training.numbers,
    rollout.width,
    training.mode,
    training.updates_of_a_step,
    training.unread_options,
    training.dynamic_sampling,
    training.length_penalty,
    training.shared_sequences,
    training.mini_batch,
    training.loggers,
    reward_function.old_options,
    environment.agent_loop,
    rollout.server,
    rollout.seeds,
    rollout.own_servers,
    rollout.weights_for_own_servers,
    rollout.sampling,
    rollout.in_engine,
    # Small files, and the beginnings of large ones.
    data.dataset_class,
    data.rows,
    data.one_schema,
    data.enough_rows,
    reward_function.function,
    checkpoints.as_many_ranks,
    model.folder,
    model.tokenizer,
    model.weights,
    rollout.context_length,
    # Whole columns.
    data.text_alone,
    environment.agent_loops_of_rows,
    environment.turns,
    # What takes seconds to import: the tokenizer, verl.
    training.estimator,
    data.prompt_lengths,
    data.enough_prompts,
    training.verl_itself,
    warnings.packing,
    resumption.same_run,
    # What runs but is probably a mistake.
    warnings.steps,
    warnings.lengths,
    warnings.rollout,
    warnings.dynamic_sampling,
)
"""In the order in which they are made, by what they cost."""


def check(config: DictConfig, *, accept_changes: bool = False) -> list[str]:
    """Checks a composed training configuration.

    Args:
        config: The whole configuration, resolved.
        accept_changes: Whether a run that is there may resume with options other than its own.

    Returns:
        Warnings, a line each.

    Raises:
        ConfigError: Something cannot work; the text is one line that names the option and the remedy.
    """
    start = Start(config=config, accept_changes=accept_changes)
    return [warning for one in CHECKS for warning in one(start) or ()]
