"""An image in parts: which class each cell belongs to, and its objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fmlad.findings import Box

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

GRID = 64  # cells a side of the masks whose classes are counted (CLIP-LAD)
PIECE = 4  # cells of 64 x 64 below which a piece of a part is no object (ours)


@dataclass(frozen=True)
class Instance:
    """One object.

    Attributes:
        part: Its class, from 1.
        box: ``xyxy`` in input pixels.
        area: Share of the image, in (0, 1].
    """

    part: int
    box: Box
    area: float


@dataclass(frozen=True)
class PartMap:
    """An image in parts.

    Attributes:
        labels: int64 ``(GRID, GRID)`` over the image: 0 is the background, then the classes.
        instances: Its objects.
    """

    labels: Ints
    instances: tuple[Instance, ...]

    def counts(self, classes: int) -> npt.NDArray[np.float64]:
        """Objects of each class, float64 ``(classes,)``."""
        numbers = [instance.part - 1 for instance in self.instances]
        return np.bincount(np.array(numbers, np.int64), minlength=classes).astype(np.float64)


def pieces_of(labels: Ints, size: tuple[int, int]) -> tuple[Instance, ...]:
    """Connected pieces of each class."""
    from scipy import ndimage

    found = []
    unit = np.array([size[1], size[0], size[1], size[0]]) / GRID
    for part in np.unique(labels[labels > 0]):
        pieces, _ = ndimage.label(labels == part, np.ones((3, 3)))
        for number, (rows, columns) in enumerate(ndimage.find_objects(pieces), start=1):
            cells = int((pieces[rows, columns] == number).sum())
            if cells >= PIECE:
                box = np.array([columns.start, rows.start, columns.stop, rows.stop]) * unit
                found.append(Instance(int(part), as_box(box), cells / GRID**2))
    return tuple(found)


def extents(labels: Ints, parts: Ints, size: tuple[int, int]) -> tuple[Instance, ...]:
    """Each of some parts as one object, however many pieces it is in: its middle nine tenths."""
    found = []
    unit = np.array([size[1], size[0], size[1], size[0]]) / GRID
    for part in parts:
        rows, columns = np.nonzero(labels == part)
        if len(rows) >= PIECE:
            low, high = np.quantile(np.stack([columns, rows]), (0.05, 0.95), axis=1)
            found.append(
                Instance(int(part), as_box(np.r_[low, high + 1] * unit), len(rows) / GRID**2)
            )
    return tuple(found)


def as_box(values: npt.NDArray[np.floating]) -> Box:
    """Four numbers ``xyxy`` as a box."""
    x1, y1, x2, y2 = (float(value) for value in values)
    return x1, y1, x2, y2


def resized(labels: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Nearest neighbour resize of a grid ``(h, w)`` to another size."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64)
        for old, new in zip(labels.shape, size, strict=True)
    )
    return np.asarray(labels[np.ix_(rows, columns)])
