"""Large arrays that wait to be measured: in memory as long as they are few, on disk beyond."""

from __future__ import annotations

import secrets
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

IN_MEMORY = 256 * 2**20  # bytes

Array = TypeVar("Array", bound=npt.NDArray[Any])


class ArraySpool(ExitStack):
    """Keeps arrays; those that come when memory is used up are memory-mapped temporary files.

    Used as a context manager; leaving it deletes the files.
    """

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        super().__init__()
        self._left = in_memory
        self._folder: Path | None = None

    def keep(self, array: Array) -> Array:
        """The same values, read-only: the array itself, or a map of a file."""
        if array.nbytes <= self._left:
            self._left -= array.nbytes
            kept = array.view()
            kept.flags.writeable = False
            return kept
        if self._folder is None:
            folder = tempfile.TemporaryDirectory(prefix="fmlad-maps-")
            self._folder = Path(self.enter_context(folder))
        file = self._folder / f"{secrets.token_hex(8)}.npy"
        np.save(file, array, allow_pickle=False)
        return np.load(file, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
