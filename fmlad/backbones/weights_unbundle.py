"""Unpacking a bundle of weights (``weights_bundle.py``) that may be damaged or hostile.

Nothing in the file is trusted: it may hold regular files alone, exactly those of its manifest in
its order, and they reach their place only after every hash was verified. The reader knows plain
ustar headers and nothing else, so that no extension of the format can surprise it. Below
:func:`~fmlad.backbones.weights.root` weights lie as ``ORGANISATION/NAME/FILE``, which is where
``locate`` looks first after local paths.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from fmlad.backbones.weights import file_hash, place_of, root
from fmlad.backbones.weights_bundle import BLOCK, MANIFEST, Manifest, Progress, quiet
from fmlad.backbones.weights_catalogue import catalogue, say_size
from fmlad.backbones.weights_net import CHUNK
from fmlad.errors import CorruptBundleError, OptionError

MANIFEST_LIMIT = 2**20  # bytes; a manifest of all our profiles has a few thousand


def unbundle(
    bundled: Path, to: Path | None = None, progress: Progress = quiet
) -> list[tuple[str, Path]]:
    """Verifies a bundle and puts its weights where ``locate`` finds them.

    Args:
        bundled: The file.
        to: Folder to use instead of :func:`~fmlad.backbones.weights.root`.
        progress: Told MB done, MB in all and what is being done.

    Returns:
        Name and place of each set of weights.

    Raises:
        CorruptBundleError: The file is no bundle, damaged, or not what its manifest or fmlad's
            catalogue says. Nothing has been put in place.
        OptionError: It cannot be read, the target not be written, or other files are in the way.
    """
    target = root() if to is None else to
    try:
        with bundled.open("rb") as file:
            manifest = _read_manifest(file, bundled)
            _check_room(manifest, bundled, target)
            target.mkdir(parents=True, exist_ok=True)
            # A sibling of what it will become, so that renaming is enough.
            staging = Path(tempfile.mkdtemp(prefix=".unbundle-", dir=target))
            try:
                _unpack(file, manifest, bundled, staging, progress)
                return _settle(manifest, staging, target)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise OptionError(f"The bundle {bundled} cannot be unpacked: {error}.") from error


def _read_manifest(file: BinaryIO, bundled: Path) -> Manifest:
    size = _next_member(file, bundled, MANIFEST)
    if size > MANIFEST_LIMIT:
        raise _corrupt(bundled, f"its manifest claims {say_size(size)}")
    data = b"".join(_data(file, size, bundled))
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _corrupt(bundled, f"its manifest is wrong at {where!r}: {first['msg']}") from error
    _check_places(manifest, bundled)
    for one in manifest.weights:
        pinned = _pinned("/".join(one.place))
        for listed in one.files:
            if listed.sha256 != pinned.get(listed.name.lower(), listed.sha256):
                what = f"{listed.name} of {one.name} is not the file that fmlad's catalogue pins"
                raise _corrupt(bundled, what)
    return manifest


def _pinned(place: str) -> dict[str, str]:
    """Hashes that the catalogue has for a place; by place, for what a bundle calls it is its own.

    Lower case, as a file system sees it that ignores case.
    """
    return {
        file.name.lower(): file.sha256
        for weights in catalogue()
        if place_of(weights.source).lower() == place.lower()
        for file in weights.files
        if file.sha256 is not None
    }


def _check_places(manifest: Manifest, bundled: Path) -> None:
    """No two things in one place, as a file system sees it that ignores case."""
    paths = [path.lower() for one in manifest.weights for path in one.paths()]
    places = ["/".join(one.place).lower() for one in manifest.weights]
    nested = any(inner.startswith(outer + "/") for inner in places for outer in places)
    if nested or len(set(paths)) < len(paths) or len(set(places)) < len(places):
        raise _corrupt(bundled, "its manifest lists the same place twice")
    for one in manifest.weights:
        if one.single and [file.name for file in one.files] != one.place[-1:]:
            raise _corrupt(bundled, f"its manifest calls {one.name} one file and lists others")


def _check_room(manifest: Manifest, bundled: Path, target: Path) -> None:
    """Before anything is written: no claim beyond the file's own size, and space for it."""
    claimed = sum(file.size for one in manifest.weights for file in one.files)
    if claimed > bundled.stat().st_size:
        raise _corrupt(bundled, f"its manifest claims {say_size(claimed)}, more than the file has")
    existing = next(
        folder for folder in (target.absolute(), *target.absolute().parents) if folder.exists()
    )
    free = shutil.disk_usage(existing).free
    if claimed > free:
        raise OptionError(
            f"{bundled} needs {say_size(claimed)} in {target}, where {say_size(free)} are free."
        )


