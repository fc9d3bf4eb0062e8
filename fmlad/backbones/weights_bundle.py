"""Weights in one file, to carry to a machine without a network.

A bundle is a plain tar (ustar, no compression: weights do not compress) whose first member is
``manifest.json`` with the name, size and SHA-256 of every other. Here it is written; reading it is
``weights_unbundle.py``.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field

from fmlad._version import __version__
from fmlad.backbones.weights import place_of
from fmlad.backbones.weights_catalogue import Weights
from fmlad.backbones.weights_check import check, files_of
from fmlad.backbones.weights_net import CHUNK, whole_file
from fmlad.errors import OptionError, WeightsUnavailableError

MANIFEST = "manifest.json"
LOCAL = "local"  # stands for the organisation where weights came from a local path
FILES_LIMIT = 1000
BLOCK = tarfile.BLOCKSIZE

Progress = Callable[[int, int, str], None]
# One step of a path: no separator, no drive, nothing hidden, no "..". 100 is what ustar can take.
Step = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}$")]


def quiet(done: int, total: int, what: str) -> None:
    """No progress."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class BundledFile(_Strict):
    """One file; ``size`` in bytes."""

    name: Step
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BundledWeights(_Strict):
    """One set of weights; ``place`` is the path below the root, a folder unless ``single``."""

    name: Annotated[str, Field(pattern=r"^[ -~]{1,300}$")]
    place: Annotated[list[Step], Field(min_length=1, max_length=8)]
    single: bool
    files: Annotated[list[BundledFile], Field(min_length=1, max_length=FILES_LIMIT)]

    def paths(self) -> list[str]:
        """Where the files lie, in the bundle and below the root alike."""
        folder = self.place[:-1] if self.single else self.place
        return ["/".join((*folder, file.name)) for file in self.files]


class Manifest(_Strict):
    """The first member of a bundle."""

    format: Literal[1]
    fmlad: str
    weights: Annotated[list[BundledWeights], Field(min_length=1, max_length=FILES_LIMIT)]


def bundle(chosen: Sequence[Weights], out: Path, progress: Progress = quiet) -> list[str]:
    """Writes a bundle of weights that are on this machine; each is checked first.

    Args:
        chosen: What to pack.
        out: The file to write; must not exist.
        progress: Told MB done, MB in all and what is being done.

    Returns:
        The names by which the weights will be found where the bundle is unpacked.

    Raises:
        WeightsUnavailableError: One of them is not here, or :func:`check` finds it wrong.
        OptionError: ``out`` exists or cannot be written.
    """
    if out.exists():
        raise OptionError(f"{out} exists; delete it first, or choose another name.")
    sets, sources = [], []
    for weights in chosen:
        one, paths = _pack(weights)
        sets.append(one)
        sources += paths
    manifest = Manifest(format=1, fmlad=__version__, weights=sets)
    names = [name for one in sets for name in one.paths()]
    total = sum(path.stat().st_size for path in sources)
    done = 0
    try:
        with whole_file(out) as file:
            _write_member(file, MANIFEST, manifest.model_dump_json(indent=1).encode())
            for name, path in zip(names, sources, strict=True):
                file.write(_header(name, path.stat().st_size))
                with path.open("rb") as source:
                    while chunk := source.read(CHUNK):
                        file.write(chunk)
                        done += len(chunk)
                        progress(done // 10**6, total // 10**6, "writing the bundle")
                file.write(_padding(path.stat().st_size))
            file.write(bytes(2 * BLOCK))  # a tar ends with two empty blocks
    except OSError as error:
        raise OptionError(f"The bundle cannot be written to {out}: {error}.") from error
    return [one.name for one in sets]


def _pack(weights: Weights) -> tuple[BundledWeights, list[Path]]:
    report = check(weights)
    if report.where is None or not report.ok:
        raise WeightsUnavailableError(
            f"{weights.name} cannot be bundled: {'; '.join(report.problems)}. Fetch it with "
            f"`fmlad weights pull {weights.name}`, or mend it."
        )
    where = report.where
    if Path(weights.source).expanduser().exists():  # a path here means nothing elsewhere
        place = [LOCAL, where.resolve().name]
        name = ":".join(filter(None, (weights.family, "/".join(place))))
    else:
        place = place_of(weights.source).split("/")
        name = weights.name
    try:
        files = [BundledFile(name=f.name, size=f.size, sha256=f.sha256) for f in report.files]
        one = BundledWeights(name=name, place=place, single=where.is_file(), files=files)
        for path, file in zip(one.paths(), files, strict=True):
            _header(path, file.size)
    except ValueError as error:  # of the manifest's schema, or of the format
        raise OptionError(
            f"{weights.name} cannot be bundled: the names of its folder and files must be short "
            f"and of letters, digits and . _ + - only, and no file larger than 8 GB; got "
            f"{'/'.join(place)} with {', '.join(f.name for f in report.files)}."
        ) from error
    return one, files_of(where, weights)


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


def _write_member(file: BinaryIO, name: str, data: bytes) -> None:
    file.write(_header(name, len(data)) + data + _padding(len(data)))
