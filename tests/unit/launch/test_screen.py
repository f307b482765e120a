"""The terminal shows steps and our own words; the first error among the rest is remembered."""

import pytest

from treepo.launch.nodes.screen import Screen

SHOWN = [
    "warning: treepo.max_depth is small",
    "error: data.train_files is refused",
    "Traceback (most recent call last):",
    '  File "main.py", line 3, in main',
    "ray.exceptions.RayTaskError: it failed",
    "\x1b[36m(TreeTaskRunner pid=71)\x1b[0m step:3 - critic/score/mean:0.5",
    "(TreeTaskRunner pid=71, ip=10.0.0.2) step:4 - critic/score/mean:0.5",
    "\x1b[36m(TreeTaskRunner pid=71)\x1b[0m Training Progress:  50%|#####     | 1/2 [00:09<00:09,  9.5s/it]",
    "\x1b[36m(TreeAgentLoopWorker pid=7)\x1b[0m WARNING:treepo.verl.rollout: step 3: 2 prompts have no tree",
    "(WorkerDict pid=7) warning: the packed engine discards 3 tokens",
    "\x1b[33m(raylet)\x1b[0m The node with node id: 2c13 has been marked dead",
    "evaluation: 32 samples to generate; /runs/a",
]
HIDDEN = [
    "(TreeTaskRunner pid=71) {'actor_rollout_ref': {'actor': {'lr': 1e-6}}}",
    "\x1b[36m(TreeServer pid=9)\x1b[0m INFO 11-27 03:34:11 [core.py:12] Initializing a V1 LLM engine",
    "(WorkerDict pid=7) /lib/treepo/verl/engine.py:3: UserWarning: treepo is slow",
    "(pid=4711) W1127 03:34:11 cpp: something",
    "/lib/torch/nn.py:12: FutureWarning: torch.x is deprecated",
    "2026-11-27 03:41:48,174\tINFO worker.py:2029 -- Connected to Ray cluster.",
    "[2026-11-27 03:41:18,827 W 5 5] rpc_client.h:153: Failed to connect",
    "WARNING:root:something of a library",
]


@pytest.mark.parametrize("line", SHOWN)
def test_steps_and_our_words_are_shown(line: str) -> None:
    assert Screen().choose(f"{line}\n".encode()) == f"{line}\n".encode()


@pytest.mark.parametrize("line", HIDDEN)
def test_other_processes_and_libraries_are_in_the_log_alone(line: str) -> None:
    assert Screen().choose(f"{line}\n".encode()) == b""


def test_the_code_below_a_librarys_warning_goes_with_it() -> None:
    screen = Screen()
    data = b"/lib/a.py:12: UserWarning: old\n  warnings.warn('old')\nnext\n  indented\n"
    assert screen.choose(data) == b"next\n  indented\n"


def test_lines_are_chosen_whole_however_the_output_is_cut() -> None:
    data = "\n".join([*SHOWN, *HIDDEN, "bar 1\rbar 2\r", "the last one"]).encode()
    whole = Screen()
    expected = whole.choose(data) + whole.rest()
    assert expected.endswith(b"bar 1\rbar 2\r\nthe last one")
    for size in (1, 7, 100):
        screen = Screen()
        parts = [screen.choose(data[place : place + size]) for place in range(0, len(data), size)]
        assert b"".join(parts) + screen.rest() == expected


def test_the_first_error_that_is_not_shown_is_remembered() -> None:
    screen = Screen()
    screen.choose(
        b"(TreeServer pid=9) ValueError: no room for the cache\n"
        b"(TreeServer pid=9) RuntimeError: Engine core initialization failed\n"
        b"ray.exceptions.RayTaskError: shown\n"
    )
    assert screen.first_error == "(TreeServer pid=9) ValueError: no room for the cache"
    assert Screen().first_error == ""
