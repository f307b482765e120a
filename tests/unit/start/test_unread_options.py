"""An option that nothing reads, under the policies and the estimator chosen, is refused with what would read it."""

import pytest
from omegaconf import DictConfig, OmegaConf

from treepo.config import ConfigError
from treepo.start import training
from treepo.start.declared import Start


def check(*overrides: str) -> None:
    """As the check of a start, on a configuration that has nothing else."""
    spaced = [override.replace(":", ": ") for override in overrides]
    base = OmegaConf.create({"treepo": {"seed": 0}, "algorithm": {"adv_estimator": "treepo"}})
    config = OmegaConf.create(OmegaConf.to_container(OmegaConf.merge(base, OmegaConf.from_dotlist(spaced))))
    assert isinstance(config, DictConfig)
    training.unread_options(Start(config=config))


UNREAD = [
    ("advantage.subgroup_weighting=group_size", "algorithm.adv_estimator=treepo only", "average", "treepo_segment"),
    ("advantage.subgroup_weighting=group_size", "algorithm.adv_estimator=treepo only", "average", "treepo_spo"),
    ("advantage.include_root=false", "algorithm.adv_estimator=treepo only", "true", "treepo_segment"),
    ("advantage.include_root=false", "algorithm.adv_estimator=treepo only", "true", "grpo"),
    ("advantage.reject_degenerate=true", "algorithm.adv_estimator=treepo only", "false", "treepo_spo"),
    ("advantage.branch_weights=true", "treepo, treepo_segment or treepo_branch only", "false", "treepo_spo"),
    ("advantage.branch_weights=true", "treepo, treepo_segment or treepo_branch only", "false", "grpo"),
    ("advantage.prompt_deviation=true", "algorithm.adv_estimator=treepo only", "false", "treepo_branch"),
    ("advantage.shrink=auto", "algorithm.adv_estimator=treepo_branch only", "2.0", "treepo"),
    ("advantage.scale=prompt", "algorithm.adv_estimator=treepo_branch only", "batch", "treepo"),
    ("advantage.shared_tokens=once", "tree_grpo, tempo or tree_loo only", "per_row", "treerl"),
    ("advantage.parent_discount=0.5", "algorithm.adv_estimator=treepo_segment only", "null", "treepo"),
    ("divergence.logprob.score=sum", "treepo.divergence.allocation=logprob only", "mean", ""),
    ("divergence.logprob.prefer=high", "treepo.divergence.allocation=logprob only", "low", ""),
    ("divergence.logprob.temperature=2.0", "treepo.divergence.allocation=logprob only", "1.0", ""),
    ("fallback.candidates=any", "a treepo.fallback.cut other than none only", "answered_or_eos", "fallback.cut=none"),
    ("fallback.window=8", "a treepo.fallback.cut other than none only", "null", "fallback.cut=none"),
    ("fallback.window=8", "a treepo.fallback.cut other than from_start only", "null", "fallback.cut=from_start"),
    ("fallback.block_prefer=high", "treepo.fallback.cut=block only", "low", ""),
    ("termination.repetition.count=9", "repetition.enabled=true only", "8", "termination.repetition.enabled=false"),
    ("termination.repetition.priority=last", "enabled=true only", "first", "termination.repetition.enabled=false"),
    ("termination.repetition.substring=9", "enabled=true only", "32", "termination.repetition.enabled=false"),
    ("max_divergence=3", "other than random only", "2", "divergence={budget:random,random_range:[1,3]}"),
    ("max_dropped=9", "treepo.min_trajectory_length only", "256", ""),
]


@pytest.mark.parametrize(("option", "where", "default", "other"), UNREAD)
def test_an_option_that_nothing_would_read_is_refused(option: str, where: str, default: str, other: str) -> None:
    others = [f"treepo.{other}" if "=" in other else f"algorithm.adv_estimator={other}"] if other else []
    with pytest.raises(ConfigError) as refused:
        check(f"treepo.{option}", *others)
    line = str(refused.value)
    assert line.startswith(f"treepo.{option} is refused: it is read with ")
    assert line.endswith(f"{where}; choose that or leave the option at {default}")
    assert "\n" not in line


SCHEDULE = "divergence.logprob={schedule:ascending,min_temperature:1.0,max_temperature:2.0}"


@pytest.mark.parametrize(
    "overrides",
    [
        "algorithm.adv_estimator=treepo_segment treepo.advantage.parent_discount=0.5",
        "algorithm.adv_estimator=treepo_segment treepo.advantage.branch_weights=true",
        "algorithm.adv_estimator=treepo_spo treepo.advantage.include_root=true",
        "algorithm.adv_estimator=treepo_branch treepo.advantage={shrink:auto,scale:prompt,shared_tokens:sqrt}",
        "algorithm.adv_estimator=treerl",
        "algorithm.adv_estimator=tree_grpo treepo.advantage.shared_tokens=once",
        "algorithm.adv_estimator=tempo",
        "algorithm.adv_estimator=tree_loo",
        "treepo.advantage={subgroup_weighting:group_size,include_root:false,reject_degenerate:true}",
        f"treepo.divergence.allocation=logprob treepo.{SCHEDULE}",
        "treepo.fallback={cut:from_start,candidates:answered_min_windows,min_windows:2,window:8}",
        "treepo.min_trajectory_length=9 treepo.max_dropped=9",
    ],
)
def test_an_option_that_is_read_or_left_at_its_default_is_taken(overrides: str) -> None:
    check(*overrides.split())


def test_a_schedule_leaves_the_constant_temperature_unread() -> None:
    schedule = ["treepo.divergence.allocation=logprob", f"treepo.{SCHEDULE}"]
    with pytest.raises(ConfigError, match=r"logprob\.temperature=2\.0 is refused: .*schedule=constant only"):
        check(*schedule, "treepo.divergence.logprob.temperature=2.0")
