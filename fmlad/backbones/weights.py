"""Where pretrained weights come from: a local folder, the Hugging Face cache, or the hub.

A download is announced with its size. Nothing here retries for minutes: a hub that does not answer
within ``HUB_TIMEOUT`` seconds counts as absent, and the error says what to do without it.
"""

from __future__ import annotations

import hashlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from functools import lru_cache
from pathlib import Path

from fmlad.errors import MissingDependencyError, WeightsUnavailableError

HUB_TIMEOUT = 3.0  # seconds
PATTERNS = ("*.json", "*.safetensors")

_log = logging.getLogger(__name__)


def locate(source: str) -> Path:
    """The folder of a transformers model: a local one as it is, else the hub's, cached.

    Args:
        source: Path of a folder with ``config.json`` and safetensors, or a hub identifier.

    Raises:
        WeightsUnavailableError: Neither a folder, nor in the cache, nor to be had from the hub.
        MissingDependencyError: huggingface_hub is not installed and ``source`` is no folder.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise WeightsUnavailableError(
                f"{folder} has no config.json; expected a model folder as transformers saves it."
            )
        return folder
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingDependencyError(
            "Weights by hub identifier need the package huggingface_hub; install it, or pass a "
            "local folder."
        ) from error
    try:
        return Path(snapshot_download(source, allow_patterns=list(PATTERNS), local_files_only=True))
    except Exception as error:  # the hub's exceptions have moved between its versions
        _log.debug("%s is not in the cache: %s", source, error)
    if _offline():
        raise unavailable(source, "HF_HUB_OFFLINE is set and they are not in the cache")
    size = _size_on_hub(source)
    _log.warning("fetching %s (%.0f MB) into the Hugging Face cache", source, size / 1e6)
    try:
        return Path(snapshot_download(source, allow_patterns=list(PATTERNS)))
    except Exception as error:
        raise unavailable(source, f"fetching them failed ({type(error).__name__})") from error


def unavailable(source: str, why: str) -> WeightsUnavailableError:
    """The error for weights that cannot be had, with the ways out."""
    return WeightsUnavailableError(
        f"The weights {source!r} are not available: {why}. Either fetch them on a machine with a "
        f"network and copy the folder here, then pass it as dinov2:FOLDER; or use "
        f"profile='builtin' (--profile builtin), which needs no weights."
    )


@lru_cache(maxsize=8)
def folder_hash(folder: Path) -> str:
    """SHA-256 over the config and weight files of a model folder, by name and content."""
    digest = hashlib.sha256()
    for pattern in ("config.json", "*.safetensors"):
        for path in sorted(folder.glob(pattern)):
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}


def _size_on_hub(source: str) -> int:
    """Bytes to fetch; also the test whether the hub answers at all."""
    from huggingface_hub import HfApi

    def ask() -> int:
        info = HfApi().model_info(source, files_metadata=True, timeout=HUB_TIMEOUT)
        wanted = (s for s in info.siblings or [] if s.rfilename.endswith((".json", ".safetensors")))
        return sum(s.size or 0 for s in wanted)

    # In a thread, because a name look-up that hangs heeds no timeout of its caller.
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hub")
    try:
        return pool.submit(ask).result(timeout=HUB_TIMEOUT)
    except FutureTimeout:
        raise unavailable(source, f"the hub did not answer within {HUB_TIMEOUT:.0f} s") from None
    except Exception as error:
        why = f"the hub could not be asked ({type(error).__name__}), or has no such model"
        raise unavailable(source, why) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
