"""Histograms of class areas and counts, and their distance to those of the shots.

CLIP-LAD, section 3.2, Eq. 2: the L1 norm of ``h_test / h``, least over the shots. The printed form
cannot work: two equal histograms give the number of classes instead of 0, a missing class lowers
the score, and a class that no shot has divides by zero. Two corrections are offered, and the
printed form is kept for comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fmlad.errors import CorruptDetectorError, OptionError
from fmlad.io.tensors import TensorReader
from fmlad.methods.clip_lad.layout import Layout, Odd
from fmlad.objects.arrays import Floats
from fmlad.objects.counts import CountLaw, count_laws
from fmlad.objects.instances import GRID, Instance, PartMap

Distance = Literal["log", "ratio", "literal"]
EPSILON = 1 / 4096  # one cell of CLIP-LAD's 64 x 64 masks: a class as good as absent


def class_shares(labels: npt.NDArray[np.integer], classes: int) -> Floats:
    """Share of the cells of ``labels`` ``(h, w)`` that each class has, float64 ``(classes,)``.

    In [0, 1]. Classes begin with 1; 0 is the background, which is left out.
    """
    counted = np.bincount(labels.ravel(), minlength=classes + 1)[1:]
    return np.asarray(counted / max(labels.size, 1), np.float64)


def by_class(query: Floats, shot: Floats, distance: Distance) -> Floats:
    """The term of each class in the distance of two histograms (``eps``: one cell).

    - ``"log"``: ``|log((q + eps) / (h + eps))|``, the same for twice as much and half as much;
    - ``"ratio"``: ``|q - h| / (h + eps)``, the difference in units of what should be there;
    - ``"literal"``: ``q / h`` as printed; infinite or NaN where the shot has nothing.

    All are float64 ``(classes,)``, >= 0; ``query`` and ``shot`` are shares or counts.
    """
    if distance == "log":
        return np.abs(np.log((query + EPSILON) / (shot + EPSILON)))
    if distance == "ratio":
        return np.abs(query - shot) / (shot + EPSILON)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(query / shot)


def nearest(query: Floats, memory: Sequence[Floats], distance: Distance) -> tuple[float, int]:
    """Distance to the nearest histogram of a memory, and its index (corrected Eq. 2).

    The nearest shot decides: where a product comes in several types, a query is compared with its
    own.
    """
    sums = np.array([by_class(query, shot, distance).sum() for shot in memory])
    # 0 / 0 of the literal form: no neighbour.
    sums = np.where(np.isnan(sums), np.inf, sums)
    best = int(sums.argmin())
    return float(sums[best]), best


@dataclass(frozen=True)
class HistogramComparison:
    """A query compared with its nearest shot.

    Attributes:
        distance: Of the histograms of areas (corrected Eq. 2).
        by_class: Its term of each class, float64 ``(classes,)``.
        shot: Index of the nearest shot.
        shares: Of the query, float64 ``(classes,)``.
        expected: Of that shot.
        counts: Objects of the query, float64 ``(classes,)``.
        laws: Posterior over the counts of the shots, one a class.
        surprises: Surprise of each count in nats, float64 ``(classes,)``.
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
    _layouts: dict[tuple[frozenset[int], float], Layout] = field(
        default_factory=dict, repr=False, compare=False
    )

    def odd(self, seen: PartMap, size: tuple[int, int], exclude: frozenset[int]) -> list[Odd]:
        """Objects of an image of ``size`` that lie, or are, as in none of the other shots."""
        aspect = round(size[1] / size[0], 2)
        if (exclude, aspect) not in self._layouts:
            kept = [shot for index, shot in enumerate(self.shots) if index not in exclude]
            self._layouts[exclude, aspect] = Layout(kept, len(self.names), aspect)
        return self._layouts[exclude, aspect].odd(relative(seen, size))

    def compare(
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
        surprises = np.array([law.surprise(c) for law, c in zip(laws, counts, strict=True)])
        terms, expected = by_class(shares, memory[best], distance), memory[best]
        return HistogramComparison(
            least, terms, kept[best], shares, expected, counts, tuple(laws), surprises
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
        """Inverse of :meth:`tensors`; CorruptDetectorError where they hold what no shot can."""
        labels = reader.take("classes.labels", (None, GRID, GRID)).cpu().numpy()
        objects = reader.take("classes.objects", (None, 7)).cpu().numpy()
        owners, parts = objects[:, 0], objects[:, 1]
        possible = _within(labels, 0, len(names)) and _within(parts, 1, len(names))
        if not (len(labels) and possible and _within(owners, 0, len(labels) - 1)):
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
