"""What a machine lacks is one line before a cluster starts on it."""

import re
from collections import namedtuple
from pathlib import Path

import pytest

from treepo.config import ConfigError
from treepo.config.load import compose
from treepo.start import machine

Usage = namedtuple("Usage", ["total", "used", "free"])


@pytest.mark.parametrize(("mib", "enough"), [(64, False), (255, False), (256, True), (4096, True)])
def test_shared_memory_as_containers_have_it_is_refused(
    mib: int, enough: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: Usage(mib << 20, 0, mib << 20))
    if enough:
        machine.check_shared_memory(tmp_path)
        return
    with pytest.raises(ConfigError, match=rf"it has {mib} MiB free, .*--shm-size") as refused:
        machine.check_shared_memory(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_machine_without_shared_memory_is_not_judged(tmp_path: Path) -> None:
    machine.check_shared_memory(tmp_path / "none")


@pytest.mark.parametrize(
    "place", [{"HF_DATASETS_CACHE": "here"}, {"HF_HOME": "here"}, {"XDG_CACHE_HOME": "here"}], ids=str
)
def test_a_cache_of_data_that_cannot_be_written_to_is_refused(place: dict[str, str], tmp_path: Path) -> None:
    ((name, folder),) = place.items()
    machine.check_data_cache({name: str(tmp_path / folder)})
    # Even for root no folder can be made below a file.
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="set HF_DATASETS_CACHE to a folder that can"):
        machine.check_data_cache({name: str(tmp_path / "file" / folder)})


def test_fewer_accelerators_than_asked_for_are_refused_with_the_option() -> None:
    machine.check_accelerators(8, 8, option="trainer.n_gpus_per_node")
    with pytest.raises(ConfigError, match=r"^trainer.n_gpus_per_node=8 is refused: 0 accelerators are visible"):
        machine.check_accelerators(0, 8, option="trainer.n_gpus_per_node")


def test_a_machine_without_a_compiler_or_headers_is_refused_by_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.shutil, "which", lambda name: "/usr/bin/gcc" if name == "gcc" else None)
    with pytest.raises(ConfigError, match=r"Python\.h does not exist, .*python3-dev$"):
        machine.check_compiler({}, tmp_path)
    (tmp_path / "Python.h").touch()
    machine.check_compiler({}, tmp_path)
    monkeypatch.setattr(machine.shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match=r"^no C compiler is found .*install gcc$"):
        machine.check_compiler({}, tmp_path)


ROWS = "actor_rollout_ref.model.use_remove_padding=false"
ATTENTION = "+actor_rollout_ref.model.override_config.attn_implementation=sdpa"


@pytest.mark.parametrize("overrides", [[], [ROWS], [ATTENTION]], ids=str)
def test_verls_engine_without_flash_attn_is_refused_with_the_options_that_go_without(overrides: list[str]) -> None:
    config = compose("qwen2_5_7b", overrides)
    with pytest.raises(ConfigError, match=f"^flash-attn is not installed.*{re.escape(f'{ROWS} and {ATTENTION}')}"):
        machine.check_flash_attention(config, packed=False, found=False)
    machine.check_flash_attention(config, packed=True, found=False)
    machine.check_flash_attention(config, packed=False, found=True)


def test_both_options_go_without_flash_attn_and_a_critic_needs_them_too() -> None:
    machine.check_flash_attention(compose("qwen2_5_7b", [ROWS, ATTENTION]), packed=False, found=False)
    config = compose("qwen2_5_7b", [ROWS, ATTENTION, "critic.enable=true"])
    with pytest.raises(ConfigError, match=r"critic\.model\.use_remove_padding=false"):
        machine.check_flash_attention(config, packed=True, found=False)
