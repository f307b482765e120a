"""Results of the learning benchmark, made up."""

from benchmarks.learning.results import RunResult


def result(
    arm: str = "treepo",
    seed: int = 0,
    *,
    accuracy: tuple[float, ...] = (0.2, 0.4, 0.6),
    tokens: int = 100,
    seconds: float = 2.0,
    fingerprint: str = "f1",
    study: str = "s1",
    finished: str = "2026-01-01T00:00:00+00:00",
) -> RunResult:
    return RunResult(
        arm=arm,
        seed=seed,
        fingerprint=fingerprint,
        study=study,
        finished=finished,
        overrides=["treepo.width=8"],
        held_out_samples=64,
        accuracy_steps=[0, 2, 4],
        accuracy=list(accuracy),
        tokens_generated=[tokens] * 4,
        tokens_in_trajectories=[2 * tokens] * 4,
        fallback_share=None if arm == "grpo" else 0.25,
        reward=[0.0] * 4,
        seconds=[seconds] * 4,
        seconds_by_part={"gen": 1.0, "old_log_prob": 0.25, "update_actor": 0.5, "testing": 3.0},
        start_up_seconds=60.0,
        wall_seconds=120.0,
        load_before=0.5,
        versions={"verl": "0.9.1"},
    )
