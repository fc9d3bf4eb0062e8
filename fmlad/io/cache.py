"""A size-limited folder of tensors, for results that are dearer to compute than to read."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fmlad.errors import OptionError
from fmlad.io.files import whole_file

if TYPE_CHECKING:
    from torch import Tensor

FOLDER_VARIABLE = "FMLAD_CACHE_DIR"
LIMIT_VARIABLE = "FMLAD_CACHE_LIMIT_MB"
DEFAULT_LIMIT_MB = 4096

_log = logging.getLogger(__name__)


class DiskCache:
    """Named tensors by key, least recently used thrown away first.

    Safe to share between processes: entries are written to a temporary file and renamed, and a
    damaged or vanished entry counts as absent.
    """

    def __init__(self, folder: str | os.PathLike[str], limit_mb: float = DEFAULT_LIMIT_MB) -> None:
        """Opens the cache; the folder is created with the first entry.

        Above ``limit_mb`` MiB in all, which must be positive, the oldest entries go.
        """
        if not 0 < limit_mb < math.inf:
            raise OptionError(f"limit_mb must be positive and finite, got {limit_mb}.")
        self.folder = Path(folder)
        self.limit = int(limit_mb * 2**20)
        self._written: int | None = None  # bytes here, as far as this process knows

    @classmethod
    def default(cls) -> DiskCache | None:
        """The user's cache: ``$FMLAD_CACHE_DIR``, else ``~/.cache/fmlad``; None at limit 0.

        OptionError where ``$FMLAD_CACHE_LIMIT_MB`` is not a number of MiB.
        """
        text = os.environ.get(LIMIT_VARIABLE, str(DEFAULT_LIMIT_MB))
        try:
            limit = float(text)
        except ValueError:
            limit = -1.0
        if not 0 <= limit < float("inf"):
            raise OptionError(f"${LIMIT_VARIABLE} must be a size in MiB (0 = off), got {text!r}.")
        if not limit:
            return None
        folder = os.environ.get(FOLDER_VARIABLE)
        if not folder:
            base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            folder = str(base / "fmlad")
        return cls(folder, limit)

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors stored under ``key``, or None."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = self._path(key)
        try:
            tensors: dict[str, Tensor] = load(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, ValueError) as error:
            _log.warning("cache entry %s is unreadable and will be made again: %s", path, error)
            return None
        with suppress(OSError):  # a read-only cache just forgets what was used last
            os.utime(path)
        return tensors

    def put(self, key: str, tensors: dict[str, Tensor]) -> None:
        """Stores tensors; a full or read-only disk costs the entry, not the work."""
        import torch
        from safetensors.torch import save

        path = self._path(key)
        dense = torch.contiguous_format  # copies, because views may share their memory
        copies = {n: t.detach().cpu().clone(memory_format=dense) for n, t in tensors.items()}
        data = save(copies)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                file.write(data)
        except OSError as error:
            _log.warning("could not store a cache entry in %s: %s", self.folder, error)
            return
        if self._written is None:
            self._written = sum(size for _, size, _ in self._listing())
        else:
            self._written += len(data)
        if self._written > self.limit:
            self._shrink()

    def _shrink(self) -> None:
        """Deletes the least recently used entries until nine tenths of the limit are left."""
        entries = sorted(self._listing())
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= 0.9 * self.limit:
                break
            with suppress(OSError):
                path.unlink(missing_ok=True)
                total -= size
        self._written = total

    def _listing(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in self.folder.glob("??/*"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found.append((status.st_mtime, status.st_size, path))
        return found

    def _path(self, key: str) -> Path:
        digest = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest}.safetensors"
