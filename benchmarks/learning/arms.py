"""The arms: one way to train each, in the groups that are tabled together."""

from dataclasses import dataclass
from enum import StrEnum

BASELINE, PACKED = "grpo", "grpo_packed"
_TREEPO = "algorithm.adv_estimator=treepo"
_BRANCH = (
    "algorithm.adv_estimator=treepo_branch",
    "treepo.advantage.shrink=auto",
    "treepo.advantage.scale=prompt",
)
_BY_PROBABILITY = ("treepo.divergence.allocation=logprob", "treepo.divergence.logprob.score=last_segment")
_RAMP = ("treepo.initial_divergence=[4,4]", "treepo.divergence.budget=ramp")
# No forks after the first segment and many fallbacks, so that where a fallback cuts can matter.
_BY_FALLBACK = (_TREEPO, "treepo.max_divergence=1", "treepo.divergence.transfer=false")


def _independent(width: int) -> tuple[str, ...]:
    """Independent samples as trees that fork at the prompt alone: the trees' rollout, and their packing."""
    return (f"treepo.width={width}", f"treepo.initial_divergence=[{width},{width}]", "treepo.max_divergence=1")


class Group(StrEnum):
    """Which comparison an arm belongs to; the value names it on the command line."""

    MAIN = "main"
    CREDITS = "credits"
    ABLATIONS = "ablations"


