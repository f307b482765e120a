"""The study of where credit goes: its gradients are those of known slips, and it finds what must hold."""

import numpy as np
import pytest

from benchmarks import credit
from treepo.advantage import TreeRow

BY_NAME = {arm.name: arm for arm in credit.ARMS}
INDEPENDENT, TREES = BY_NAME["independent samples, GRPO"], BY_NAME["trees, GRPO"]


def one_prompt(*responses: list[int]) -> credit.Batch:
    """Responses that share nothing, of a prompt of three lines."""
    tokens = np.zeros((len(responses), credit.LINE * max(credit.LINES) + 1), dtype=np.int64)
    for row, response in enumerate(responses):
        tokens[row, : len(response)] = response
    rows = [
        TreeRow(prompt_id="0", node_ids=(row,), node_lengths=(len(response),)) for row, response in enumerate(responses)
    ]
    return credit.Batch(rows=rows, tokens=tokens, prompts=np.zeros(len(responses), dtype=np.int64), generated=1)


def response(*slips: int) -> list[int]:
    """Three lines with slips at these places."""
    length = credit.LINE * 3
    return [credit.SLIP if place in slips else credit.RIGHT for place in range(length)] + [credit.END]


def test_a_slip_that_is_blamed_makes_slips_rarer_by_its_line() -> None:
    batch = one_prompt(response(), response(23))
    assert batch.rewards.tolist() == [1, -1]
    gradients = credit.slip_gradients(batch, np.where(batch.tokens > 0, batch.rewards[:, None], 0.0))
    chance = credit.SLIP_CHANCE
    # Two places a line; the right response pushes slips down by its chance at each, the other one up where it had none.
    assert gradients[0, 0] == pytest.approx(0)
    assert gradients[0, 1] == pytest.approx(-chance - (1 - chance))
    assert gradients[0, 2] == pytest.approx(0)
    assert np.isnan(gradients[0, 3:]).all()


def test_group_credit_is_that_of_grpo() -> None:
    batch = one_prompt(response(), response(), response(), response(7))
    values = credit.advantages(INDEPENDENT, batch)[:, 0]
    assert values == pytest.approx([0.5, 0.5, 0.5, -1.5], abs=1e-5)
    assert credit.advantages(BY_NAME["trees, the group's mean alone"], batch)[:, 0] == pytest.approx(
        [0.5, 0.5, 0.5, -1.5]
    )


@pytest.mark.parametrize("arm", credit.ARMS, ids=lambda arm: arm.name)
def test_every_arm_gives_its_prompts_all_their_trajectories(arm: credit.Arm) -> None:
    batch = credit.grow_batch(arm, prompts=3, seed=0)
    assert np.bincount(batch.prompts).tolist() == [credit.WIDTH] * 3
    lengths = (batch.tokens > 0).sum(axis=1)
    assert set(lengths) == {credit.LINE * lines + 1 for lines in credit.LINES}
    values = credit.advantages(arm, batch)
    assert np.isfinite(values).all()
    assert not values[batch.tokens == 0].any()
    assert batch.generated <= lengths.sum()
    assert (batch.generated == lengths.sum()) == (arm.sampling.get("initial_divergence") == [credit.WIDTH] * 2)


def test_credit_points_against_slips_and_segments_have_none_left_after_the_last_fork() -> None:
    measured = {
        name: credit.measure(BY_NAME[name], prompts=200, seed=0) for name in ("trees, GRPO", "`treepo_segment`")
    }
    for found in measured.values():
        assert found.signal > 6 * found.error
    # A response is whole after three to four segments, and eight paths have forked as often as they may after two.
    segment, group = measured["`treepo_segment`"], measured["trees, GRPO"]
    assert segment.by_line[4] / segment.by_line[0] < 0.8 * group.by_line[4] / group.by_line[0]


def test_shuffled_rewards_give_no_signal() -> None:
    batch = credit.grow_batch(TREES, prompts=200, seed=0)
    luck = np.random.default_rng(0).choice([-1.0, 1.0], size=len(batch.rows))
    whole = np.nansum(credit.slip_gradients(batch, np.where(batch.tokens > 0, luck[:, None], 0.0)), axis=1)
    assert abs(whole.mean() / whole.std()) < 4 / np.sqrt(200)


def test_signal_per_token_is_told_by_the_first_arm() -> None:
    cheap = credit.Credit(tokens=50.0, signal=1.0, error=0.1, by_line=[1.0] * 5)
    dear = credit.Credit(tokens=100.0, signal=2.0, error=0.1, by_line=[1.0] * 5)
    assert cheap.per_token(dear) == pytest.approx(0.5)
    lines = credit.table([(TREES, dear), (INDEPENDENT, cheap)]).split("\n")
    assert lines[2].startswith("| trees, GRPO | 100 | 2.00 ± 0.10 | 1.00 |")
    assert lines[3].startswith("| independent samples, GRPO | 50 | 1.00 ± 0.10 | 0.50 |")


def test_the_command_prints_all_arms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["credit", "--prompts", "6"])
    said: list[str] = []
    credit.main(said.append)
    assert [line.split(" | ")[0].removeprefix("| ") for line in said[0].split("\n")[2:]] == [
        arm.name for arm in credit.ARMS
    ]
