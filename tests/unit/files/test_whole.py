"""A file is written whole or not at all."""

from pathlib import Path

import pytest

from treepo.files.whole import UNFINISHED, write_text_whole, write_whole


def test_what_is_written_stands_in_its_place_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    path.write_text("old")
    write_text_whole(path, "größe")
    assert path.read_text(encoding="utf-8") == "größe"
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_the_old_file_and_is_written_over_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    path.write_text("old")

    def break_off(unfinished: Path) -> None:
        unfinished.write_text("ha")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write_whole(path, break_off)
    assert path.read_text() == "old"
    assert path.with_name(path.name + UNFINISHED).read_text() == "ha"
    write_text_whole(path, "new")
    assert list(tmp_path.iterdir()) == [path]


def test_half_a_surrogate_pair_ends_no_writing(tmp_path: Path) -> None:
    write_text_whole(tmp_path / "page", "a\ud800b")
    assert (tmp_path / "page").read_bytes() == b"a?b"
