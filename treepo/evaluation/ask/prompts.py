"""From questions to prompts as the model gets them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from treepo.config import ConfigError
from treepo.evaluation.ask.benchmarks import Benchmark, Question
from treepo.evaluation.ask.prompt_templates import PromptTemplate


class Tokenizer(Protocol):
    """What an evaluation needs of a tokenizer of transformers."""

    chat_template: Any

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        """The chat as text or as token ids."""
        ...

    def decode(self, token_ids: Any, **options: Any) -> Any:
        """Text of token ids."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A question as the model gets it.

    Attributes:
        question: The question.
        tokens: Token ids of the prompt.
        text: The same as text.
    """

    question: Question
    tokens: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """The prompts of a benchmark.

    Attributes:
        benchmark: The benchmark.
        prompts: Those that are asked.
        too_long: Ids of the questions that are not, since their prompts are too long.
    """

    benchmark: Benchmark
    prompts: tuple[Prompt, ...]
    too_long: tuple[str, ...]


def read_template(option: str | None, tokenizer: Tokenizer) -> str:
    """The chat template.

    Args:
        option: ``evaluation.chat_template``.
        tokenizer: The model's tokenizer.

    Raises:
        ConfigError: There is none.
    """
    if option is not None:
        file = Path(option).expanduser()
        if not file.is_file():
            raise ConfigError(f"evaluation.chat_template={option} does not exist; give a file with a Jinja template")
        return file.read_text(encoding="utf-8")
    if not isinstance(tokenizer.chat_template, str):
        raise ConfigError("the model's tokenizer has no chat template; give a file with one: evaluation.chat_template")
    return tokenizer.chat_template


def make_prompts(
    benchmark: Benchmark, tokenizer: Tokenizer, *, put: PromptTemplate, template: str, longest: int
) -> Prompts:
    """Puts the questions, applies the chat template, and sets aside what is too long.

    Args:
        benchmark: The benchmark.
        tokenizer: The model's tokenizer.
        put: How a question is put.
        template: The chat template.
        longest: Most tokens of a prompt.

    Raises:
        ConfigError: A template refuses a question, or all prompts are too long.
    """
    prompts: list[Prompt] = []
    too_long: list[str] = []
    for question in benchmark.questions:
        tokens = _tokens(question, put.put(question), tokenizer, template)
        if len(tokens) > longest:
            too_long.append(question.id)
        else:
            text = str(tokenizer.decode(tokens, skip_special_tokens=False))
            prompts.append(Prompt(question=question, tokens=tuple(tokens), text=text))
    if not prompts:
        raise ConfigError(
            f"every prompt of {benchmark.name} is longer than evaluation.prompt_length={longest}; raise it"
        )
    return Prompts(benchmark=benchmark, prompts=tuple(prompts), too_long=tuple(too_long))


def _tokens(question: Question, messages: list[dict[str, str]], tokenizer: Tokenizer, template: str) -> Sequence[int]:
    try:
        return tokenizer.apply_chat_template(
            messages,
            chat_template=template,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
        )
    except Exception as error:  # a template raises whatever it likes
        raise ConfigError(
            f"{question.benchmark} question {question.id}: the chat template refuses its messages: {error}"
        ) from error
