"""Images put aside for people to look at."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import BinaryIO

from fmlad.errors import OptionError


def put_aside(source: Path, folder: Path) -> Path:
    """Copies the bytes of an image file into a folder, without touching any file there.

    Args:
        source: The image.
        folder: Created where it is missing.

    Returns:
        The copy: of the same name, or numbered (``name-2.png``) where another file has that name.
        A file there with the same bytes is the copy already.

    Raises:
        OptionError: It cannot be copied.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            ending = "" if number == 1 else f"-{number}"
            target = folder / f"{source.stem}{ending}{source.suffix}"
            if target.exists() and _same(source, target):
                return target
            try:
                copy = target.open("xb")
            except FileExistsError:
                number += 1
                continue
            with copy:
                try:
                    _copy(source, copy)
                except BaseException:
                    target.unlink()  # half a copy
                    raise
            return target
    except OSError as error:
        raise OptionError(
            f"{source} cannot be put aside in {folder}: {error.strerror or error}."
        ) from error


def _copy(source: Path, copy: BinaryIO) -> None:
    with source.open("rb") as original:
        shutil.copyfileobj(original, copy)


def _same(one: Path, two: Path) -> bool:
    """Whether two files have the same bytes."""
    if not two.is_file() or one.stat().st_size != two.stat().st_size:
        return False
    return one.read_bytes() == two.read_bytes()
