"""The folder of a saved detector: read file by file, replaced as a whole."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from fmlad.errors import CorruptDetectorError


def damaged(folder: Path, what: str) -> CorruptDetectorError:
    """The error of a saved detector in which something is not as it was saved."""
    return CorruptDetectorError(
        f"The saved detector in {folder} is damaged: {what}. Restore the folder from a copy, or "
        f"fit the detector again."
    )


def read_file(folder: Path, name: str) -> bytes:
    """The bytes of one of its files.

    Raises:
        CorruptDetectorError: It is not there or cannot be read.
    """
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise damaged(folder, f"{name} cannot be read ({error.strerror})") from error


def read_files(folder: Path, digests: Mapping[str, str]) -> dict[str, bytes]:
    """The bytes of files by name, each compared with its SHA-256.

    Raises:
        CorruptDetectorError: One is not there, cannot be read, or was changed.
    """
    contents = {name: read_file(folder, name) for name in digests}
    for name, digest in digests.items():
        if digest_of(contents[name]) != digest:
            raise damaged(folder, f"{name} is not what was saved (wrong hash)")
    return contents


def digest_of(data: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def mend(folder: Path) -> None:
    """Puts the old folder back where :func:`replace_folder` was killed between its renames."""
    if not folder.exists() and _previous(folder).exists():
        _previous(folder).rename(folder)


def replace_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Writes files by relative name beside a folder and renames them into its place.

    Raises:
        OSError: They cannot be written; what was there is left as it was.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.new-", dir=folder.parent))
    try:
        for name, data in contents.items():
            path = fresh / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        fresh.chmod(0o755)  # mkdtemp makes it private; a saved detector is an ordinary folder
        previous = _previous(folder)
        if folder.exists():
            shutil.rmtree(previous, ignore_errors=True)
            folder.rename(previous)
        fresh.rename(folder)
        shutil.rmtree(previous, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.previous")
