"""Tiny models in the formats in which real ones lie on disk, and a hub that serves them."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

COMMIT = "0" * 39 + "1"


def tiny_dinov2(folder: Path, value: float = 0.0) -> Path:
    """What ``save_pretrained`` writes, as far as nothing is built from it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "dinov2", "hidden_size": 4}))
    save_file({"weight": np.full((2, 4), value, np.float32)}, folder / "model.safetensors")
    return folder


def into_hub_cache(cache: Path, repository: str, folder: Path) -> Path:
    """Puts a folder where huggingface_hub would: blobs, a snapshot of links, a reference."""
    home = cache / ("models--" + repository.replace("/", "--"))
    snapshot = home / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (home / "blobs").mkdir()
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)
    for path in folder.iterdir():
        blob = home / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        blob.write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(f"../../blobs/{blob.name}")
    return snapshot


@contextmanager
def hub_of(repositories: dict[str, Path], gated: Collection[str] = ()) -> Iterator[str]:
    """The few addresses of a hub that a download needs, on this machine.

    Args:
        repositories: Name -> folder.
        gated: Those whose files, though not their names, only the token ``hf_granted`` opens.
            The token ``hf_expired`` it refuses everywhere, as a hub does.

    Yields:
        The endpoint.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            path = self.path.partition("?")[0].lstrip("/")
            token = self.headers["Authorization"]
            if token == "Bearer hf_expired":
                why = "Invalid credentials in Authorization header"
                return self._refuse(401, {"X-Error-Message": why})
            for name, folder in repositories.items():
                if path.startswith((f"api/models/{name}/tree/",)):
                    entries = [_described(p) for p in sorted(folder.iterdir())]
                    return self._send(json.dumps(entries).encode(), body, {})
                if path.startswith(f"api/models/{name}"):
                    return self._send(json.dumps(_info(name, folder)).encode(), body, {})
                start = f"{name}/resolve/"
                if path.startswith(start):
                    if name in gated and token != "Bearer hf_granted":
                        return self._refuse(403 if token else 401, {"X-Error-Code": "GatedRepo"})
                    file = folder / path.removeprefix(start).partition("/")[2]
                    if file.is_file():
                        digest = hashlib.sha256(file.read_bytes()).hexdigest()
                        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT}
                        return self._send(file.read_bytes(), body, headers)
            on_models = path.startswith("api/models/")
            self._refuse(404, {"X-Error-Code": "RepoNotFound"} if on_models else {})

        def _refuse(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send(self, data: bytes, body: bool, headers: dict[str, str]) -> None:
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            """Quiet."""

    with serving(Handler) as address:
        yield address


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """An HTTP server on this machine; yields its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _described(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"type": "file", "path": path.name, "size": len(data), "oid": _blob_id(data)}


def _info(name: str, folder: Path) -> dict[str, Any]:
    return {
        "id": name,
        "modelId": name,
        "sha": COMMIT,
        "private": False,
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "siblings": [
            {
                "rfilename": path.name,
                "size": path.stat().st_size,
                "blobId": _blob_id(path.read_bytes()),
            }
            for path in sorted(folder.iterdir())
        ],
    }


def _blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
