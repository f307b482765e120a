"""Reads every YAML file of a configuration once per process: most of the time of a composition is parsing."""

import os
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from omegaconf import OmegaConf


@pytest.fixture(scope="session", autouse=True)
def configuration_files_are_read_once() -> Iterator[None]:
    read = OmegaConf.load
    # As bytes, since Hydra changes what it is given.
    known: dict[tuple[str, int, int], bytes] = {}

    def load(file: Any) -> Any:
        if not hasattr(file, "fileno"):
            return read(file)
        status = os.fstat(file.fileno())
        key = (os.path.realpath(file.name), status.st_mtime_ns, status.st_size)
        if key not in known:
            known[key] = pickle.dumps(read(file))
        return pickle.loads(known[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", staticmethod(load))
        yield
