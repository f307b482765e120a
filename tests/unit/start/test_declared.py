"""One list holds every check before a start, and each says what it reads."""

import pytest
from omegaconf import DictConfig, OmegaConf
from tiny_stack import compose_tiny, write_tiny_model
from training_run import write_sums

from treepo.start.checks import CHECKS
from treepo.start.declared import READS, Check, Start


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> DictConfig:
    folder = tmp_path_factory.mktemp("declared")
    write_tiny_model(folder / "model")
    files = write_sums(folder / "train.parquet", 16, seed=0), write_sums(folder / "other.parquet", 16, seed=1)
    overrides = [
        f"data.train_files=[{files[0]},{files[1]}]",
        f"data.val_files=[{files[0]}]",
        f"run_dir={folder / 'run'}",
        # The one group that is added by hand.
        "+reward.reward_kwargs.max_resp_len=160",
    ]
    return compose_tiny(folder / "model", overrides)


def name(check: Check) -> str:
    return f"{check.__module__.rpartition('.')[2]}.{check.__name__}"


def test_every_check_of_the_room_stands_in_the_list_once() -> None:
    assert sorted(map(name, CHECKS)) == sorted(map(name, READS))


@pytest.mark.parametrize("check", CHECKS, ids=name)
def test_what_a_check_reads_is_there(check: Check, config: DictConfig) -> None:
    assert READS[check]
    for option in READS[check]:
        group, _, last = option.rpartition(".")
        assert last in (OmegaConf.select(config, group) if group else config), option


@pytest.mark.parametrize("check", CHECKS, ids=name)
def test_a_check_reads_nothing_else(check: Check, config: DictConfig) -> None:
    known = OmegaConf.create()
    for option in READS[check]:
        OmegaConf.update(known, option, OmegaConf.select(config, option), force_add=True)
    OmegaConf.set_struct(known, True)
    warnings = list(check(Start(config=known)) or ())
    assert warnings == []
