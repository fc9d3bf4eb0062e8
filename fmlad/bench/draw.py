"""Which images are shots and which are judged; the same for everybody who takes part.

Draws are nested: the shots of a seed are the first k of one permutation of the training images, so
that more shots contain fewer and a curve over k shows what more shots add, not another draw.
"""

from __future__ import annotations

import filecmp
import hashlib
import importlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fmlad.bench.model import ALL, Task
from fmlad.datasets.model import Dataset, Sample
from fmlad.errors import DatasetError, OptionError
from fmlad.progress import Progress


@dataclass(frozen=True)
class Draw:
    """The images of one cell: shots in the order drawn, none of pairs; and those to be judged."""

    shots: tuple[Sample, ...]
    test: tuple[Sample, ...]


def open_task(task: Task, progress: Progress | None = None) -> Dataset:
    """The category of a task with as many test images as the task uses.

    ``progress`` is told of images that are rendered because they are missing.

    Raises:
        DatasetError: The folder does not hold it, or holds no normal or no anomalous test image.
            Pairs need no normal ones: they are measured by pixels.
        OptionError: There is no such dataset, category or sub-type.
    """
    datasets = importlib.import_module("fmlad.datasets")
    dataset: Dataset = datasets.load(
        task.dataset, task.root, task.category, task.subtype, progress=progress
    )
    kinds = {sample.kind for sample in dataset.test}
    if not dataset.paired and ("good" not in kinds or len(kinds) < 2):
        raise DatasetError(
            f"{task.title} in {dataset.root} has test images of the kinds {sorted(kinds)}; "
            f"a benchmark needs normal and anomalous ones. Is the folder complete?"
        )
    return replace(dataset, test=some(dataset.test, task.images, task.spread))


def digest(dataset: Dataset) -> str:
    """Tells images apart from others of the same title, by names, kinds and sizes of files."""
    found = hashlib.sha256()
    for split in (dataset.train, dataset.validation, dataset.test):
        for sample in split:
            found.update(f"{sample.name} {sample.kind} {_size(sample.path)}\n".encode())
        found.update(b"\n")
    return found.hexdigest()


def some(samples: Sequence[Sample], images: int, spread: bool = True) -> tuple[Sample, ...]:
    """At most ``images`` samples of each kind: evenly spread over their order, or the first.

    0 means all; the order stays.
    """
    if not images:
        return tuple(samples)
    kept: set[int] = set()
    for kind in {sample.kind for sample in samples}:
        own = [index for index, sample in enumerate(samples) if sample.kind == kind]
        count = min(images, len(own))
        step = len(own) / count if spread else 1
        kept |= {own[int((i + 0.5) * step)] for i in range(count)}
    return tuple(sample for index, sample in enumerate(samples) if index in kept)


def draw(dataset: Dataset, shots: int, seed: int, each_subtype: bool = False) -> Draw:
    """Draws shots at random from the training images, and takes them out of the test images.

    With ``each_subtype`` from the sub-types in turn; images of unknown sub-type are never drawn.

    Files that are drawn images, byte for byte, are left out of the test: both may come from one
    pool, and a folder may hold one picture twice. Images with a reference each draw nothing.

    Raises:
        OptionError: There are fewer training images, or no normal image is left to be judged.
    """
    if dataset.paired:
        return Draw((), dataset.test)
    pool = sorted(dataset.train, key=lambda sample: sample.name)
    if each_subtype:
        pool = [sample for sample in pool if sample.subtype is not None]
    title = "/".join(part for part in (dataset.name, dataset.category, dataset.subtype) if part)
    if shots > len(pool) or not pool:
        known = " of a known sub-type" if each_subtype else ""
        raise OptionError(
            f"{title} has {len(pool)} training images{known}; {shots or 'all'} shots are asked for."
        )
    order = np.random.default_rng(seed).permutation(len(pool))
    if each_subtype:
        drawn_of: Counter[str | None] = Counter()
        turns = []
        for i in order:
            turns.append(drawn_of[pool[i].subtype])
            drawn_of[pool[i].subtype] += 1
        order = order[np.argsort(turns, kind="stable")]
    drawn = tuple(pool[i] for i in (order if shots == ALL else order[:shots]))
    sizes: dict[int, list[Path]] = {}  # few files are of one size
    for sample in drawn:
        sizes.setdefault(_size(sample.path), []).append(sample.path)

    def is_drawn(path: Path) -> bool:
        alike = sizes.get(size := _size(path), [])
        return path in alike or (
            size >= 0 and any(filecmp.cmp(path, one, shallow=False) for one in alike)
        )

    test = tuple(sample for sample in dataset.test if not is_drawn(sample.path))
    if not any(sample.kind == "good" for sample in test):
        raise OptionError(
            f"{title}: after drawing {shots or 'all'} shots no normal image is left to be judged; "
            f"ask for fewer shots, or for more test images."
        )
    return Draw(drawn, test)


def _size(path: Path) -> int:
    """In bytes; -1 for a file that is not there, which whoever reads it will say."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
