"""Whether a start resumes a run that is there, whether it may, and whether anything is left to train.

verl resumes wherever its folder of checkpoints holds one (``trainer.resume_mode=auto``), whatever run has saved it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from treepo.config import ConfigError, TreePOConfig
from treepo.files.checkpoint import NOTE, noted_step
from treepo.files.set_aside import set_aside
from treepo.files.whole import write_text_whole, write_whole
from treepo.start.checkpoints import READS, resumed_step, steps_in
from treepo.start.declared import Start, reads

CONFIG = "config.yaml"
"""The resolved configuration of a run's last start, in ``run_dir``."""

_ACTOR, _MODEL, _ROLLOUT = (f"actor_rollout_ref.{part}" for part in ("actor", "model", "rollout"))
_LOSS = (
    *("clip_ratio", "clip_ratio_low", "clip_ratio_high", "clip_ratio_c", "tau_pos", "tau_neg", "policy_loss"),
    *("loss_agg_mode", "loss_scale_factor", "entropy_coeff", "use_kl_loss", "kl_loss_coef", "kl_loss_type"),
    *("ppo_mini_batch_size", "ppo_epochs", "shuffle"),
)
_DECIDING = (
    *("treepo", "data", "algorithm"),
    *(f"reward.{part}" for part in ("custom_reward_function", "reward_manager", "reward_kwargs")),
    *(f"reward.reward_model.{part}" for part in ("enable", "model_path")),
    *(f"{_MODEL}.{part}" for part in ("path", "tokenizer_path", "custom_chat_template")),
    *(f"{_MODEL}.{part}" for part in ("lora", "lora_rank", "lora_alpha", "lora_adapter_path", "target_modules")),
    *(f"{_ACTOR}.{part}" for part in ("optim", *_LOSS)),
    *(f"{_ROLLOUT}.{part}" for part in ("temperature", "top_p", "top_k", "do_sample", "ignore_eos", "seed")),
    f"{_ROLLOUT}.agent.agent_loop_manager_class",
    *("critic.model.path", "critic.optim", "trainer.v1.trainer_mode"),
)
"""What makes a run what it is. All else may change when it resumes: lengths, cluster, frequencies, logs, memory."""

