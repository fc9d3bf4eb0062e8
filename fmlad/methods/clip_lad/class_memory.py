"""The shots, divided into classes: their histograms, their objects, and how to save them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fmlad.errors import CorruptDetectorError, OptionError
from fmlad.io.tensors import TensorReader
from fmlad.methods.clip_lad.histogram import Distance, by_class, class_shares, nearest
from fmlad.methods.clip_lad.instances import GRID, Instance, PartMap
from fmlad.objects.counts import CountLaw, count_laws

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class HistogramComparison:
    """A query beside its nearest shot.

    Attributes:
        distance: Of the histograms of areas (corrected Eq. 2).
        by_class: What each class adds to it, float64 ``(classes,)``.
        shot: Index of the nearest shot.
        shares: Of the query, float64 ``(classes,)``.
        expected: Of that shot.
        counts: Objects of the query, float64 ``(classes,)``.
        laws: What the shots say about the counts, one a class.
        surprises: Nats by which each count surprises, float64 ``(classes,)``.
    """

    distance: float
    by_class: Floats
    shot: int
    shares: Floats
    expected: Floats
    counts: Floats
    laws: tuple[CountLaw, ...]
    surprises: Floats


@dataclass(frozen=True)
class ClassMemory:
    """The shots in parts.

    Attributes:
        names: The classes.
        shots: Each shot in parts, its boxes in shares of its width and height.
    """

    names: tuple[str, ...]
    shots: tuple[PartMap, ...]

    def judge(
        self, seen: PartMap, exclude: frozenset[int], distance: Distance
    ) -> HistogramComparison:
        """Compares an image with the shots that are not excluded."""
        kept = [index for index in range(len(self.shots)) if index not in exclude]
        if not kept:
            raise OptionError("All shots are excluded; at least one must stay.")
        classes = len(self.names)
        memory = [class_shares(self.shots[index].labels, classes) for index in kept]
        shares = class_shares(seen.labels, classes)
        least, best = nearest(shares, memory, distance)
        counts = seen.counts(classes)
        known = np.stack([self.shots[index].counts(classes) for index in kept])
        laws = count_laws(list(known.T))
        surprises = [law.surprise(count) for law, count in zip(laws, counts, strict=True)]
        return HistogramComparison(
            least,
            by_class(shares, memory[best], distance),
            kept[best],
            shares,
            memory[best],
            counts,
            tuple(laws),
            np.array(surprises),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Labels ``(k, GRID, GRID)`` and objects ``(n, 7)``: shot, class, box, area."""
        rows = [
            [float(shot), float(one.part), *one.box, one.area]
            for shot, seen in enumerate(self.shots)
            for one in seen.instances
        ]
        labels = np.stack([seen.labels for seen in self.shots]).astype(np.float32)
        return {
            "classes.labels": torch.from_numpy(labels),
            "classes.objects": torch.tensor(rows, dtype=torch.float32).reshape(-1, 7),
        }

    @classmethod
    def restore(cls, reader: TensorReader, names: Sequence[str]) -> ClassMemory:
        """Inverse of :meth:`tensors`.

        Raises:
            CorruptDetectorError: A tensor is missing, or holds what no shot can.
        """
        labels = reader.take("classes.labels", (None, GRID, GRID)).cpu().numpy()
        objects = reader.take("classes.objects", (None, 7)).cpu().numpy()
        owners, parts = objects[:, 0], objects[:, 1]
        if not (
            len(labels)
            and _within(labels, 0, len(names))
            and _within(owners, 0, len(labels) - 1)
            and _within(parts, 1, len(names))
        ):
            raise CorruptDetectorError("The saved shots hold classes or shots that do not exist.")
        shots = []
        for index, grid in enumerate(labels):
            own = tuple(_instance(row[1:]) for row in objects[owners == index])
            shots.append(PartMap(grid.astype(np.int64), own))
        return cls(tuple(names), tuple(shots))


def relative(seen: PartMap, size: tuple[int, int]) -> PartMap:
    """A shot with its boxes in shares of its height and width, as float32 keeps them."""
    height, width = size
    unit = np.array([width, height, width, height], np.float32)
    found = [
        _instance(np.array([one.part, *(np.array(one.box, np.float32) / unit), one.area]))
        for one in seen.instances
    ]
    return PartMap(seen.labels, tuple(found))


def _instance(values: npt.NDArray[Any]) -> Instance:
    part, x1, y1, x2, y2, area = (float(value) for value in values)
    return Instance(int(part), (x1, y1, x2, y2), area)


def _within(values: npt.NDArray[np.float32], least: int, most: int) -> bool:
    whole = values == np.round(values)
    return bool((whole & (values >= least) & (values <= most)).all())