def _unpack(
    file: BinaryIO, manifest: Manifest, bundled: Path, staging: Path, progress: Progress
) -> None:
    total = sum(listed.size for one in manifest.weights for listed in one.files)
    done = 0
    for one in manifest.weights:
        for path, listed in zip(one.paths(), one.files, strict=True):
            size = _next_member(file, bundled, path)
            if size != listed.size:
                raise _corrupt(bundled, f"{path} has {size} bytes, its manifest says {listed.size}")
            digest = hashlib.sha256()
            (staging / path).parent.mkdir(parents=True, exist_ok=True)
            with (staging / path).open("xb") as out:
                for chunk in _data(file, size, bundled):
                    out.write(chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    progress(done // 10**6, total // 10**6, "unpacking")
            if digest.hexdigest() != listed.sha256:
                raise _corrupt(bundled, f"{path} does not hash to what its manifest says")
    rest = file.read(BLOCK)
    if any(rest):
        raise _corrupt(bundled, "it has members that its manifest does not list")


def _next_member(file: BinaryIO, bundled: Path, expected: str) -> int:
    """Reads one header; the size of the member, which must be a regular file of that name."""
    try:
        member = tarfile.TarInfo.frombuf(file.read(BLOCK), "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        if expected == MANIFEST:
            raise _corrupt(bundled, "it is no plain tar file") from error
        raise _corrupt(bundled, f"it ends or is damaged before {expected}") from error
    # Links, devices, folders, sparse files and the extensions for long names: never ours.
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise _corrupt(bundled, f"it holds {member.name!r}, which is no regular file")
    if member.name != expected:
        raise _corrupt(bundled, f"it holds {member.name!r} where {expected} was expected")
    if member.size < 0:
        raise _corrupt(bundled, f"{expected} has a negative size")
    return member.size


def _data(file: BinaryIO, size: int, bundled: Path) -> Iterator[bytes]:
    """The bytes of a member in chunks, its padding read and dropped."""
    left = size
    while left:
        chunk = file.read(min(CHUNK, left))
        if not chunk:
            raise _corrupt(bundled, f"it ends {say_size(left)} early")
        left -= len(chunk)
        yield chunk
    file.read(-size % BLOCK)


def _settle(manifest: Manifest, staging: Path, target: Path) -> list[tuple[str, Path]]:
    """Moves verified weights to their places; what is there already with equal files stays."""
    moves = []
    for one in manifest.weights:
        place = target.joinpath(*one.place)
        if not place.exists():
            moves.append((staging.joinpath(*one.place), place))
            continue
        for path, listed in zip(one.paths(), one.files, strict=True):
            there = target / path
            if not there.is_file() or file_hash(there) != listed.sha256:
                raise OptionError(
                    f"{place} holds other files than the bundle. Remove that, or unpack elsewhere "
                    f"with --to."
                )
    for fresh, place in moves:
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh.rename(place)
    return [(one.name, target.joinpath(*one.place)) for one in manifest.weights]


def _corrupt(bundled: Path, what: str) -> CorruptBundleError:
    return CorruptBundleError(
        f"{bundled} cannot be trusted: {what}. Expected a file that `fmlad weights bundle` wrote; "
        f"copy it again, or make it anew."
    )
