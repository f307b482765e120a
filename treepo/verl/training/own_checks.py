"""What verl itself says of a configuration, asked before any process starts."""

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
