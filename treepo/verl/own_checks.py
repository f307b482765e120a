"""What verl itself says of a configuration, asked before any process starts."""

from collections.abc import Callable, Mapping
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from treepo.advantage import ESTIMATORS
from treepo.config import ConfigError


def check_as_verl_does(config: DictConfig) -> None:
    """Verl's own checks of its options, its answers made one line."""
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config
    from verl.utils.device import auto_set_device

    auto_set_device(config)
    try:
        validate_config(
            config=config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config)
        )
    except (AssertionError, HydraException, OmegaConfBaseException, TypeError, ValueError) as error:
        raise ConfigError(f"verl refuses the configuration: {' '.join(str(error).split())}") from error


def estimator_names() -> list[str]:
    """What ``algorithm.adv_estimator`` may be: the tree estimators, then verl's own."""
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY

    return [*ESTIMATORS, *(name for name in map(str, ADV_ESTIMATOR_REGISTRY) if name not in ESTIMATORS)]


def prompt_length(model: DictConfig, template_options: Mapping[str, Any]) -> Callable[[Any], int]:
    """Counts a prompt's tokens as verl's filter of long prompts and its agent loop do.

    Args:
        model: ``actor_rollout_ref.model``; its tokenizer's folder is on this machine.
        template_options: ``data.apply_chat_template_kwargs``.

    Returns:
        From a list of messages to the number of tokens, with the start of the answer's turn.

    Raises:
        ConfigError: The tokenizer cannot be loaded; and, when it is asked, a prompt's messages are refused.
    """
    from verl.utils import hf_tokenizer
    from verl.utils.fs import copy_to_local

    path = str(model.tokenizer_path or model.path)
    try:
        tokenizer = hf_tokenizer(copy_to_local(path), trust_remote_code=model.trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"actor_rollout_ref.model.path={path}: its tokenizer cannot be loaded ({' '.join(str(error).split())})"
        ) from error
    if model.custom_chat_template:
        tokenizer.chat_template = model.custom_chat_template

    def count(messages: Any) -> int:
        try:
            return len(
                tokenizer.apply_chat_template(
                    messages, add_generation_prompt=True, tokenize=True, return_dict=False, **template_options
                )
            )
        except Exception as error:  # a template raises whatever it likes
            raise ConfigError(
                f"the chat template of {path} refuses a prompt ({' '.join(str(error).split())}); mend the row, or set "
                "actor_rollout_ref.model.custom_chat_template"
            ) from error

    return count
