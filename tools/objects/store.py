"""Pictures on disk, drawn once: what a training reads over and over."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tools.objects.pictures import SIDE, picture
from tools.objects.targets import innermost

CHUNK = 100  # pictures a file
Numbers = npt.NDArray[np.uint8]


class Store:
    """Pixels, layers and leaves of some pictures, in files that are mapped into memory."""

    def __init__(self, root: Path, chunk: int = CHUNK) -> None:
        """``root``: a folder, made where it is absent; ``chunk``: pictures a file."""
        self._root, self._chunk = root, chunk
        root.mkdir(parents=True, exist_ok=True)
        self._open: dict[int, tuple[Numbers, Numbers, npt.NDArray[np.bool_]]] = {}

    def draw(self, count: int, processes: int) -> None:
        """Draws what is missing of the first ``count`` pictures."""
        chunks = range(-(-count // self._chunk))
        missing = [c for c in chunks if not _file(self._root, "leaves", c).exists()]
        jobs = [(self._root, chunk, self._chunk) for chunk in missing]
        if not jobs:
            return
        with multiprocessing.get_context("spawn").Pool(min(processes, len(jobs))) as pool:
            for done, _ in enumerate(pool.imap(_draw, jobs), start=1):
                print(f"drawn {done} of {len(jobs)} x {self._chunk} pictures", flush=True)

    def __getitem__(self, index: int) -> tuple[Numbers, Numbers, npt.NDArray[np.bool_]]:
        """Pixels ``(S, S, 3)``, layers ``(3, S, S)`` and leaves ``(256,)`` of a picture."""
        chunk, place = divmod(index, self._chunk)
        if chunk not in self._open:
            files = (_file(self._root, what, chunk) for what in ("pixels", "layers", "leaves"))
            pixels, layers, leaves = (np.load(file, mmap_mode="r") for file in files)
            self._open[chunk] = pixels, layers, leaves
        pixels, layers, leaves = self._open[chunk]
        return pixels[place], layers[place], leaves[place]


def sample(
    store: Store, indices: list[int], side: int, rng: np.random.Generator
) -> Iterator[tuple[Numbers, Numbers, npt.NDArray[np.bool_]]]:
    """Crops, enlarged or reduced, turned and mirrored: pixels, innermost objects and leaves."""
    import cv2

    for index in indices:
        pixels, layers, leaves = store[index]
        zoom = float(np.exp(rng.uniform(-0.22, 0.45))) if rng.random() < 0.6 else 1.0
        cut = min(SIDE, round(side / zoom))
        top, left = rng.integers(0, SIDE - cut + 1, 2)
        place = np.s_[top : top + cut, left : left + cut]
        part: Any = np.ascontiguousarray(pixels[place])
        labels: Any = innermost(layers[:, *place])
        if cut != side:
            how = cv2.INTER_LINEAR if cut < side else cv2.INTER_AREA
            part = cv2.resize(part, (side, side), interpolation=how)
            labels = cv2.resize(labels, (side, side), interpolation=cv2.INTER_NEAREST)
        quarter, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        part, labels = np.rot90(part, quarter), np.rot90(labels, quarter)
        if mirrored:
            part, labels = part[:, ::-1], labels[:, ::-1]
        yield np.ascontiguousarray(part), np.ascontiguousarray(labels), leaves


def _draw(job: tuple[Path, int, int]) -> None:
    root, chunk, size = job
    drawn = [picture(chunk * size + i) for i in range(size)]
    leaves = np.zeros((size, 256), bool)
    for row, one in zip(leaves, drawn, strict=True):
        row[np.unique(one.layers)] = True
        row[[0, *one.holders]] = False
    np.save(_file(root, "pixels", chunk), np.stack([one.pixels for one in drawn]))
    np.save(_file(root, "layers", chunk), np.stack([one.layers for one in drawn]))
    # The last one, renamed into place: where it is, the chunk is whole.
    partial = root / f".leaves-{chunk:04d}.npy"
    np.save(partial, leaves)
    partial.rename(_file(root, "leaves", chunk))


def _file(root: Path, what: str, chunk: int) -> Path:
    return root / f"{what}-{chunk:04d}.npy"
