"""Large arrays that wait for their turn: in memory as long as they are few, on disk beyond."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

IN_MEMORY = 256 * 2**20  # bytes

Array = TypeVar("Array", bound=npt.NDArray[Any])


class ArraySpool:
    """Keeps arrays; those that come when memory is used up are memory-mapped temporary files.

    Used as a context manager; leaving it deletes the files.
    """

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        self._left = in_memory
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._count = 0

    def __enter__(self) -> ArraySpool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def keep(self, array: Array) -> Array:
        """The same values, read-only: the array itself, or a map of a file."""
        if array.nbytes <= self._left:
            self._left -= array.nbytes
            kept = array.view()
            kept.flags.writeable = False
            return kept
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="fmlad-maps-")
        path = Path(self._folder.name) / f"{self._count}.npy"
        self._count += 1
        np.save(path, array, allow_pickle=False)
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
