"""Where pretrained weights come from: found on this machine, fetched, fingerprinted, read.

:func:`locate` looks, in this order: at a local folder or file of that name; in fmlad's own folder
of weights (:func:`root`), where ``fmlad weights unbundle`` puts what was carried over; in the
Hugging Face cache, whose environment variables are honoured; on the hub. A download is announced
with its size. A host that does not answer within ``HUB_TIMEOUT`` seconds counts as absent. A source
``wheel:DISTRIBUTION/PATH`` is a file or folder of an installed package instead, and never fetched.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from fmlad.backbones import wheels
from fmlad.backbones.catalogue import Weights, lookup, say_size
from fmlad.errors import FmladError, WeightsUnavailableError
from fmlad.io.files import whole_file

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

FOLDER_VARIABLE = "FMLAD_WEIGHTS"
HUB_TIMEOUT = 3.0  # seconds
CONFIGS = ("config.json", "open_clip_config.json")
CHECKPOINTS = (".bin", ".pth", ".pt", ".ckpt")  # pickled formats, read with weights_only alone
HUB_IDENTIFIER = re.compile(r"\w[\w.-]*/\w[\w.-]*")

_log = logging.getLogger(__name__)


def locate(source: str, family: str | None = None) -> Path:
    """The weights on this machine, fetched first if need be: a folder, or a file.

    Args:
        source: A local folder or file, a hub identifier, ``wheel:DISTRIBUTION/PATH``, or an
            identifier of the catalogue (``"ViT-L-14@datacomp_xl_s13b_b90k"``). Of a repository that
            the catalogue knows, the files it lists are fetched, of others ``*.json`` and
            ``*.safetensors``.
        family: The backbone's own prefix, for the catalogue and the messages.

    Raises:
        WeightsUnavailableError: They cannot be had, or a package's file has another SHA-256 than
            the catalogue or its own name says.
    """
    weights = lookup(source, family) or Weights(f"{family or ''}:{source}", source)
    found = find(weights) or fetch(weights)
    packaged = weights.source.startswith(wheels.PREFIX) and found.is_file()
    if packaged and (wrong := wrong_hash(found.name, file_hash(found), weights)):
        raise unavailable(weights.source, f"{wrong} (in {found.parent})", family)
    return found


def find(weights: Weights) -> Path | None:
    """As :func:`locate`, but never asks a network; None: not on this machine, or not complete."""
    local = Path(weights.source).expanduser()
    if weights.source and local.exists():  # an empty path would be the working folder
        return local
    return next((place for place in _places(weights) if not _missing(place, weights)), None)


def describe_absence(weights: Weights) -> str:
    """Why :func:`find` found nothing, as a sentence without a full stop."""
    for place in _places(weights):
        return f"incomplete: {place} has no {', no '.join(_missing(place, weights))}"
    if weights.source.startswith(wheels.PREFIX):
        return wheels.why_absent(weights.source)
    return "not on this machine"


def wrong_hash(name: str, found: str, weights: Weights) -> str | None:
    """What is wrong with a file's SHA-256, as a sentence without a full stop; None: nothing."""
    if found.startswith(expected := weights.pinned(name) or ""):
        return None
    why = "it is damaged, or its publisher changed it"
    return f"{name} has the SHA-256 {found}, expected {expected}: {why}"


def _places(weights: Weights) -> Iterator[Path]:
    """Folders, or for an address files, that exist under the name; fmlad's own first."""
    on_hub = HUB_IDENTIFIER.fullmatch(weights.source)
    own = root() / place_of(weights.source)
    packaged = wheels.distribution_of(weights.source)
    # Nothing that climbs out of fmlad's folder.
    if (on_hub or weights.url or packaged) and own.exists():
        yield own
    if place := wheels.find_in_wheel(weights.source):
        yield place
    if on_hub:
        try:
            yield _snapshot(weights, allow_patterns=[], local_files_only=True)
        except Exception as error:  # the hub's exceptions have moved between its versions
            _log.debug("%s is not in the cache: %s", weights.source, error)


