"""The typed configuration: options that validate themselves, policies to choose from, and how they are composed."""

from treepo.config.options import (
    AdvantageConfig,
    BudgetConfig,
    ConfigError,
    DivergenceConfig,
    FallbackConfig,
    LogProbAllocationConfig,
    PackingConfig,
    RepetitionConfig,
    RolloutConfig,
    TerminationConfig,
    TreePOConfig,
    load_config,
    option_names,
)
from treepo.config.policies import SubgroupWeighting

__all__ = [
    "AdvantageConfig",
    "BudgetConfig",
    "ConfigError",
    "DivergenceConfig",
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
