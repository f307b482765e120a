"""The typed configuration: options that validate themselves, policies to choose from, and how they are composed."""

from treepo.config.growth import (
    BudgetConfig,
    DivergenceConfig,
    FallbackConfig,
    LogProbAllocationConfig,
    RepetitionConfig,
    TerminationConfig,
)
from treepo.config.options import AdvantageConfig, EnvironmentConfig, PackingConfig, RolloutConfig, TreePOConfig
from treepo.config.policies import SubgroupWeighting
from treepo.config.validation import ConfigError, load_config, option_names

__all__ = [
    "AdvantageConfig",
    "BudgetConfig",
    "ConfigError",
    "DivergenceConfig",
    "EnvironmentConfig",
    "FallbackConfig",
    "LogProbAllocationConfig",
    "PackingConfig",
    "RepetitionConfig",
    "RolloutConfig",
    "SubgroupWeighting",
    "TerminationConfig",
    "TreePOConfig",
    "load_config",
    "option_names",
]
