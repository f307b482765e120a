"""A file, or a folder, is written whole or not at all."""

from pathlib import Path

import pytest

from treepo.files.whole import UNFINISHED, whole_folder, write_text_whole, write_whole


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


def test_a_folder_takes_the_place_of_the_old_one_when_it_is_whole(tmp_path: Path) -> None:
    place, left = tmp_path / "page", tmp_path / f"page{UNFINISHED}"
    for folder in (place, left):
        folder.mkdir()
        (folder / "old").touch()
    with whole_folder(place) as unfinished:
        assert list(unfinished.iterdir()) == []
        (unfinished / "new").touch()
        assert [path.name for path in place.iterdir()] == ["old"]
    assert [path.name for path in place.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [place]


def test_a_folder_that_fails_leaves_the_old_one_and_nothing_beside_it(tmp_path: Path) -> None:
    place = tmp_path / "page"
    place.mkdir()
    (place / "old").touch()

    def break_off() -> None:
        with whole_folder(place) as unfinished:
            (unfinished / "half").touch()
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        break_off()
    assert [path.name for path in place.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [place]
