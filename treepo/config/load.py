"""Composes a configuration from ``configs/`` with Hydra, and says in one line what is wrong with it."""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from treepo.config.options import TreePOConfig
from treepo.config.presets import CONFIG_DIR
from treepo.config.suggestion import close_to
from treepo.config.validation import ConfigError, load_config

_UNKNOWN_KEY = re.compile(r"Could not override '(?P<option>[^']+)'")
# The range of docs/verl.md.
_VERL, _FIRST, _AFTER = "verl>=0.9.1,<0.10", (0, 9, 1), (0, 10)
_INSTALL = (
    "in a checkout with bash scripts/setup.sh on a CPU, with bash scripts/setup.sh --gpu for accelerators; see Install "
    "in README.md"
)
_PRESET_WORDS = ("preset", "config_name", "config-name")
_MOST_SUGGESTED = 3


def compose(
    name: str, overrides: Sequence[str], *, config_dir: Path | None = None, home: Path = CONFIG_DIR
) -> DictConfig:
    """Composes a preset with overrides.

    Args:
        name: A preset: the name of a YAML file in ``home`` or in ``config_dir``.
        overrides: Hydra overrides, ``option=value``.
        config_dir: A further folder of presets, searched before ``home``.
        home: Our folder of presets: ``configs/``, or one within it for a job of another kind.

    Returns:
        The whole configuration, in Hydra's struct mode.

    Raises:
        ConfigError: The preset does not exist, an override is misspelt or malformed, or the installation lacks
            something; one line that names the option and the remedy.
    """
    if not CONFIG_DIR.is_dir():
        raise ConfigError(
            f"{CONFIG_DIR} does not exist: the presets are missing; install TreePO anew from its checkout"
        )
    folder = (config_dir or home).expanduser().resolve()
    if not folder.is_dir():
        raise ConfigError(f"--config-dir {config_dir} is no folder; name one with presets of your own")
    if not any((place / f"{name}.yaml").is_file() for place in (folder, home)):
        presets = ", ".join(sorted(path.stem for place in {folder, home} for path in place.glob("*.yaml")))
        raise ConfigError(f"--preset {name} is not a preset; there are: {presets}")
    _check_form(overrides, presets={path.stem for place in (folder, home) for path in place.glob("*.yaml")})
    store = ConfigStore.instance()
    store.store(group="treepo", name="default", node=TreePOConfig().model_dump(mode="json"))
    # A user's own presets come first and find ours, and verl's, behind them.
    places = dict.fromkeys((folder, home, CONFIG_DIR, _verl_config_dir()))
    search = f"hydra.searchpath=[{','.join(hydra_quote(f'file://{place}') for place in places)}]"
    first = folder if (folder / f"{name}.yaml").is_file() else home
    with initialize_config_dir(str(first), version_base=None):
        try:
            return hydra_compose(name, overrides=[search, *overrides])
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise ConfigError(_describe(name, search, error)) from error


def hydra_quote(text: str) -> str:
    """A text as an override's value, or an element of one, whatever characters Hydra's grammar would take apart.

    Example:
        ``data.train_files=["/data/set (1).parquet"]``
    """
    return QuotedString(text=text, quote=Quote.double).with_quotes()


def resolve(config: DictConfig) -> None:
    """Resolves every interpolation in place, makes ``run_dir`` absolute, and the step to resume from a plain path.

    verl hands parts of the configuration on without their root, where interpolations no longer resolve.

    Raises:
        ConfigError: A value is missing, or an interpolation leads nowhere.
    """
    try:
        if not config.run_dir:
            raise ConfigError("run_dir is empty; name the folder of the run's checkpoints and logs")
        config.run_dir = str(Path(str(config.run_dir)).expanduser().resolve())
        OmegaConf.resolve(config)
        if step := OmegaConf.select(config, "trainer.resume_from_path"):
            # verl reads the step's number off its end, and a shell's completion adds a slash.
            config.trainer.resume_from_path = str(Path(str(step)).expanduser())
    except OmegaConfBaseException as error:
        raise ConfigError(" ".join(str(error).split())) from error


def adopt_environment(config: DictConfig) -> None:
    """Takes over the environment of the workers: verl looks for its platform when it is imported, here as there.

    Args:
        config: A resolved configuration.
    """
    os.environ.update(
        {str(name): str(value) for name, value in config.ray_kwargs.ray_init.runtime_env.env_vars.items()}
    )


def tree_options(config: DictConfig) -> TreePOConfig:
    """The typed options of a composed configuration.

    Raises:
        ConfigError: One of them is refused.
    """
    options = OmegaConf.to_container(config.treepo, resolve=True) if config.get("treepo") else None
    if not isinstance(options, dict):
        raise ConfigError("treepo is empty; it is the group of TreePO's options, as in treepo.width=8")
    return load_config({str(name): value for name, value in options.items()})


def _verl_config_dir() -> Path:
    """Where verl's own configuration lies; found without importing verl, which takes seconds."""
    spec = find_spec("verl")
    if spec is None or spec.origin is None:
        raise ConfigError(f"verl is not installed; install it {_INSTALL}")
    _check_verl()
    return Path(spec.origin).parent / "trainer" / "config"


def _check_verl() -> None:
    """Refuses a verl whose seams are others than those that we hold on to."""
    try:
        found = version("verl")
    except PackageNotFoundError:
        # A bare source tree on the path says no version.
        return
    release = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", found)
    if release is None or not _FIRST <= tuple(int(number or 0) for number in release.groups()) < _AFTER:
        raise ConfigError(f"verl {found} is refused: TreePO needs {_VERL}; install it {_INSTALL}")


def _check_form(overrides: Sequence[str], *, presets: Collection[str]) -> None:
    for override in overrides:
        name, equals, value = override.partition("=")
        chosen = value if name.lstrip("+~-") in _PRESET_WORDS else override if override in presets else None
        if chosen is not None:
            raise ConfigError(f"{override} is not an option; to choose the preset write --preset {chosen}")
        if not equals and not override.startswith("~"):
            raise ConfigError(f"{override!r} is not an override; write option=value, as in treepo.width=8")


def _describe(name: str, search: str, error: Exception) -> str:
    text = str(error)
    unknown = _UNKNOWN_KEY.search(text)
    if unknown is None:
        return " ".join(text.split())
    option = unknown["option"]
    known = list(_leaves(hydra_compose(name, overrides=[search])))
    return f"{option} is not an option; {_remedy(option, known)}"


def _remedy(option: str, known: list[str]) -> str:
    others = [full for full in known if not option.startswith(f"{full}.")]
    if close := close_to(option, others, cutoff=0.7):
        return f"did you mean {close[0]}?"
    if len(others) < len(known):
        return f"to add it all the same, write +{option}=..."
    # Added at the top, nothing would read it.
    inside = [full for full in known if full.endswith(f".{option}")]
    if inside:
        inside.sort(key=lambda full: not full.startswith("treepo."))
        return f"did you mean {' or '.join(inside[:_MOST_SUGGESTED])}?"
    return "options stand in groups, as in treepo.width=8; treepo check, or --dry-run of the launchers, prints all"


def _leaves(config: Any, prefix: str = "") -> Iterator[str]:
    for key in config:
        name = f"{prefix}{key}"
        yield name
        if OmegaConf.is_missing(config, key) or OmegaConf.is_interpolation(config, key):
            continue
        if isinstance(config[key], DictConfig):
            yield from _leaves(config[key], f"{name}.")