def _snapshot(weights: Weights, **options: Any) -> Path:
    """The repository's folder in the Hugging Face cache, complete or not."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(weights.source, revision=weights.revision, **options))


def _missing(place: Path, weights: Weights) -> list[str]:
    if place.is_file():
        return []
    names = [path.name for path in place.iterdir()]
    return [" or ".join(group) for group in _groups(weights) if not _first(group, names)]


def _groups(weights: Weights) -> list[tuple[str, ...]]:
    """Names or patterns, best first; a folder is complete if each group has a match."""
    # A config alone is what a library leaves in the cache that asked what kind of model this is.
    return [file.names for file in weights.files] or [CONFIGS, ("*.safetensors",)]


def _first(patterns: Iterable[str], names: Iterable[str]) -> list[str]:
    """What the first pattern matches that matches anything."""
    return next(filter(None, (fnmatch.filter(names, pattern) for pattern in patterns)), [])


def root() -> Path:
    """fmlad's own folder of weights: ``$FMLAD_WEIGHTS``, else one in the user's data folder.

    Not the disk cache, which may be emptied: without a network these files do not come back.
    """
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "fmlad" / "weights"


def place_of(source: str) -> str:
    """Where a source lives below :func:`root`: its own name, or host and path of an address.

    Of ``wheel:DISTRIBUTION/PATH`` that is ``wheel/DISTRIBUTION/PATH``.
    """
    if packaged := wheels.distribution_of(source):
        return f"wheel/{packaged}/{source.removeprefix(f'{wheels.PREFIX}{packaged}/')}"
    parts = urlsplit(source)
    return f"{parts.hostname}{parts.path}" if parts.scheme in ("http", "https") else source


def unavailable(
    source: str, why: str, family: str | None = None, gated: bool = False
) -> WeightsUnavailableError:
    """The error for weights that cannot be had, with the ways out.

    ``why`` ends a sentence; without a ``family`` the catalogue's prefix stands before the source;
    ``gated`` is known of catalogued weights.
    """
    known = lookup(source, family)
    prefix = family or (known.family if known else "")
    name = known.name if known else f"{prefix}:{source}" if prefix else source
    packaged = wheels.distribution_of(known.source if known else source)
    if packaged or family == "builtin":  # installed, so that no folder can stand in
        way = "install fmlad anew"
        if packaged:
            way = f"pip install {packaged} (with --force-reinstall if it is damaged)"
        return WeightsUnavailableError(
            f"The weights {source!r} are not available: {why}. Way out: {way}."
        )
    remedy = "copy the model's whole folder here (`fmlad weights bundle` packs and checks one)"
    if known is not None or HUB_IDENTIFIER.fullmatch(source):
        access = ""
        if gated or (known is not None and known.gated):
            page = f"https://huggingface.co/{known.source if known else source}"
            access = f"accept the licence on {page}, set HF_TOKEN to that account's access token, "
        remedy = (
            f"on a machine with a network {access}run `fmlad weights pull {name}` and "
            f"`fmlad weights bundle {name} weights.tar`, bring that file here and run "
            f"`fmlad weights unbundle weights.tar`; or copy the model's folder here"
        )
    return WeightsUnavailableError(
        f"The weights {source!r} are not available: {why}. Ways out: {remedy} and pass "
        f"{prefix or 'FAMILY'}:FOLDER; or use profile='builtin' (--profile builtin), which needs "
        f"no download."
    )


# --- from a network -------------------------------------------------------------------------------


class _UnfitError(Exception):
    """The source has not got what is wanted; the message says why."""


def fetch(weights: Weights, announce: Callable[[str], None] = _log.warning) -> Path:
    """Downloads into the Hugging Face cache, or fmlad's own folder if it is not on the hub.

    ``announce`` is told what will be fetched, how large it is and its licence, before it is.

    Raises:
        WeightsUnavailableError: No network is allowed or none answers, there is no such model, the
            transfer failed, or a file has another SHA-256 than the catalogue's.
    """
    from huggingface_hub.errors import GatedRepoError

    try:
        if weights.source.startswith(wheels.PREFIX):
            raise _UnfitError(wheels.why_absent(weights.source))
        # Of addresses only those that the catalogue knows.
        if not (weights.url and weights.files) and not HUB_IDENTIFIER.fullmatch(weights.source):
            why = "there is no such folder or file here, and it is no identifier on the hub"
            raise _UnfitError(f"{why} (ORGANISATION/NAME)")
        for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            if os.environ.get(variable, "").upper() in {"1", "TRUE", "YES", "ON"}:
                raise _UnfitError(f"{variable} is set and they are not in the cache")
        return (_from_address if weights.url else _from_hub)(weights, announce)
    except Exception as error:  # the hub's exceptions have moved between its versions
        why, gated = _why(error, weights), isinstance(error, GatedRepoError)
        raise unavailable(weights.source, why, weights.family or None, gated) from error


def _why(error: Exception, weights: Weights) -> str:
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    if isinstance(error, _UnfitError):
        return str(error)
    if isinstance(error, TimeoutError):
        host = urlsplit(weights.source).hostname if weights.url else "the hub"
        return f"{host} did not answer within {HUB_TIMEOUT:g} s"
    if isinstance(error, GatedRepoError):  # a kind of the next
        return "the hub gives it only to accounts that were granted access to it"
    if isinstance(error, RepositoryNotFoundError):
        return "the hub has no such model, or shows it only with an access token (HF_TOKEN)"
    if isinstance(error, HfHubHTTPError) and error.response.status_code == 401:
        return "the hub refuses the access token in force (HF_TOKEN, or the one logged in with)"
    return f"fetching them failed ({type(error).__name__}: {first_line(error)})"


def _from_hub(weights: Weights, announce: Callable[[str], None]) -> Path:
    from huggingface_hub import HfApi

    # The library's own timeout holds per step and per retry, so it comes second.
    options: Any = {"files_metadata": True, "timeout": 2 * HUB_TIMEOUT}
    info = _within(lambda: HfApi().model_info(weights.source, revision=weights.revision, **options))
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    for group in _groups(weights):
        if not _first(group, sizes):
            raise _UnfitError(f"{weights.source} on the hub has no {' or '.join(group)}")
    wanted = _groups(weights) if weights.files else [("*.json",), ("*.safetensors",)]
    chosen = [name for group in wanted for name in _first(group, sizes)]
    size = say_size(sum(sizes[name] for name in chosen))
    licence = f", licence {weights.licence}" if weights.files else ""
    announce(f"fetching {weights.source} ({size}{licence}) into the Hugging Face cache")
    folder = _snapshot(weights, allow_patterns=chosen)
    for name in chosen:
        _verify(folder / name, weights.pinned(name))
    return folder


def _from_address(weights: Weights, announce: Callable[[str], None]) -> Path:
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.file_download import http_get

    source, target = weights.source, root() / place_of(weights.source)
    # The user's token is for the hub alone.
    size = _within(lambda: get_hf_file_metadata(source, token=False)).size
    announce(f"fetching {source} ({say_size(size)}, licence {weights.licence}) to {target}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(target) as file:
        http_get(source, file, expected_size=size, displayed_filename=target.name)
        file.flush()
        _verify(Path(file.name), weights.pinned(weights.files[0].name))
    return target


def _verify(file: Path, expected: str | None) -> None:
    """Deletes a file that has another SHA-256 than expected, or than its start, and says so."""
    if expected is not None and not (found := file_hash(file)).startswith(expected):
        file.resolve().unlink()  # in the hub's cache a link leads to it
        file.unlink(missing_ok=True)
        raise _UnfitError(f"the SHA-256 of what came is {found}, expected {expected}")


def _within(ask: Callable[[], T]) -> T:
    """The result of ``ask()``; raises TimeoutError if it takes longer than ``HUB_TIMEOUT``.

    In a thread, because a name look-up that hangs heeds no timeout; in a daemon, because the
    interpreter waits for every other kind before it exits.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(ask())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(timeout=HUB_TIMEOUT)


