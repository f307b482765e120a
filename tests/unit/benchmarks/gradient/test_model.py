"""The study of a language model's gradients: its derivatives are exact, and its measures find what must hold."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_stack import write_tiny_model
from training_run import ROOT, write_sums

from benchmarks.gradient.model import __main__ as command
from benchmarks.gradient.model import learned, measure, reference, store, table
from benchmarks.gradient.model.decoding import Decoder, grow_trees
from benchmarks.gradient.model.derivatives import Directions, Packed, log_probs, scores_along
from benchmarks.gradient.model.policy import Policy, keep_double, load_policy
from benchmarks.gradient.model.samples import Samples, load_samples, save_samples, take_samples
from benchmarks.gradient.model.shapes import MODEL_SHAPES
from treepo.advantage import TreeRow

OVERRIDES = ["treepo.segment_length=4", "treepo.max_depth=3", "treepo.width=4", "data.max_response_length=12"]
SHAPES = {shape.name: shape for shape in MODEL_SHAPES}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("policy")
    return write_tiny_model(folder / "model"), write_sums(folder / "sums.parquet", 12, seed=0)


@pytest.fixture(scope="module")
def policy(folders: tuple[Path, Path]) -> Policy:
    torch.set_num_threads(1)
    return load_policy("cpu_quickstart", OVERRIDES, model=folders[0], data=folders[1])


@pytest.fixture(scope="module")
def samples(policy: Policy) -> Samples:
    true = Directions(policy.scorer).signs(5)
    return take_samples(policy, SHAPES["preset"], range(6), true=true, directions=2, seed=0, batch=4)


# --- sampling


def _decoder(policy: Policy, seed: int) -> Decoder:
    return Decoder(policy.sampler, end=policy.end, generator=torch.Generator().manual_seed(seed))


def test_tokens_are_drawn_under_the_probability_that_is_noted(policy: Policy) -> None:
    prefixes = [policy.prompts[0].tokens, policy.prompts[1].tokens[:3]]
    found = _decoder(policy, 0).decode(prefixes, limits=[5, 9])
    for prefix, one, limit in zip(prefixes, found, (5, 9), strict=True):
        assert len(one.tokens) == limit or one.tokens[-1] == policy.end
        with torch.no_grad():
            logits = policy.sampler(torch.tensor([[*prefix, *one.tokens]])).logits[0]
        expected = logits.log_softmax(-1)[len(prefix) - 1 : -1].gather(1, torch.tensor(one.tokens)[:, None])[:, 0]
        assert one.log_probs == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_decoded_response_ends_at_its_first_end_token(policy: Policy) -> None:
    prefixes = [policy.prompts[0].tokens] * 200
    found = _decoder(policy, 1).decode(prefixes, limits=[40] * 200)
    assert all(policy.end not in one.tokens[:-1] for one in found)
    ended = [one for one in found if one.tokens[-1] == policy.end]
    assert ended
    assert all(len(one.tokens) == 40 for one in found if one not in ended)


@pytest.mark.parametrize(("name", "width"), [("independent", 4), ("preset", 4), ("independent, twice as many", 8)])
def test_every_prompt_grows_as_many_trajectories_as_its_shape_says(policy: Policy, name: str, width: int) -> None:
    config = policy.shaped(SHAPES[name].sampling(policy.shaped({}).width))
    trees = grow_trees(policy, range(3), config, seed=0).trees
    assert [len(tree.trajectories) for tree in trees] == [width] * 3
    generated = [tree.stats.tokens_generated for tree in trees]
    contained = [tree.stats.tokens_in_trajectories for tree in trees]
    assert (generated == contained) is name.startswith("independent")


@pytest.mark.parametrize("first", [[4, 4], [1, 2]])
def test_paths_that_go_on_and_fork_are_drawn_under_the_probabilities_that_are_noted(
    policy: Policy, first: list[int]
) -> None:
    config = policy.shaped({"seed": 1, "initial_divergence": first})
    for tree in grow_trees(policy, range(4), config, seed=1).trees:
        for trajectory in tree.trajectories:
            with torch.no_grad():
                logits = policy.sampler(torch.tensor([[*tree.prompt_tokens, *trajectory.tokens]])).logits[0]
            drawn = torch.tensor(trajectory.tokens)[:, None]
            expected = logits.log_softmax(-1)[len(tree.prompt_tokens) - 1 : -1].gather(1, drawn)[:, 0]
            assert trajectory.log_probs == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_path_that_goes_on_is_not_computed_again(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    compute = Decoder._compute

    def counted(decoder: Decoder, batch: Any) -> torch.Tensor:
        computed.append(batch.tokens.numel())
        return compute(decoder, batch)

    monkeypatch.setattr(Decoder, "_compute", counted)
    decoder = _decoder(policy, 2)
    prefixes = [policy.prompts[number].tokens for number in (0, 0, 1)]
    found = decoder.decode(prefixes, limits=[4, 4, 4])
    longest = max(map(len, prefixes))
    # Two prompts, padded to one length, then a token of each of three paths at most.
    assert computed[0] == 2 * longest
    assert len(computed) == 4
    assert all(tokens <= 3 for tokens in computed[1:])
    ends = [[*prefix, *one.tokens] for prefix, one in zip(prefixes, found, strict=True)]
    going = [tokens for tokens in ends if tokens[-1] != policy.end]
    assert going
    computed.clear()
    forks = [*going, going[0]]
    decoder.decode(forks, limits=[4] * len(forks))
    assert all(tokens <= len(forks) for tokens in computed)


def test_unlike_limits_and_cuts_within_a_segment_leave_the_noted_probabilities_right(policy: Policy) -> None:
    decoder = _decoder(policy, 3)
    prefixes = [policy.prompts[number].tokens for number in (0, 1, 2)]
    first = decoder.decode(prefixes, limits=[6, 3, 6])
    # One that goes on, one whose segment was shorter than the others', one that is cut within its segment.
    following = [[*prefix, *one.tokens] for prefix, one in zip(prefixes, first, strict=True)]
    following[2] = following[2][: len(prefixes[2]) + 2]
    for prefix, one in zip(following, decoder.decode(following, limits=[4, 4, 4]), strict=True):
        with torch.no_grad():
            logits = policy.sampler(torch.tensor([[*prefix, *one.tokens]])).logits[0]
        drawn = torch.tensor(one.tokens)[:, None]
        expected = logits.log_softmax(-1)[len(prefix) - 1 : -1].gather(1, drawn)[:, 0]
        assert one.log_probs == pytest.approx(expected.tolist(), abs=1e-4)


# --- derivatives


def test_the_scores_of_the_tokens_give_the_gradient_of_any_credit(policy: Policy) -> None:
    tree = grow_trees(policy, [0], policy.shaped({"seed": 3}), seed=3).trees[0]
    packed = Packed.of(tree, length=policy.response_length)
    moves = Directions(policy.scorer)
    direction = moves.signs(1, 2)
    (along,) = scores_along(moves, packed, [direction])
    weights = np.random.default_rng(0).normal(size=along.shape)
    lengths = [trajectory.length for trajectory in tree.trajectories]
    weights[np.arange(policy.response_length)[None, :] >= np.array(lengths)[:, None]] = 0.0
    gradient = moves.gradient((packed.per_label(weights) * log_probs(policy.scorer, packed)).sum())
    assert float(gradient @ direction) == pytest.approx((weights * along).sum(), rel=1e-6)
    assert np.abs(along).max() > 0


def test_the_parameters_are_where_they_were(policy: Policy) -> None:
    moves = Directions(policy.scorer)
    before = [parameter.detach().clone() for parameter in moves.parameters]
    with pytest.raises(RuntimeError, match="broken"):
        moves.derivative(moves.signs(1), lambda: (_ for _ in ()).throw(RuntimeError("broken")))
    assert all(torch.equal(one, other) for one, other in zip(before, moves.parameters, strict=True))


def test_the_square_of_a_random_product_is_the_squared_length_on_average(policy: Policy) -> None:
    moves = Directions(policy.scorer)
    vector = torch.randn(moves.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    squares = [float(moves.signs(0, index) @ vector) ** 2 for index in range(400)]
    assert np.mean(squares) == pytest.approx(float(vector @ vector), rel=4 * math.sqrt(2 / 400))


def test_a_norm_that_is_not_known_in_double_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="is not known in double precision"):
        keep_double(torch.nn.Sequential(torch.nn.LayerNorm(4)))  # pyright: ignore[reportArgumentType]


# --- samples, reference


def test_samples_are_the_same_when_they_were_kept(samples: Samples, tmp_path: Path) -> None:
    save_samples(tmp_path / "kept.npz", samples)
    again = load_samples(tmp_path / "kept.npz")
    assert again.rows == samples.rows
    for field in dataclasses.fields(samples):
        if field.name != "rows":
            assert np.array_equal(getattr(again, field.name), getattr(samples, field.name)), field.name


def test_siblings_have_the_state_of_their_fork(samples: Samples) -> None:
    states, index = {}, 0
    for row in samples.rows:
        for depth in range(len(row.node_ids)):
            key = row.prompt_id, row.node_ids[:depth]
            assert np.array_equal(states.setdefault(key, samples.states[index]), samples.states[index])
            index += 1
    assert len({key[0] for key in states}) == 6
    assert index == len(samples.states)


def test_the_true_gradient_is_found_again_and_points_where_its_halves_do(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A random model is never right: what is rewarded here is the parity of the response's tokens.
    monkeypatch.setattr(Policy, "reward", lambda self, prompt, response: 1.0 if sum(response) % 2 else -1.0)
    where: dict[str, Any] = {"folder": tmp_path / "kept", "name": "true", "results": tmp_path}
    found = reference.true_gradient(policy, range(4, 12), samples=4, seed=0, **where)
    assert float(found.direction.norm()) == pytest.approx(1.0)
    parts = np.array(found.known.parts)
    assert found.known.squared == pytest.approx(parts.sum())
    assert 0.2 < found.known.accuracy < 0.8
    monkeypatch.setattr(reference, "grow_trees", lambda *arguments, **options: pytest.fail("sampled again"))
    again = reference.true_gradient(policy, range(4, 12), samples=4, seed=0, **where)
    assert again.known == found.known
    assert torch.equal(again.direction, found.direction)


# --- measures


def test_worth_knows_what_the_prompts_share_and_takes_costs_along() -> None:
    draw = np.random.default_rng(0)
    found = []
    for _ in range(300):
        shared = draw.normal(loc=1.0, size=200)
        own, other = shared + draw.normal(scale=0.5, size=200), shared
        cost = draw.uniform(1.0, 3.0, size=200)
        found.append(measure.worth((own, own**2 + 1.0), cost, (other, other**2 + 1.0), np.ones(200)))
    ratios, errors = np.array(found).T
    assert ratios.mean() == pytest.approx((3.0 / 3.25) / 2, rel=0.02)
    assert errors.mean() == pytest.approx(ratios.std(), rel=0.15)
    same = draw.normal(loc=1.0, size=50)
    assert measure.worth((same, same**2), np.ones(50), (same, same**2), np.ones(50)) == (1.0, 0.0)
    assert measure.worth((-same, same**2), np.ones(50), (same, same**2), np.ones(50))[0] == pytest.approx(-1.0)


def test_the_cosine_of_a_step_is_that_of_gradients_with_noise_in_all_directions() -> None:
    draw = np.random.default_rng(0)
    gradients = draw.normal(scale=2.0, size=(20_000, 30))
    gradients[:, 0] += 1.0
    value, error = measure.step_cosine(gradients[:, 0], (gradients**2).sum(axis=1), 10)
    steps = gradients.reshape(2000, 10, 30).mean(axis=1)
    expected = steps[:, 0].mean() / math.sqrt((steps**2).sum(axis=1).mean())
    assert value == pytest.approx(expected, abs=0.01)
    assert 0 < error < 0.02


def test_a_credit_that_halves_early_parts_is_less_aligned() -> None:
    known = reference.Reference(
        prompts=2, samples=2, accuracy=0.5, squared=2.0, own=1.0, parts=np.diag([1.0, 1.0, 0.0, 0.0]).tolist()
    )
    even = measure.part_shares(np.array([[1.0, 1.0, 0.0, 0.0]]), known)
    uneven = measure.part_shares(np.array([[0.5, 1.0, 0.0, 0.0]]), known)
    assert even == pytest.approx([1.0, 1.0, 0.0, 0.0])
    assert uneven == pytest.approx([2 / 3, 4 / 3, 0.0, 0.0])
    assert measure.alignment(even, known) == pytest.approx(1.0)
    assert measure.alignment(uneven, known) == pytest.approx(1.5 / math.sqrt(2 * 1.25))


def test_every_credit_is_measured_on_the_same_samples(samples: Samples) -> None:
    own = measure.per_prompt(samples, batch=4, segment_length=4)
    assert set(own.along) == {arm.name for arm in measure.MODEL_ARMS}
    assert all(np.isfinite(found).all() for found in (*own.along.values(), *own.squares.values()))
    # GRPO's by hand, for one prompt: a mean over trajectories of advantage times score.
    rewards, group = samples.rewards, samples.prompts == 2
    scores = (rewards[group] - rewards[group].mean()) / (rewards[group].std(ddof=1) + 1e-6)
    expected = (scores[:, None] * samples.mask[group] * samples.scores[0, group]).sum() / group.sum()
    assert own.along["grpo"][2].sum() == pytest.approx(expected)


# --- learned values


def tree_of(paths: list[tuple[int, ...]], rewards: list[float], before: list[list[float]]) -> learned.Valued:
    rows = [TreeRow(prompt_id="0", node_ids=path, node_lengths=(1,) * len(path)) for path in paths]
    longest = max(map(len, paths))
    return learned.Valued(
        rows=rows,
        prompts=np.zeros(len(rows), dtype=int),
        mask=np.array([[depth < len(path) for depth in range(longest)] for path in paths]),
        rewards=np.array(rewards),
        before=[np.array(one) for one in before],
    )


BATCH = tree_of([(1, 3), (1, 4), (2, 5)], [1.0, -1.0, 1.0], [[0.2, 0.5], [0.2, 0.5], [0.2, 0.6]])
"""A fork into 1 and 2, a fork of 1 into 3 and 4; 2 continues as 5."""


def test_values_stand_before_and_behind_every_node() -> None:
    assert learned.values_alone(BATCH) == pytest.approx(np.array([[-0.2, 0.5], [-0.2, -1.5], [0.8, 0.4]]))
    assert learned.values_at_both_ends(BATCH) == pytest.approx(np.array([[0.3, 0.5], [0.3, -1.5], [0.4, 0.4]]))


def test_branches_and_values_are_weighed_by_how_much_branches_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "_strength", lambda nodes: 1.0)
    # First fork: the other branch's mean with weight 1/2, the value 0.2 with 1/2. Node 5 moves along with its value.
    first, second = 0.5 * 1.0 + 0.5 * 0.2, 0.5 * 0.0 + 0.5 * 0.2
    expected = [[0.0 - first, 1.0 - (-0.25)], [0.0 - first, -1.0 - 0.75], [1.0 - second, 1.0 - (0.6 + second - 0.2)]]
    assert learned.branches_and_values(BATCH) == pytest.approx(np.array(expected))
    both = learned.branches_and_both_ends(BATCH)
    assert both[0, 0] == pytest.approx((2 * 0.0 + 1 * 0.5) / 3 - first)
    assert both[0, 1] == pytest.approx(1.25)


def test_values_come_from_other_prompts_alone() -> None:
    draw = np.random.default_rng(0)
    states = draw.normal(size=(64, 3))
    rewards = np.repeat(states[::2, 0], 2) * 0.1 + draw.normal(scale=0.01, size=64)
    rows = [TreeRow(prompt_id=str(index // 2), node_ids=(index,), node_lengths=(1,)) for index in range(64)]
    states[1::2] = states[::2]
    made: dict[str, Any] = {
        "scores": np.zeros((1, 64, 1)),
        "mask": np.ones((64, 1), dtype=bool),
        "generated": np.ones(32),
        "packed": np.ones(32),
        "decode_seconds": 1.0,
        "score_seconds": 1.0,
        "update_seconds": 1.0,
    }
    prompts = np.arange(64) // 2
    values, explained = learned.cross_fitted(
        Samples(rows=rows, prompts=prompts, rewards=rewards, states=states, **made)
    )
    assert explained > 0.8
    changed = rewards.copy()
    changed[:2] = 100.0
    again, _ = learned.cross_fitted(Samples(rows=rows, prompts=prompts, rewards=changed, states=states, **made))
    assert again[0] == pytest.approx(values[0])
    assert again[4] != pytest.approx(values[4])


# --- the command


def test_the_command_resumes_and_reports(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--model", str(folders[0]), "--data", str(folders[1]), "--name", "tiny", "--prompts", "4"]
    arguments += ["--reference", "4", "--directions", "2", "--shape", "preset", "--results", str(tmp_path / "results")]
    arguments += ["--cache", str(tmp_path / "cache"), *OVERRIDES]
    monkeypatch.setattr(Policy, "reward", lambda self, prompt, response: 1.0 if sum(response) % 2 else -1.0)
    first: list[str] = []
    command.main(first.append, arguments)
    stored = sorted(path.name.split("-", 2)[2] for path in (tmp_path / "results").iterdir())
    assert stored == ["independent-prompts4-seed0.json", "preset-prompts4-seed0.json", "reference4-seed0.json"]
    cells = [store.load(path) for path in sorted((tmp_path / "results").glob("*prompts4*"))]
    assert [cell.shape for cell in cells] == ["independent", "preset"]
    assert {one.arm for one in cells[0].measures} == {arm.name for arm in measure.MODEL_ARMS}

    monkeypatch.setattr(command, "take_samples", lambda *arguments, **options: pytest.fail("sampled again"))
    monkeypatch.setattr(command, "measure_cell", lambda *arguments, **options: pytest.fail("measured again"))
    again: list[str] = []
    command.main(again.append, arguments)
    command.main(again.append, [*arguments, "--report"])
    assert again[-1] == again[-2] == first[-1]
    assert "| `branches and learned values` | " in first[-1]
    for path in (tmp_path / "results").glob("*prompts4*"):
        path.unlink()
    with pytest.raises(ValueError, match="has 0 cells of tiny"):
        command.main(again.append, [*arguments, "--report"])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--shape", "5 first"], "'5 first' is not one of"),
        (["--prompts", "1"], "--prompts=1 is refused: it must be at least 2"),
        (["--prompts", "9", "--reference", "9"], "are more than the 12 prompts"),
        (["--model", "no/such"], "--model: no/such/config.json does not exist"),
        (["treepo.environment.name=recipe.calculator.calculator:Calculator"], "trees of turns are not measured"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(
    arguments: list[str], line: str, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(arguments=["--model", str(folders[0]), "--data", str(folders[1]), *arguments])
    assert line in (capsys.readouterr().err + str(ended.value))


def test_a_file_that_is_no_cell_is_named(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"policy": "tiny", "measures": []}'):
        (tmp_path / "cell.json").write_text(text)
        with pytest.raises(ValueError, match="is not a cell of this version"):
            store.load(tmp_path / "cell.json")
    (tmp_path / "known.json").write_text("{}")
    with pytest.raises(ValueError, match="is no reference of this version"):
        reference.read_reference(tmp_path / "known.json")


def test_the_page_holds_the_tables_of_the_stored_cells() -> None:
    page = (ROOT / "docs/credit_on_a_model.md").read_text(encoding="utf-8")
    assert table.page_tables(store.RESULTS, "quickstart", prompts=1280, seed=0) in page
    coarse = table.find_cells(store.RESULTS, "quickstart", prompts=160, seed=0)
    assert table.grid(coarse, lambda one: one.per_token, table.SHOWN) in page
    assert table.shapes(coarse) in page
