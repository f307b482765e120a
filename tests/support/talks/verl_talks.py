"""verl's agent loops without a server: a scripted model, its tokenizer, and the preset's configuration."""

import asyncio
import functools
import json
from collections.abc import Callable, Iterator
from inspect import isfunction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import talk_tools
from omegaconf import DictConfig, OmegaConf
from tiny_stack import compose_tiny
from verl.experimental.agent_loop.agent_loop import DictConfigWrap, ToolListWrap
from verl.tools.function_tool import FUNCTION_TOOL_REGISTRY
from verl.tools.schemas import OpenAIFunctionToolSchema
from verl.utils.dataset import RLHFDataset

from treepo.quickstart.tokenizer import train_tokenizer

TOKENIZER: Any = train_tokenizer(["7 plus 5 is 12.\n"], vocabulary=300)
END = "<|im_end|>"
QUESTION = [{"role": "user", "content": "7 plus 5?"}]
# From the last message of the talk so far to what the model writes.
Script = Callable[[str, int], str]


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


class ScriptedClient:
    """verl's client of a server whose model follows a script; every token has its own id as its log-prob.

    Attributes:
        prompts: What was submitted, as text.
    """

    def __init__(self, script: Script) -> None:
        self.prompts: list[str] = []
        self._script = script

    async def generate(self, request_id: str, *, prompt_ids: list[int], sampling_params: dict, **_: Any) -> Any:
        await asyncio.sleep(0)
        text = TOKENIZER.decode(prompt_ids)
        self.prompts.append(text)
        before, _, written = text.rpartition("<|im_start|>assistant\n")
        reply = self._script(before.rpartition("<|im_start|>")[2].removesuffix(f"{END}\n"), len(self.prompts)) + END
        tokens = TOKENIZER.encode(reply)[len(TOKENIZER.encode(written)) :]
        tokens = tokens[: sampling_params.get("max_tokens") or None]
        return SimpleNamespace(
            token_ids=tokens,
            log_probs=[-float(token) for token in tokens],
            stop_reason="completed",
            num_preempted=0,
            routed_experts=None,
            extra_fields={"num_cached_tokens": 0, "min_global_steps": 3, "max_global_steps": 3},
        )


def tools(*names: str) -> list[Any]:
    """Tools of ``tests/support/talk_tools.py``, by name."""

    def schema(name: str) -> OpenAIFunctionToolSchema:
        function = {"name": name, "description": "Counts.", "parameters": {"type": "object", "properties": {}}}
        return OpenAIFunctionToolSchema.model_validate({"type": "function", "function": function})

    known = {
        **FUNCTION_TOOL_REGISTRY,
        "count": talk_tools.Counter(config={}, tool_schema=schema("count")),
        "wait": talk_tools.Waiter(config={}, tool_schema=schema("wait")),
    }
    return [known[name] for name in names]


@functools.cache
def _composed(folder: Path) -> DictConfig:
    return compose_tiny(
        folder,
        [
            "data.max_response_length=200",
            "treepo.width=4",
            "treepo.segment_length=100",
            "treepo.max_depth=4",
            "treepo.termination.repetition.enabled=false",
        ],
    )


def talk(
    kind: Any, model: Script | Any, folder: Path, *overrides: str, tools: list[Any] | None = None, **fields: Any
) -> Any:
    """Runs an agent loop, made as verl's worker makes it, on one row; the model is a script, or verl's client."""
    config: Any = OmegaConf.merge(_composed(folder), OmegaConf.from_dotlist(list(overrides)))

    async def run() -> Any:
        # verl's loops take hold of the event loop that they are made in.
        loop = kind(
            trainer_config=DictConfigWrap(config),
            server_manager=ScriptedClient(model) if isfunction(model) else model,
            tokenizer=TOKENIZER,
            processor=None,
            dataset_cls=RLHFDataset,
            data_config=DictConfigWrap(config.data),
            hf_model_type="qwen2",
            tools=ToolListWrap(tools or []),
        )
        return await loop.run({"temperature": 1.0, "logprobs": True}, **row(**fields))

    return asyncio.run(run())


def row(**fields: Any) -> dict[str, Any]:
    return {
        "raw_prompt": QUESTION,
        "uid": "u",
        "index": 0,
        "global_steps": 1,
        "session_id": 0,
        "extra_info": {},
        **fields,
    }


def turns_of(tokens: list[int], mask: list[int]) -> Iterator[tuple[list[int], str]]:
    """What the model wrote in each turn, and what it read behind it; nothing behind the last."""
    said: list[int] = []
    read: list[int] = []
    for token, written in zip(tokens, mask, strict=True):
        if written and read:
            yield said, TOKENIZER.decode(read)
            said, read = [], []
        (said if written else read).append(token)
    yield said, TOKENIZER.decode(read)
