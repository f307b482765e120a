"""An evaluation whose servers fail says why, although their output goes to no terminal."""

import os
from pathlib import Path

from treepo.verl.serving.cluster import first_errors

ENGINE = """INFO 11-27 10:00:00 [core.py:90] Initializing a V1 LLM engine
(EngineCore_DP0 pid=7) ERROR 11-27 10:00:01 [core.py:946] EngineCore failed to start.
(EngineCore_DP0 pid=7) ERROR 11-27 10:00:01 [core.py:946] Traceback (most recent call last):
(EngineCore_DP0 pid=7) ERROR 11-27 10:00:01 [core.py:946]   File "a.py", line 3, in start
(EngineCore_DP0 pid=7) ERROR 11-27 10:00:01 [core.py:946] ValueError: not enough memory for the cache
(EngineCore_DP0 pid=7) ValueError: not enough memory for the cache
RuntimeError: Engine core initialization failed. See root cause above.
"""


def write(logs: Path, name: str, text: str, *, at: int) -> None:
    (logs / name).write_text(text)
    os.utime(logs / name, (at, at))


def test_the_first_error_of_every_worker_is_found_the_oldest_output_first(tmp_path: Path) -> None:
    write(tmp_path, "worker-b-7.err", ENGINE, at=1)
    write(tmp_path, "worker-a-8.err", "Traceback:\ntransformers.errors.ShardError: model-2 is missing\n", at=2)
    write(tmp_path, "worker-c-9.out", "ValueError: not enough memory for the cache\n", at=3)
    write(tmp_path, "raylet.err", "RuntimeError: of Ray itself\n", at=0)
    assert first_errors(tmp_path) == [
        "ValueError: not enough memory for the cache",
        "transformers.errors.ShardError: model-2 is missing",
    ]


def test_words_about_errors_are_none(tmp_path: Path) -> None:
    write(tmp_path, "worker-a.err", "an Error: is no name\nUserWarning: ValueError: no\nno RuntimeError here\n", at=1)
    assert first_errors(tmp_path) == []