_FREE = (
    # How trees reach engine and trainer; the trees are the same.
    *("treepo.rollout", "treepo.packing", "treepo.dump_trees"),
    # Validation, workers, and the bounds of a step's generation.
    *("data.val_", "data.validation_", "data.dataloader_num_workers", "data.filter_overlong_prompts_workers"),
    *("data.use_shm", "algorithm.filter_groups.max_", "reward.reward_kwargs.overlong_buffer_cfg.log"),
    # verl follows the training's length.
    *(f"{_ACTOR}.optim.total_training_steps", "critic.optim.total_training_steps"),
)
_OPTIMISERS = (f"{_ACTOR}.optim.", "critic.optim.")
_PATHS = (
    *("data.train_files", f"{_MODEL}.path", f"{_MODEL}.tokenizer_path", "critic.model.path"),
    "reward.custom_reward_function.path",
)
_MOST_NAMED = 3
_REMEDY = (
    "give another run_dir, begin anew with trainer.resume_mode=disable, or continue all the same with --accept-changes"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The checkpoint that a start would resume from.

    Attributes:
        folder: verl's ``global_step_N``.
        step: The N.
        own: Whether it is in the run's own folder of checkpoints; another's is a beginning, not a resumption.
    """

    folder: Path
    step: int
    own: bool


def find_checkpoint(config: DictConfig) -> Checkpoint | None:
    """The checkpoint that a start resumes from; None where it begins anew.

    Args:
        config: The whole configuration, resolved.

    Raises:
        ConfigError: The options of the resumption name none, or not as verl needs it.
    """
    resumed = resumed_step(config)
    if resumed is None:
        return None
    own = resumed.folder.parent.resolve() == Path(str(config.trainer.default_local_dir)).resolve()
    return Checkpoint(folder=resumed.folder, step=resumed.step, own=own)


@reads(*READS, *_DECIDING, "trainer.val_only")
def same_run(start: Start) -> list[str]:
    """Refuses to resume from the weights of another run; with `accept_changes` what differs is a warning."""
    found = find_checkpoint(start.config)
    if found is None:
        return _lost(start.config)
    if not found.own or start.config.trainer.val_only:
        return _instead(start.config)
    return [*_instead(start.config), *_check_options(start.config, found, accept_changes=start.accept_changes)]


def _instead(config: DictConfig) -> list[str]:
    """That another step is resumed from than the one that verl's note names."""
    resumed = resumed_step(config)
    if resumed is None or resumed.instead_of is None:
        return []
    return [
        f"{resumed.folder.with_name(f'global_step_{resumed.instead_of}')}, which {NOTE} names, {resumed.why}: the "
        f"training resumes from step {resumed.step}, the newest whole checkpoint in {resumed.folder.parent}"
    ]


def _lost(config: DictConfig) -> list[str]:
    """That verl's note names a checkpoint that is gone, with none left to resume from."""
    note = Path(str(config.trainer.default_local_dir)) / NOTE
    if config.trainer.resume_mode != "auto" or not note.is_file():
        return []
    return [
        f"{note} names step {noted_step(note.parent)}, which is gone, and no whole checkpoint is left: the training "
        "begins at step 1"
    ]


def _check_options(config: DictConfig, found: Checkpoint, *, accept_changes: bool) -> list[str]:
    changed, where = _changes(config), f"run_dir={config.run_dir}"
    if changed is None:
        return [f"{where} is at step {found.step}, and nothing says with which options: {CONFIG} is missing there"]
    if not changed:
        return []
    if accept_changes:
        return [
            f"{where} resumes from step {found.step} with other options: {'; '.join(changed)}",
            *_without_effect(changed),
        ]
    more = f"; {len(changed) - _MOST_NAMED} more" if len(changed) > _MOST_NAMED else ""
    raise ConfigError(
        f"{where} is refused: the run there, at step {found.step}, has other options: "
        f"{'; '.join(changed[:_MOST_NAMED])}{more}; {_REMEDY}"
    )


def _without_effect(changed: list[str]) -> list[str]:
    """What verl's checkpoints bring along, whatever is asked for: the states of optimiser and schedule (0.9.1)."""
    if not any(change.startswith(_OPTIMISERS) for change in changed):
        return []
    return [
        "verl restores optimiser and schedule from the checkpoint, learning rate and weight decay included; to begin "
        "with new ones give actor_rollout_ref.actor.checkpoint.load_contents=[model]"
    ]


def nothing_left(config: DictConfig) -> str | None:
    """That the run has made all its steps, as a line for people; None where it has not, or nobody can know yet.

    Args:
        config: The whole configuration, resolved.
    """
    found, last = find_checkpoint(config), config.trainer.total_training_steps
    if found is None or not isinstance(last, int) or found.step < last or config.trainer.val_only:
        return None
    return (
        f"nothing left to train: {found.folder} is the checkpoint of step {found.step}, and "
        f"trainer.total_training_steps={last}; raise it to continue, or give another run_dir"
    )


def nothing_trained(config: DictConfig, before: Checkpoint | None) -> str | None:
    """That a training which has ended had no step left to make, as a line for people; None where it made some.

    verl counts the steps of ``trainer.total_epochs`` once it has filtered the data.

    Args:
        config: The whole configuration, resolved.
        before: What `find_checkpoint` gave before.
    """
    trainer = config.trainer
    # Without total_training_steps the last step is saved, if any is.
    counts = trainer.total_training_steps is None and trainer.save_freq > 0 and not trainer.val_only
    if before is None or not before.own or not counts or find_checkpoint(config) != before:
        return None
    return (
        f"nothing left to train: {before.folder} is the checkpoint of step {before.step}, and "
        f"trainer.total_epochs={trainer.total_epochs} ends there; raise it to continue, or give another run_dir"
    )


def begin(config: DictConfig) -> str | None:
    """Makes the run's folder this start's: what it says of itself is true of its checkpoints.

    A start that neither resumes the run that was there nor has its options puts that run's checkpoints and verl's
    note of the last one aside, so that no later start takes its weights for this one's, and none is written over. One
    that resumes from another step than the note names writes that one into it.

    Args:
        config: The whole configuration, resolved and checked.

    Returns:
        What was put aside, as a line for people; None where nothing was.
    """
    found, folder = find_checkpoint(config), Path(str(config.run_dir))
    folder.mkdir(parents=True, exist_ok=True)
    if config.trainer.val_only and (folder / CONFIG).is_file():
        return None
    checkpoints = Path(str(config.trainer.default_local_dir))
    note = checkpoints / NOTE
    anew = not found.own if found is not None else _changes(config) != []
    moved = set_aside(note) if note.is_file() and anew else None
    if moved is not None:
        for step in steps_in(checkpoints):
            set_aside(step)
    elif found is not None and found.own and config.trainer.resume_mode == "auto":
        # verl reads it; it names another step where that one is gone or damaged.
        write_text_whole(note, str(found.step))
    write_whole(folder / CONFIG, lambda draft: OmegaConf.save(config, draft, resolve=True))
    if moved is None:
        return None
    return (
        f"the run begins anew, and resumes from no checkpoint before it: {note} is {moved.name} now, and every "
        "global_step_N beside it global_step_N.before"
    )


def _changes(config: DictConfig) -> list[str] | None:
    """What makes the run in the folder another one, as in ``treepo.max_divergence=2, now 3``; None: nobody knows."""
    stored = Path(str(config.run_dir)) / CONFIG
    if not stored.is_file():
        return None
    # An option that is younger than the run had the value that is its default now.
    defaults = dict(_flat(TreePOConfig().model_dump(mode="json"), "treepo"))
    try:
        old, new = defaults | _deciding(OmegaConf.load(stored)), _deciding(config)
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        return [f"{CONFIG} cannot be read ({' '.join(str(error).split())})"]
    return [
        f"{name}={_shown(old.get(name))}, now {_shown(new.get(name))}"
        for name in {**new, **old}
        if not _same(name, old.get(name), new.get(name)) and not name.startswith(_FREE)
    ]


def _deciding(config: DictConfig | ListConfig) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in _DECIDING:
        value = OmegaConf.select(config, name)
        plain = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        found |= _flat(plain, name)
    return found


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}")
    else:
        yield name, value


def _same(name: str, old: Any, new: Any) -> bool:
    if old == new:
        return True
    if name not in _PATHS:
        return False
    pairs = zip_longest(*(value if isinstance(value, list) else [value] for value in (old, new)))
    return all(one == other or _same_path(one, other) for one, other in pairs)


def _same_path(old: str | None, new: str | None) -> bool:
    """Whether two paths mean one file; of one that is gone, as from a job's own disk, the name must be the same."""
    if old is None or new is None:
        return False
    one, other = Path(old).expanduser(), Path(new).expanduser()
    return one.absolute() == other.absolute() or (one.is_absolute() and not one.exists() and one.name == other.name)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
