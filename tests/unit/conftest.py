"""Reads, composes and parses the same configuration once per process: most of these tests' time would go there.

Hydra and OmegaConf do all of it anew for every composition, which is right for a command that composes once.
"""

import dataclasses
import functools
import pickle
import signal
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import omegaconf.base
import pytest
from hydra._internal import config_loader_impl
from hydra._internal.defaults_list import DefaultsList, Overrides, create_defaults_list
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import ResultDefault
from omegaconf import DictConfig, OmegaConf
from omegaconf.grammar_parser import parse

from treepo.config.presets import CONFIG_DIR

_VERL = find_spec("verl")
assert _VERL is not None
assert _VERL.origin is not None
_LASTING = (str(CONFIG_DIR.resolve()), str(Path(_VERL.origin).parent))


def _sources(repo: Any) -> tuple[str, ...] | None:
    """Where a composition reads from; ``None`` where a test may have written it."""
    paths = [source.path for source in repo.get_sources() if source.scheme() == "file"]
    return tuple(paths) if all(str(path).startswith(_LASTING) for path in paths) else None


@pytest.fixture
def hangup_is_heard() -> Iterator[None]:
    """As in a terminal; under nohup the tests, and what they start, ignore SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session", autouse=True)
def files_are_composed_once() -> Iterator[None]:
    lists: dict[Any, DefaultsList] = {}
    # As bytes, since Hydra changes what it is given.
    composed: dict[Any, bytes] = {}
    real_compose = config_loader_impl.ConfigLoaderImpl._compose_config_from_defaults_list

    def defaults_of(repo: Any, config_name: str, overrides_list: Sequence[Any], **rest: Any) -> DefaultsList:
        overrides = Overrides(repo=repo, overrides_list=list(overrides_list))
        sources = _sources(repo)
        if sources is None or overrides.override_choices or overrides.append_group_defaults or overrides.deletions:
            return create_defaults_list(repo, config_name, list(overrides_list), **rest)
        key = (sources, config_name, tuple(rest.items()))
        if key not in lists:
            lists[key] = create_defaults_list(repo, config_name, [], **rest)
        return dataclasses.replace(lists[key], config_overrides=overrides.config_overrides)

    def compose(loader: Any, defaults: list[ResultDefault], repo: Any) -> DictConfig:
        if (sources := _sources(repo)) is None:
            return real_compose(loader, defaults, repo)
        options = pickle.dumps(ConfigStore.instance().repo["treepo"])
        key = (sources, options, tuple((default.config_path, default.package) for default in defaults))
        if key not in composed:
            composed[key] = pickle.dumps(real_compose(loader, defaults, repo))
        return pickle.loads(composed[key])

    read = OmegaConf.load
    files: dict[bytes, bytes] = {}

    def load(file: Any) -> Any:
        if hasattr(file, "fileno"):
            file = file.name
        if not isinstance(file, str | Path):
            return read(file)
        text = Path(file).read_bytes()
        if text not in files:
            files[text] = pickle.dumps(read(file))
        return pickle.loads(files[text])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", staticmethod(load))
        # Trees that are only walked.
        patch.setattr(omegaconf.base, "parse", functools.cache(parse))
        patch.setattr(config_loader_impl, "create_defaults_list", defaults_of)
        patch.setattr(config_loader_impl.ConfigLoaderImpl, "_compose_config_from_defaults_list", compose)
        yield
