"""Images put aside: every byte, and never over another file."""

from __future__ import annotations

from pathlib import Path

import pytest

from fmlad.commands.review import put_aside
from fmlad.errors import OptionError


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_other_files_of_that_name_stay(tmp_path: Path) -> None:
    review = tmp_path / "deep" / "review"
    sources = [write(tmp_path / place / "x.tar.png", place.encode()) for place in "abc"]
    names = [put_aside(source, review).name for source in sources]
    assert names == ["x.tar.png", "x.tar-2.png", "x.tar-3.png"]
    assert [(review / name).read_bytes() for name in names] == [b"a", b"b", b"c"]


def test_the_same_image_is_put_aside_once(tmp_path: Path) -> None:
    one, two = (write(tmp_path / place / "x.png", place.encode()) for place in "ab")
    review = tmp_path / "review"
    for source, name in ((one, "x.png"), (two, "x-2.png"), (two, "x-2.png"), (one, "x.png")):
        assert put_aside(source, review) == review / name
    assert put_aside(review / "x.png", review) == review / "x.png"
    assert len(list(review.iterdir())) == 2


def test_what_cannot_be_copied_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    review = tmp_path / "review"
    with pytest.raises(OptionError, match=r"gone\.png cannot be put aside"):
        put_aside(tmp_path / "gone.png", review)
    assert list(review.iterdir()) == []
    file = write(tmp_path / "file", b"mine")
    with pytest.raises(OptionError, match="cannot be put aside"):
        put_aside(write(tmp_path / "x.png", b"x"), file)
    assert file.read_bytes() == b"mine"
    (review / "x.png").mkdir()
    assert put_aside(tmp_path / "x.png", review).name == "x-2.png"
