"""The example of a private task: its data, its reward behind verl's interface, its answer in a growing tree."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig
from tiny_stack import fit_tokenizer, write_tiny_model
from training_run import ROOT

from recipe.own_task.word_order import AnswerLine, compute_score, last_answer
from recipe.own_task.write_data import write_task
from treepo.config.load import compose, resolve, tree_options
from treepo.start.checks import check
from treepo.tree import AnswerScan, FinishReason, Segment, TreeSampler

FOLDER = ROOT / "recipe/own_task"
FILTERED = "algorithm.filter_groups.enable=true algorithm.filter_groups.metric=acc"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own_task")
    train, _ = write_task(folder, train=64, held_out=8)
    fit_tokenizer(write_tiny_model(folder / "model"), train)
    return folder


def composed(folder: Path, *overrides: str) -> DictConfig:
    own = [
        f"data.train_files=[{folder}/train.parquet]",
        f"data.val_files=[{folder}/held_out.parquet]",
        f"actor_rollout_ref.model.path={folder}/model",
        f"run_dir={folder}/run",
    ]
    config = compose("word_order", [*own, *overrides], config_dir=FOLDER)
    resolve(config)
    return config


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return pq.read_table(folder / f"{name}.parquet").to_pylist()


@pytest.mark.parametrize("overrides", ["", FILTERED])
def test_the_preset_and_the_data_pass_the_checks_before_the_start(folder: Path, overrides: str) -> None:
    assert check(composed(folder, *overrides.split())) == []


def test_no_held_out_problem_is_trained_on_and_every_row_has_an_index_of_its_own(folder: Path) -> None:
    train, held_out = rows(folder, "train"), rows(folder, "held_out")
    asked = [row["prompt"][0]["content"] for row in (*train, *held_out)]
    assert len(asked) == len(set(asked)) == 72
    assert [row["extra_info"]["index"] for row in train] == list(range(64))


@pytest.mark.parametrize("manager", ["naive", "dapo"])
def test_the_reward_answers_verls_reward_managers(folder: Path, manager: str) -> None:
    from verl import DataProto
    from verl.trainer.ppo.reward import load_reward_manager
    from verl.utils.tokenizer import hf_tokenizer

    config = composed(folder, f"reward.reward_manager.name={manager}")
    tokenizer = hf_tokenizer(config.actor_rollout_ref.model.path)
    row = rows(folder, "train")[0]

    async def scored(text: str) -> dict[str, Any]:
        responses = torch.tensor([[*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]])
        data = DataProto.from_dict(
            tensors={"responses": responses, "attention_mask": torch.ones_like(responses)},
            non_tensors={
                name: np.array([row[name]], dtype=object) for name in ("data_source", "reward_model", "extra_info")
            },
        )
        return await load_reward_manager(config, tokenizer).run_single(data)

    truth = row["reward_model"]["ground_truth"]
    first, second, *others = truth.split(", ")
    swapped = ", ".join([second, first, *others])
    right = asyncio.run(scored(f"They go like this.\nAnswer: {truth}"))
    half = asyncio.run(scored(f"Answer: {swapped}"))
    none = asyncio.run(scored("I do not know."))
    assert right == {"reward_score": 1.0, "reward_extra_info": {"score": 1.0, "acc": 1.0, "pred": truth}}
    assert 0 < half["reward_score"] < 1
    assert half["reward_extra_info"]["acc"] == 0
    assert none == {"reward_score": 0.0, "reward_extra_info": {"score": 0.0, "acc": 0.0, "pred": ""}}


def test_a_word_too_many_costs_as_much_as_a_wrong_one() -> None:
    def share(answer: str) -> float:
        return compute_score("", f"Answer: {answer}", "anchor, basket")["score"]

    assert [share("anchor, basket"), share("anchor, candle"), share("anchor, basket, candle, dragon")] == [1, 0.5, 0.5]


@given(pieces=st.lists(st.sampled_from(["Answer:", "Ans", "wer:", " ", "\n", "a, b", "x"]), max_size=12))
def test_what_ends_a_path_is_what_is_later_scored_however_the_text_is_cut(pieces: list[str]) -> None:
    scan = AnswerLine()
    for piece in pieces:
        scan = scan.feed(piece)
    text = "".join(pieces)
    assert scan.complete == bool(last_answer(text))
    assert scan.begun == any(line.startswith("Answer:") for line in text.split("\n"))
    assert isinstance(scan, AnswerScan)


def test_a_tree_takes_the_examples_answer_for_one(folder: Path) -> None:
    options = tree_options(composed(folder, "treepo.width=2", "treepo.initial_divergence=[2,2]"))
    texts = {1: "Answer: a, b", 2: "neither"}
    sampler = TreeSampler(
        prompt_id="prompt",
        prompt_tokens=[9],
        config=options,
        max_response_length=options.segment_length,
        eos_token_ids=frozenset({0}),
        decode=lambda tokens: "".join(texts.get(token, "") for token in tokens),
    )
    for request, token in zip(sampler.start(), (1, 2), strict=True):
        sampler.receive(Segment(request_id=request.id, tokens=[token, 0], log_probs=[-1.0, -1.0], stopped=True))
    assert [found.reason for found in sampler.tree().trajectories] == [FinishReason.ANSWERED, FinishReason.EOS]
