"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from fmlad.io.files import whole_file


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a.tar") as file:
        file.write(b"x")
        assert not (tmp_path / "a.tar").exists()

    def interrupted() -> None:
        with whole_file(tmp_path / "b.tar") as file:
            file.write(b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert {p.name for p in tmp_path.iterdir()} == {"a.tar"}
