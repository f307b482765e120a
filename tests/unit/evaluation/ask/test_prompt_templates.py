"""How a question is put: the named templates word for word, a private file, and what cannot be put."""

from pathlib import Path

import pytest
import yaml

from treepo.config import ConfigError
from treepo.datasets.spec import catalogue
from treepo.evaluation.ask.benchmarks import Question
from treepo.evaluation.ask.prompt_templates import NAMED, read_prompt_template

ASKED = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is {question} + 1?"})


def question(text: str | None = "What is {question} + 1?") -> Question:
    return Question(benchmark="sums", id="q0", data_source="sums", messages=ASKED, text=text, truths=("2",))


def test_ours_are_the_messages_of_the_file_with_or_without_a_bare_question() -> None:
    template = read_prompt_template("ours")
    assert template.digest is None
    assert template.put(question()) == template.put(question(None)) == list(ASKED)


def test_the_question_alone_is_put_as_it_is() -> None:
    assert read_prompt_template("none").put(question()) == [{"role": "user", "content": "What is {question} + 1?"}]


def test_qwens_template_is_its_own() -> None:
    assert read_prompt_template("qwen").put(question("1 + 1?")) == [
        {"role": "system", "content": "You are a helpful assistant."},
        {
            "role": "user",
            "content": "1 + 1?\nPlease reason step by step, and put your final answer within \\boxed{}.",
        },
    ]


def test_the_final_answers_sentence_stands_before_the_question() -> None:
    (message,) = read_prompt_template("final_answer").put(question("1 + 1?"))
    assert "'Therefore, the final answer is: $\\boxed{ANSWER}$. I hope it is correct'" in message["content"]
    assert message["content"].endswith("\n\n1 + 1?")


def test_every_named_template_is_another_one() -> None:
    digests = {read_prompt_template(name).digest for name in NAMED}
    assert len(digests) == len(NAMED)
    assert None not in digests


def test_a_file_of_ones_own_is_told_by_what_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    template = catalogue()["aime_2024"].template
    assert template is not None
    file.write_text(yaml.safe_dump([message.model_dump() for message in template]))
    first = read_prompt_template(str(file))
    assert first.put(question("1 + 1?"))[1] == {"role": "user", "content": "1 + 1?"}
    file.write_text(file.read_text().replace("reason", "think"))
    assert read_prompt_template(str(file)).digest != first.digest


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("- {role: user, content: no place}", "one message of the user must hold {question}, and no other"),
        ("- {role: user, content: '{question}'}\n- {role: user, content: '{question}'}", "and no other"),
        ("- {role: system, content: '{question}'}", "one message of the user must hold {question}"),
        ("{question}", "is no list of messages with role and content"),
        ("- {role: wizard, content: '{question}'}", "is no list of messages with role and content"),
        ("- [", "is no list of messages with role and content"),
    ],
)
def test_a_file_that_is_no_template_is_one_line(tmp_path: Path, content: str, line: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError) as refused:
        read_prompt_template(str(file))
    assert str(refused.value).startswith(f"evaluation.prompt_template={file} is")
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_neither_a_name_nor_a_file_is_refused_with_the_names() -> None:
    with pytest.raises(ConfigError, match="it is neither one of ours, qwen, final_answer, none nor a file"):
        read_prompt_template("quen")


def test_a_row_that_does_not_say_its_bare_question_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"sums question q0: its row has no extra_info\.question"):
        read_prompt_template("qwen").put(question(None))