class Sampling(StrEnum):
    """Where the trajectories of a prompt come from."""

    INDEPENDENT = "independent"
    TREE = "tree"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to train.

    Attributes:
        name: Names it on the command line, in files and tables.
        says: What it is, in a few words.
        group: Which comparison it belongs to.
        sampling: Independent samples by verl's own agent loop, or trees.
        overrides: What it sets besides what all arms share.
        against: The arms it is compared with.
        published: For an ablation, what the paper found.
    """

    name: str
    says: str
    group: Group
    sampling: Sampling = Sampling.TREE
    overrides: tuple[str, ...]
    against: tuple[str, ...]
    published: str | None = None


# The baseline, and the arm from which it differs in the credit alone.
_BY_CREDIT = (PACKED, "tree_grpo")
_ALL = (
    Arm(
        name=BASELINE,
        group=Group.MAIN,
        says="independent samples, GRPO credit, verl alone",
        sampling=Sampling.INDEPENDENT,
        overrides=(
            "algorithm.adv_estimator=grpo",
            "actor_rollout_ref.rollout.agent.agent_loop_manager_class=null",
        ),
        against=(),
    ),
    Arm(
        name=PACKED,
        group=Group.MAIN,
        says="independent samples, GRPO credit, packed",
        overrides=("algorithm.adv_estimator=grpo", *_independent(8)),
        against=(BASELINE,),
    ),
    Arm(
        name="grpo_packed_16",
        group=Group.MAIN,
        says="16 independent samples, GRPO credit, packed",
        overrides=("algorithm.adv_estimator=grpo", *_independent(16)),
        against=(PACKED,),
    ),
    Arm(
        name="tree_grpo",
        group=Group.MAIN,
        says="trees, GRPO credit",
        overrides=("algorithm.adv_estimator=grpo",),
        against=(PACKED,),
    ),
    Arm(name="treepo", group=Group.MAIN, says="trees, `treepo`", overrides=(_TREEPO,), against=_BY_CREDIT),
    Arm(
        name="branch",
        group=Group.MAIN,
        says="trees, `treepo_branch`, `shrink=auto scale=prompt`",
        overrides=_BRANCH,
        against=_BY_CREDIT,
    ),
    Arm(
        name="branch_sqrt",
        group=Group.MAIN,
        says="trees, `treepo_branch`, `shrink=auto scale=prompt shared_tokens=sqrt`",
        overrides=(*_BRANCH, "treepo.advantage.shared_tokens=sqrt"),
        against=(*_BY_CREDIT, "treepo", "branch"),
    ),
    Arm(
        name="branch_ramp",
        group=Group.MAIN,
        says="`branch` on trees with 4 first segments and a ramp",
        overrides=(*_BRANCH, *_RAMP),
        against=(PACKED, "branch"),
    ),
    Arm(
        name="branch_ramp_sqrt",
        group=Group.MAIN,
        says="`branch_sqrt` on trees with 4 first segments and a ramp",
        overrides=(*_BRANCH, *_RAMP, "treepo.advantage.shared_tokens=sqrt"),
        against=(PACKED, "branch_sqrt", "branch_ramp"),
    ),
    Arm(
        name="treepo_segment",
        group=Group.CREDITS,
        says="trees, `treepo_segment`",
        overrides=("algorithm.adv_estimator=treepo_segment",),
        against=_BY_CREDIT,
    ),
    Arm(
        name="treepo_spo",
        group=Group.CREDITS,
        says="trees, `treepo_spo`",
        overrides=("algorithm.adv_estimator=treepo_spo",),
        against=_BY_CREDIT,
    ),
    Arm(
        name="treepo_branch_weights",
        group=Group.CREDITS,
        says="trees, `treepo` with `branch_weights`",
        overrides=(_TREEPO, "treepo.advantage.branch_weights=true"),
        against=(PACKED, "treepo"),
    ),
    Arm(
        name="treepo_deviation",
        group=Group.CREDITS,
        says="trees, `treepo` with `prompt_deviation`",
        overrides=(_TREEPO, "treepo.advantage.prompt_deviation=true"),
        against=_BY_CREDIT,
    ),
    Arm(
        name="size_weighting",
        group=Group.ABLATIONS,
        says="terms weighted by sub-group size (Eq. 6)",
        overrides=(_TREEPO, "treepo.advantage.subgroup_weighting=group_size"),
        against=("treepo",),
        published="averaging is better",
    ),
    Arm(
        name="rejection",
        group=Group.ABLATIONS,
        says="sub-groups without spread left out (Eq. 7)",
        overrides=(_TREEPO, "treepo.advantage.reject_degenerate=true"),
        against=("treepo",),
        published="rejection hurts",
    ),
    Arm(
        name="no_root",
        group=Group.ABLATIONS,
        says="without the prompt group's term",
        overrides=(_TREEPO, "treepo.advantage.include_root=false"),
        against=("treepo",),
        published="neutral",
    ),
    Arm(
        name="no_initial_divergence",
        group=Group.ABLATIONS,
        says="as many first segments as children later, 2",
        overrides=(_TREEPO, "treepo.initial_divergence=null"),
        against=("treepo",),
        published="more initial divergence helps",
    ),
    Arm(
        name="aligned_cuts",
        group=Group.ABLATIONS,
        says="forks at the root alone, the rest by fallback; cuts at segment boundaries",
        overrides=_BY_FALLBACK,
        against=("treepo",),
        published="not in the paper; the pair of `misaligned_cuts`",
    ),
    Arm(
        name="misaligned_cuts",
        group=Group.ABLATIONS,
        says="the same with cuts inside segments, every 28 tokens",
        # About as many windows as a trajectory has segments: a cut at its start, which begins anew, is as frequent.
        overrides=(*_BY_FALLBACK, "treepo.fallback.window=28"),
        against=("aligned_cuts",),
        published="misaligned cuts hurt",
    ),
    *(
        Arm(
            name=f"{which}_probability",
            group=Group.ABLATIONS,
            says=f"forks go to the paths of {which} probability",
            overrides=(_TREEPO, *_BY_PROBABILITY, f"treepo.divergence.logprob.prefer={which}"),
            against=("treepo",),
            published=published,
        )
        for which, published in (
            ("low", "hurts"),
            ("high", "not in the paper by itself; the pair of `low_probability`"),
        )
    ),
)
ARMS = {arm.name: arm for arm in _ALL}
GROUPS = {group: tuple(arm.name for arm in _ALL if arm.group is group) for group in Group}
