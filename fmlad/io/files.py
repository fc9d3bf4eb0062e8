"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """A file to write that appears as ``target`` when the block ends well, and else not at all."""
    partial = target.with_name(f".{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            yield file
            # Written through: after a power cut a renamed file may otherwise be empty.
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