# --- fingerprints ---------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def folder_hash(folder: Path) -> str:
    """SHA-256 over names and contents of configs and weights in a folder; or of a file alone."""
    if folder.is_file():
        return file_hash(folder)
    digest = hashlib.sha256()
    configs = [folder / name for name in CONFIGS if (folder / name).is_file()]
    for path in configs + weight_files(folder):
        digest.update(path.name.encode() + bytes.fromhex(file_hash(path)))
    return digest.hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder; the pickled checkpoints where there are none."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    safe = [path for path in files if path.suffix == ".safetensors"]
    return safe or [path for path in files if path.suffix in CHECKPOINTS]


def file_hash(path: Path) -> str:
    """SHA-256 of one file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- reading --------------------------------------------------------------------------------------


@contextmanager
def loading(source: str, what: object, family: str) -> Iterator[None]:
    """Turns what a library raises about ``what`` it loads into a WeightsUnavailableError.

    fmlad's own errors pass; ``source`` is as the user wrote it behind the ``family``.
    """
    try:
        yield
    except FmladError:
        raise
    except Exception as error:  # OSError, RuntimeError, SafetensorError, UnpicklingError, ...
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        reason = f"it lacks {reason}" if isinstance(error, KeyError) else reason
        raise unavailable(source, f"{what} cannot be loaded ({reason})", family) from error


def settings(folder: Path) -> dict[str, Any]:
    """``config.json`` of a model folder; empty if it cannot be read as an object."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def from_folder(kinds: Mapping[str, Any], folder: Path, source: str, family: str) -> Any:
    """A model as transformers saves it, float32 on the CPU; ``kinds``: ``model_type`` -> class.

    Raises:
        WeightsUnavailableError: Another kind of model, damaged, or weights are missing in it.
    """
    import torch

    kind = str(settings(folder).get("model_type", "unknown"))
    if kind not in kinds:
        held = f"holds a {kind!r} model" if (folder / CONFIGS[0]).exists() else "has no config.json"
        why = f"{folder} {held}, and {' or '.join(map(repr, kinds))} was expected"
        raise unavailable(source, why, family)
    with loading(source, folder, family), _quiet():
        # dtype: a half-precision checkpoint would otherwise make a half-precision CPU model.
        model, report = kinds[kind].from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    if lacking := sorted(report["missing_keys"]):  # transformers fills them with random numbers
        why = f"the checkpoint in {folder} lacks {lacking[0]!r} and maybe more"
        raise unavailable(source, why, family)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Switches transformers' progress bars off unless standard error is a terminal."""
    from transformers.utils import logging as bars

    shown = bars.is_progress_bar_enabled() and not sys.stderr.isatty()
    if shown:
        bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def read_tensors(file: Path, source: str, family: str, device: str = "cpu") -> dict[str, Tensor]:
    """The named tensors of a safetensors file or a pickled checkpoint; code in it is never run.

    Also from ``"state_dict"`` or ``"model"`` in it. On ``"meta"`` names and shapes alone.

    Raises:
        WeightsUnavailableError: It is damaged, or holds something else.
    """
    import torch

    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file, device=device)
        loaded: Any = torch.load(file, map_location=device, weights_only=True)
        if not isinstance(loaded, dict):
            raise TypeError("it holds no named tensors")
        for inner in ("state_dict", "model"):
            loaded = loaded[inner] if isinstance(loaded.get(inner), dict) else loaded
        return {str(name): value for name, value in loaded.items() if torch.is_tensor(value)}
    except Exception as error:  # whatever a damaged pickle provokes
        why = f"{file} cannot be read as a checkpoint of tensors alone ({first_line(error)})"
        raise unavailable(source, why, family) from error


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return str(error).partition("\n")[0] or type(error).__name__
