"""Asking the network without waiting for it, and writing files that are whole or absent."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.error import HTTPError
from urllib.request import urlopen

STALL = 30.0  # seconds without a byte after which a transfer that had begun is given up
CHUNK = 2**20

T = TypeVar("T")


def within(seconds: float, ask: Callable[[], T]) -> T:
    """The result of ``ask()``, waited for no longer than given.

    In a thread, because a name look-up that hangs heeds no timeout of its caller; in a daemon
    thread, because the interpreter waits for every other kind before it exits.

    Raises:
        TimeoutError: No result yet; the thread is left to itself.
        Exception: Whatever ``ask`` raised.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(ask())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name="fmlad-network").start()
    return future.result(timeout=seconds)


@contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """A file to write that appears as ``target`` when the block ends well, and else not at all.

    Raises:
        OSError: It cannot be written there.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def download(
    url: str,
    target: Path,
    *,
    patience: float,
    announce: Callable[[int | None], None],
    sha256: str | None = None,
) -> None:
    """Fetches one file with a progress bar on standard error.

    Args:
        url: Address.
        target: Where to put it; its folder is made.
        patience: Seconds for the first answer.
        announce: Told the size in bytes (None: the server does not say) before the transfer.
        sha256: What the file must hash to, if known.

    Raises:
        TimeoutError: No answer in time.
        OSError: The address cannot be read, or the target not be written.
        ValueError: The file came incomplete, or with another hash.
    """
    # The hub's own bar, which honours HF_HUB_DISABLE_PROGRESS_BARS; it has no types.
    tqdm: Any = import_module("huggingface_hub.utils").tqdm

    def ask() -> Any:
        try:
            return urlopen(url, timeout=STALL)
        except HTTPError as error:
            error.close()  # it is an open answer too
            raise

    with within(patience, ask) as response:
        length = response.headers.get("Content-Length")
        size = int(length) if length is not None else None
        announce(size)
        target.parent.mkdir(parents=True, exist_ok=True)
        digest, got = hashlib.sha256(), 0
        with (
            whole_file(target) as file,
            tqdm(total=size, unit="B", unit_scale=True, desc=target.name) as bar,
        ):
            while chunk := response.read(CHUNK):
                file.write(chunk)
                digest.update(chunk)
                got += len(chunk)
                bar.update(len(chunk))
            if size is not None and got != size:
                raise ValueError(f"{got} of {size} bytes came")
            if sha256 is not None and digest.hexdigest() != sha256:
                raise ValueError(f"its SHA-256 is {digest.hexdigest()}, expected {sha256}")
