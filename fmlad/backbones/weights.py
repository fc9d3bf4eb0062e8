"""Where pretrained weights come from, and the one function by which backbones ask for them.

:func:`locate` looks, in this order: at a local folder or file of that name; in fmlad's own folder
of weights (``$FMLAD_WEIGHTS``, see :func:`root`), where ``fmlad weights unbundle`` puts what was
carried over; in the Hugging Face cache, whose environment variables are honoured; on the hub. A
download is announced with its size (``weights_fetch.py``); without a network the error comes within
seconds and says what to do.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from fmlad.backbones.weights_catalogue import Weights, lookup
from fmlad.errors import WeightsUnavailableError

FOLDER_VARIABLE = "FMLAD_WEIGHTS"
PATTERNS = ("*.json", "*.safetensors")  # of a repository that the catalogue does not know
COMPANIONS = (".json", ".txt", ".model")  # endings of what lies beside weights
CONFIGS = ("config.json", "open_clip_config.json")
CHECKPOINTS = (".bin", ".pth", ".pt", ".ckpt")  # pickled formats, read with weights_only alone
HUB_IDENTIFIER = re.compile(r"\w[\w.-]*/\w[\w.-]*")

_log = logging.getLogger(__name__)


def locate(
    source: str,
    *,
    patterns: Sequence[str] | None = None,
    configs: Sequence[str] = CONFIGS,
    family: str | None = None,
) -> Path:
    """The weights on this machine, fetched first if need be.

    Args:
        source: A local folder or file, a hub identifier, or an identifier of the catalogue
            (``"ViT-L-14@datacomp_xl_s13b_b90k"``).
        patterns: Files to fetch of a repository that the catalogue does not know; default
            ``PATTERNS``. Those that end in ``COMPANIONS`` are all fetched, of the others (weights)
            the first that matches anything. Of a repository that the catalogue knows, exactly the
            files it lists are fetched.
        configs: A folder must hold one of these files, unless the catalogue lists others; empty:
            any folder will do.
        family: The backbone's own prefix, for the catalogue and the messages.

    Returns:
        The folder; the file itself where ``source`` is one, or the address of one.

    Raises:
        WeightsUnavailableError: Neither local, nor in the cache, nor to be had from the hub.
        MissingDependencyError: huggingface_hub is not installed and nothing local has that name.
    """
    found = find(source, patterns=patterns, configs=configs, family=family)
    if found is not None:
        return found
    from fmlad.backbones.weights_fetch import fetch

    return fetch(source, patterns=patterns, configs=configs, family=family)


def find(
    source: str,
    *,
    patterns: Sequence[str] | None = None,
    configs: Sequence[str] = CONFIGS,
    family: str | None = None,
) -> Path | None:
    """As :func:`locate`, but never asks a network; None: not on this machine, or not complete.

    Raises:
        WeightsUnavailableError: A local folder of that name holds no model.
    """
    local = Path(source).expanduser()
    if local.is_file():
        return local
    if source and local.is_dir():  # an empty path would be the working folder
        if configs and not any((local / name).is_file() for name in configs):
            raise WeightsUnavailableError(
                f"{local} has no {' or '.join(configs)}; expected a model folder as its library "
                f"saves it."
            )
        return local
    search = wanted(source, patterns, configs, family)
    for place in search.places():
        if not search.lacking(place):
            return place
    return None


def searched(source: str, family: str | None = None) -> list[tuple[Path, list[str]]]:
    """Every place that exists under the name, with the files it lacks; for messages."""
    search = wanted(source, None, CONFIGS, family)
    return [(place, search.lacking(place)) for place in search.places()]


def unavailable(source: str, why: str, family: str | None = None) -> WeightsUnavailableError:
    """The error for weights that cannot be had, with the ways out.

    Args:
        source: As the user wrote it behind the family.
        why: What is wrong, as the end of a sentence.
        family: Prefix of the backbone name; default: the catalogue's, if it knows the source.
    """
    known = lookup(source, family)
    prefix = family or (known.family if known else "")
    name = known.name if known else f"{prefix}:{source}" if prefix else source
    if known is not None or HUB_IDENTIFIER.fullmatch(source):
        remedy = (
            f"on a machine with a network run `fmlad weights pull {name}` and `fmlad weights "
            f"bundle {name} weights.tar`, bring that file here and run `fmlad weights unbundle "
            f"weights.tar`; or copy the model's folder here"
        )
    else:
        remedy = "copy the model's whole folder here (`fmlad weights bundle` packs and checks one)"
    return WeightsUnavailableError(
        f"The weights {source!r} are not available: {why}. Ways out: {remedy} and pass "
        f"{prefix or 'FAMILY'}:FOLDER; or use profile='builtin' (--profile builtin), which needs "
        f"no weights."
    )


def root() -> Path:
    """fmlad's own folder of weights: ``$FMLAD_WEIGHTS``, else one in the user's data folder.

    Not the disk cache, which may be emptied at any time: on a machine without a network these
    files do not come back.
    """
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "fmlad" / "weights"


def place_of(source: str) -> str:
    """Where a source lives below :func:`root`: its own name, or host and path of an address."""
    parts = urlsplit(source)
    return f"{parts.hostname}{parts.path}" if parts.scheme in ("http", "https") else source


@lru_cache(maxsize=8)
def folder_hash(folder: Path) -> str:
    """SHA-256 over the config and weight files of a model folder, by name and content.

    Pickled checkpoints count only where there is no safetensors file, as then only they are read.
    Of a single file: its own SHA-256.
    """
    if folder.is_file():
        return file_hash(folder)
    digest = hashlib.sha256()
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        weights = sorted(p for p in folder.glob("*") if p.suffix in CHECKPOINTS and p.is_file())
    for path in (*(folder / name for name in CONFIGS if (folder / name).is_file()), *weights):
        digest.update(path.name.encode())
        digest.update(bytes.fromhex(file_hash(path)))
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of one file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Wanted:
    """What to look for.

    Attributes:
        source: Repository, or address of one file.
        entry: The catalogue's, if it knows it.
        groups: A folder is complete if each group has a match: names or patterns, best first.
        patterns: What to fetch where there is no entry.
    """

    source: str
    entry: Weights | None
    groups: tuple[tuple[str, ...], ...]
    patterns: tuple[str, ...]

    @property
    def url(self) -> bool:
        """Whether the source is the address of a file."""
        return self.entry is not None and self.entry.url

    def places(self) -> Iterator[Path]:
        """Folders, or for an address files, that exist under the name; fmlad's own first."""
        if self.url or HUB_IDENTIFIER.fullmatch(self.source):  # nothing that climbs out of it
            own = root() / place_of(self.source)
            if own.exists():
                yield own
        if not self.url and (cached := _snapshot(self.source)) is not None:
            yield cached

    def lacking(self, place: Path) -> list[str]:
        """The files that are missing."""
        if place.is_file():
            return []
        return [
            " or ".join(group)
            for group in self.groups
            if not any(next(place.glob(name), None) for name in group)
        ]


def wanted(
    source: str, patterns: Sequence[str] | None, configs: Sequence[str], family: str | None
) -> Wanted:
    """What a source, as :func:`locate` takes it, stands for."""
    entry = lookup(source, family)
    if entry is not None:
        groups = tuple(file.names for file in entry.files)
        return Wanted(entry.source, entry, groups, ())
    chosen = tuple(PATTERNS if patterns is None else patterns)
    # A config alone is what a library leaves in the cache that asked what kind of model this is.
    weights = tuple(pattern for pattern in chosen if not pattern.endswith(COMPANIONS))
    return Wanted(source, None, tuple(filter(None, (tuple(configs), weights))), chosen)


def _snapshot(repository: str) -> Path | None:
    """The repository's folder in the Hugging Face cache, complete or not."""
    if not HUB_IDENTIFIER.fullmatch(repository):
        return None
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        return None
    try:
        return Path(snapshot_download(repository, allow_patterns=[], local_files_only=True))
    except Exception as error:
        _log.debug("%s is not in the cache: %s", repository, error)
        return None
