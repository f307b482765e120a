"""What a machine lacks is one line before a cluster starts on it."""

from collections import namedtuple
from pathlib import Path

import pytest

from treepo.config import ConfigError
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
