"""The quickstart's screen: verl's long step lines in short."""

from recipe.treepo.quickstart import step_line

LINE = (
    "(TreeTaskRunner pid=7) step:20 - val-core/treepo/chains/acc/mean@4:np.float64(0.4512) - "
    "val-aux/treepo/chains/acc/std@4:np.float64(0.1) - critic/score/mean:-0.25 - critic/score/max:1.0 - "
    "treepo/tokens/sharing_ratio:0.8125 - timing_s/step:3.25 - training/global_step:20\n"
)


def test_a_step_shows_accuracy_reward_sharing_and_time() -> None:
    assert step_line(LINE) == (
        "step 20  held-out accuracy 45.1%  reward -0.250  generated/in trajectories 0.812  seconds 3.2"
    )


def test_a_step_without_validation_shows_no_accuracy() -> None:
    assert step_line("step:3 - critic/score/mean:0.5 - timing_s/step:1e+01") == "step 3  reward +0.500  seconds 10.0"


def test_any_other_line_is_left_out() -> None:
    assert step_line("Saving checkpoint to checkpoints/global_step_20") is None
