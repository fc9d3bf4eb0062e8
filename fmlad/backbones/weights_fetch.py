"""Downloading weights: announced first, and given up at once where nobody answers.

Nothing here retries for minutes: a hub that does not answer within ``HUB_TIMEOUT`` seconds counts
as absent, and the error says what to do without it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

from fmlad.backbones.weights import (
    COMPANIONS,
    CONFIGS,
    HUB_IDENTIFIER,
    Wanted,
    place_of,
    root,
    unavailable,
    wanted,
)
from fmlad.backbones.weights_catalogue import say_size
from fmlad.backbones.weights_net import download, within
from fmlad.errors import MissingDependencyError

HUB_TIMEOUT = 3.0  # seconds
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")

_log = logging.getLogger(__name__)


def fetch(
    source: str,
    *,
    patterns: Sequence[str] | None = None,
    configs: Sequence[str] = CONFIGS,
    family: str | None = None,
    announce: Callable[[str], None] = _log.warning,
) -> Path:
    """Downloads into the Hugging Face cache, or fmlad's own folder if it is not on the hub.

    Args:
        source: As for :func:`~fmlad.backbones.weights.locate`, likewise ``patterns``, ``configs``
            and ``family``.
        announce: Told what will be fetched, how large it is and its licence, before it is.

    Raises:
        WeightsUnavailableError: No network is allowed or none answers, there is no such model, or
            the transfer failed.
        MissingDependencyError: huggingface_hub is not installed.
    """
    search = wanted(source, patterns, configs, family)
    if not search.url and not HUB_IDENTIFIER.fullmatch(search.source):
        why = (
            "there is no such folder or file here, and it is no identifier on the hub "
            "(ORGANISATION/NAME)"
        )
        raise unavailable(source, why, family)
    for variable in OFFLINE_VARIABLES:
        if os.environ.get(variable, "").upper() in {"1", "TRUE", "YES", "ON"}:
            raise unavailable(source, f"{variable} is set and they are not in the cache", family)
    try:
        return _from_address(search, announce) if search.url else _from_hub(search, announce)
    except ImportError as error:
        raise MissingDependencyError(
            "Weights by hub identifier need the package huggingface_hub; install it, or pass a "
            "local folder."
        ) from error
    except TimeoutError as error:
        host = urlsplit(search.source).hostname if search.url else "the hub"
        why = f"{host} did not answer within {HUB_TIMEOUT:g} s"
        raise unavailable(source, why, family) from error
    except _AbsentError as error:
        raise unavailable(source, str(error), family) from error
    except Exception as error:  # the hub's exceptions have moved between its versions
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise unavailable(source, f"fetching them failed ({reason})", family) from error


class _AbsentError(Exception):
    """Somebody answered, and has not got it."""


def _from_hub(search: Wanted, announce: Callable[[str], None]) -> Path:
    from huggingface_hub import snapshot_download

    sizes = _files_on_hub(search.source)
    chosen = _choose(search, sizes)
    licence = f", licence {search.entry.licence}" if search.entry else ""
    total = say_size(sum(sizes[name] for name in chosen))
    announce(f"fetching {search.source} ({total}{licence}) into the Hugging Face cache")
    folder = Path(snapshot_download(search.source, allow_patterns=chosen))
    if lacking := search.lacking(folder):
        raise _AbsentError(f"{search.source} on the hub has no {lacking[0]}")
    return folder


def _files_on_hub(repository: str) -> dict[str, int]:
    """Name -> bytes of what a repository offers; also the test whether the hub answers at all."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    def ask() -> dict[str, int]:
        # Its own timeout holds per step and per retry, so it comes second.
        info = HfApi().model_info(repository, files_metadata=True, timeout=2 * HUB_TIMEOUT)
        return {file.rfilename: file.size or 0 for file in info.siblings or []}

    try:
        return within(HUB_TIMEOUT, ask)
    except RepositoryNotFoundError as error:
        raise _AbsentError(
            "the hub has no such model, or shows it only with an access token (HF_TOKEN)"
        ) from error


def _choose(search: Wanted, offered: Mapping[str, int]) -> list[str]:
    """Names of the files to fetch among those a repository offers."""
    if search.entry is None:
        matches = {p: [name for name in offered if fnmatchcase(name, p)] for p in search.patterns}
        beside = [name for p, names in matches.items() if p.endswith(COMPANIONS) for name in names]
        weights = (names for p, names in matches.items() if not p.endswith(COMPANIONS) and names)
        return list(dict.fromkeys(beside + next(weights, [])))
    chosen = []
    for group in search.groups:
        name = next((name for name in group if name in offered), None)
        if name is None:
            raise _AbsentError(f"{search.source} on the hub has no {' or '.join(group)}")
        chosen.append(name)
    return chosen


def _from_address(search: Wanted, announce: Callable[[str], None]) -> Path:
    """One file from its address, which the catalogue knows."""
    entry = search.entry
    if entry is None:
        raise _AbsentError("the catalogue does not know this address")
    target = root() / place_of(entry.source)

    def tell(size: int | None) -> None:
        what = f"{say_size(size)}, licence {entry.licence}"
        announce(f"fetching {entry.source} ({what}) to {target}")

    pinned = entry.files[0].sha256
    download(entry.source, target, patience=HUB_TIMEOUT, announce=tell, sha256=pinned)
    return target
