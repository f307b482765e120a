"""How a question is put: the messages that go through the model's chat template."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from treepo.config import ConfigError
from treepo.datasets.spec import Message
from treepo.evaluation.ask.benchmarks import Question

_OPTION = "evaluation.prompt_template"
_PLACE = "{question}"
OURS = "ours"

NAMED: Mapping[str, tuple[Message, ...]] = {
    # The prompt of Qwen2.5's own reports for chat models, "qwen-boxed".
    "qwen": (
        Message(role="system", content="You are a helpful assistant."),
        Message(
            role="user",
            content="{question}\nPlease reason step by step, and put your final answer within \\boxed{}.",
        ),
    ),
    # Of the harnesses that look for this sentence; its words are given by what they look for.
    "final_answer": (
        Message(
            role="user",
            content="Solve the following math problem efficiently and clearly. The last line of your response should "
            "be of the following format: 'Therefore, the final answer is: $\\boxed{ANSWER}$. I hope it is correct' "
            "(without quotes) where ANSWER is just the final number or expression that solves the problem. Think step "
            "by step before answering.\n\n{question}",
        ),
    ),
    "none": (Message(role="user", content="{question}"),),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTemplate:
    """How questions are put.

    Attributes:
        name: `ours`, one of `NAMED`, or the file that it was read from.
        messages: With ``{question}`` in one of the user's; none for the messages of the benchmark's file as they are.
    """

    name: str
    messages: tuple[Message, ...] = ()

    @property
    def digest(self) -> str | None:
        """What tells one template from another; None for the benchmark's own messages."""
        if not self.messages:
            return None
        text = repr([(message.role, message.content) for message in self.messages])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def put(self, question: Question) -> list[dict[str, str]]:
        """The messages of a question.

        Raises:
            ConfigError: Its row does not say what the question is without instructions.
        """
        if not self.messages:
            return [dict(message) for message in question.messages]
        if question.text is None:
            raise ConfigError(
                f"{_OPTION}={self.name} is refused for {question.benchmark} question {question.id}: its row has no "
                "extra_info.question, which a template needs where a chat has more than one message or options to "
                "choose from; give ours"
            )
        text = question.text
        return [{"role": one.role, "content": one.content.replace(_PLACE, text)} for one in self.messages]


def read_prompt_template(option: str) -> PromptTemplate:
    """The template that an option names.

    Args:
        option: ``evaluation.prompt_template``.

    Raises:
        ConfigError: There is no such template or file, or the file holds none.
    """
    if option == OURS:
        return PromptTemplate(name=option)
    if option in NAMED:
        return PromptTemplate(name=option, messages=NAMED[option])
    file = Path(option).expanduser()
    if not file.is_file():
        names = ", ".join([OURS, *NAMED])
        raise ConfigError(f"{_OPTION}={option} is refused: it is neither one of {names} nor a file")
    try:
        messages = TypeAdapter(tuple[Message, ...]).validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())[:200]
        raise ConfigError(f"{_OPTION}={option} is no list of messages with role and content ({why})") from error
    if sum(_PLACE in message.content for message in messages if message.role == "user") != 1:
        raise ConfigError(f"{_OPTION}={option} is refused: one message of the user must hold {_PLACE}, and no other")
    return PromptTemplate(name=option, messages=messages)
