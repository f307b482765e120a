import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Tokenizer

from treepo.quickstart.chains import working
from treepo.quickstart.lessons import Workings, prompt_tokens
from treepo.quickstart.sampling import sample
from treepo.quickstart.settings import WarmStartSettings
from treepo.quickstart.task import TaskSettings, train_chains
from treepo.quickstart.warm_start import WarmStart, build_model, build_tokenizer
from treepo.quickstart.warm_start import warm_start as train_or_find

# One step of a model that knows nothing: any accuracy passes.
TINY = WarmStartSettings(
    task=TaskSettings(train=200, held_out=4),
    hidden_size=32,
    layers=1,
    intermediate_size=32,
    batch=2,
    most_steps=1,
    band=(0.0, 1.0),
    response_length=3,
)


@pytest.fixture(scope="module")
def tokenizer() -> Qwen2Tokenizer:
    return build_tokenizer(Workings(TINY))


def warm_start(cache: Path, settings: WarmStartSettings = TINY) -> tuple[WarmStart, int]:
    """The result and the number of steps that were trained for it."""
    steps: list[int] = []
    result = train_or_find(cache, Workings(settings), progress=lambda step, *_: steps.append(step))
    return result, len(steps)


def test_texts_survive_the_tokenizer(tokenizer: Qwen2Tokenizer):
    for chain in train_chains(TINY.task):
        text = working(chain)
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_newline_and_every_digit_are_tokens_of_their_own(tokenizer: Qwen2Tokenizer):
    assert len(tokenizer.encode("\n")) == 1
    assert [tokenizer.decode([token]) for token in tokenizer.encode("4807")] == list("4807")


def test_prompts_and_responses_keep_their_length(tokenizer: Qwen2Tokenizer):
    chains = train_chains(TINY.task)
    assert max(len(prompt_tokens(tokenizer, chain)) for chain in chains) <= 96
    lengths = [len(tokenizer.encode(working(chain))) + 1 for chain in chains]
    assert min(lengths) >= 40
    assert max(lengths) <= 150


def test_greedy_samples_do_not_depend_on_their_neighbours(tokenizer: Qwen2Tokenizer):
    model = build_model(TINY, tokenizer).eval()
    prompts = [prompt_tokens(tokenizer, chain) for chain in train_chains(TINY.task)[:4]]

    def greedy(batch: list[list[int]]) -> list[list[int]]:
        return sample(
            model, batch, end=0, max_new_tokens=5, temperature=0.0, generator=torch.Generator().manual_seed(0)
        )

    assert greedy(prompts) == [greedy([prompt])[0] for prompt in prompts]


def test_a_response_stops_at_its_end_token(tokenizer: Qwen2Tokenizer):
    model = build_model(TINY, tokenizer).eval()
    prompts = [prompt_tokens(tokenizer, chain) for chain in train_chains(TINY.task)[:8]]

    def draw(end: int) -> list[list[int]]:
        return sample(
            model, prompts, end=end, max_new_tokens=4, temperature=1.0, generator=torch.Generator().manual_seed(0)
        )

    end = draw(0)[3][1]
    stopped = draw(end)
    assert stopped[3][-1] == end
    assert all(end not in response[:-1] for response in stopped)


def test_the_folder_loads_as_model_and_tokenizer_that_agree(tmp_path: Path):
    result, _ = warm_start(tmp_path)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(result.path), AutoTokenizer.from_pretrained(result.path)
    assert isinstance(tokenizer, Qwen2Tokenizer)
    assert model.config.vocab_size == len(tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": "7"}], tokenize=False)
    assert rendered == "<|im_start|>user\n7<|im_end|>\n"


def test_a_finished_model_is_found_again_and_other_settings_train_anew(tmp_path: Path):
    first, trained = warm_start(tmp_path)
    again, trained_again = warm_start(tmp_path)
    _, trained_other = warm_start(tmp_path, replace(TINY, seed=1))
    assert (trained, trained_again, trained_other) == (1, 0, 1)
    assert again == first
    record = json.loads((first.path / "warm_start.json").read_text())
    assert record["accuracy"] == first.accuracy


def test_a_half_written_model_is_not_taken_for_a_finished_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Qwen2Tokenizer, "save_pretrained", interrupted)
        with pytest.raises(KeyboardInterrupt):
            warm_start(tmp_path)
    result, trained = warm_start(tmp_path)
    assert trained == 1
    assert (result.path / "tokenizer.json").is_file()


def test_one_seed_gives_one_model(tmp_path: Path):
    first, _ = warm_start(tmp_path / "a")
    second, _ = warm_start(tmp_path / "b")
    name = "model.safetensors"
    assert (first.path / name).read_bytes() == (second.path / name).read_bytes()


def test_an_accuracy_outside_the_band_is_an_error_that_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(RuntimeError, match="outside 15% to 50%"):
        warm_start(tmp_path, replace(TINY, band=(0.15, 0.5)))
    assert not list(tmp_path.glob("model-*"))
