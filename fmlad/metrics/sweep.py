"""From anomaly maps to curves: all thresholds at once, little more than a map at a time in memory.

Every curve here is a mean of staircases, one a region, whose steps are the values of its highest
pixels, as many as its saturation area. Between two neighbouring *marks* (the distinct values of
those pixels) only normal pixels matter, and it is enough to know how many there are. So the marks
are collected first; then the normal pixels of every image are counted at and between them, in
batches that cost one sort and one merge each.

Up to ``MARKS`` region pixels every one is a mark, and the curve is exact. Of more, each region
gives evenly spaced ones of its sorted pixels, in proportion to its weight. The points of the curve
are still exact, and straight lines join them: as both coordinates never fall, the area is off by at
most half of what two neighbours span (``SproCurve.slack`` sums that up).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmlad.errors import OptionError
from fmlad.metrics.curve import Floats, SproCurve

Values = npt.NDArray[np.floating]

MARKS = 1 << 22  # of all curves together
BATCH = 1 << 24  # pixels; 64 MB of float32


@dataclass(frozen=True)
class Region:
    """What is to be found in one image.

    Attributes:
        values: ``(area,)`` map values in the region, in any order.
        saturation: Pixels that suffice, in (0, area].
        weight: In the mean over all regions of the curve.
    """

    values: Values
    saturation: float
    weight: float = 1.0

    def staircase(self) -> tuple[Values, Floats]:
        """Values that count, falling, and by how much (adds up to ``weight``)."""
        top = np.sort(self.values)[::-1][: int(np.ceil(self.saturation))]
        gains = np.full(len(top), self.weight / self.saturation)
        gains[-1] *= self.saturation - (len(top) - 1)  # less than a pixel may be left to find
        return top, gains


@dataclass(frozen=True)
class Pixels:
    """One image: finite map ``(H, W)``, its normal pixels (None: all), regions of each curve."""

    map: Values
    normal: npt.NDArray[np.bool_] | None
    regions: tuple[tuple[Region, ...], ...]


@dataclass(frozen=True)
class Images:
    """Images by index; none is kept after it was read.

    ``blank`` says without reading its map whether an image has no region.
    """

    count: int
    blank: Callable[[int], bool]
    read: Callable[[int], Pixels]


def sweep(images: Images, name: str, curves: int = 1, marks: int = MARKS) -> Sweep:
    """Counts pixels for curves that share their normal pixels.

    Images with regions are read twice, the others once. Up to so many ``marks``, region pixels of
    all curves together, they are exact; ``name`` is the metric's, for messages.

    Raises:
        OptionError: No image, no region or no normal pixel exists.
    """
    if images.count == 0:
        raise OptionError(f"{name} needs at least one map.")
    collected = [_Marks(marks // curves) for _ in range(curves)]
    for index in range(images.count):
        if not images.blank(index):
            for mine, regions in zip(collected, images.read(index).regions, strict=True):
                for region in regions:
                    mine.add(region)
    kept = [values for mine in collected for values, _ in mine.kept] or [np.empty(0, np.float32)]
    tally = Sweep(np.unique(np.concatenate(kept)), curves)
    del collected, kept
    for index in range(images.count):
        pixels = images.read(index)
        for curve, regions in enumerate(pixels.regions):
            for region in regions:
                tally.find(curve, region)
        # A copy in any case: a sequence may use one buffer for all its maps.
        tally.pass_by(pixels.map.flatten() if pixels.normal is None else pixels.map[pixels.normal])
        del pixels  # before the next one is read
    tally.close(name)
    return tally


class _Marks:
    """Values at which a curve gets a point."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.weight = 0.0
        self.spacing = 0.0
        self.held = 0
        self.kept: list[tuple[Values, float]] = []  # falling values, weight from one to the next

    def add(self, region: Region) -> None:
        top, _ = region.staircase()
        self.weight += region.weight
        self._keep(top, region.weight / len(top))
        if self.held > self.most:
            old, self.kept, self.held = self.kept, [], 0
            self.spacing = 2 * self.weight / self.most
            for values, step in old:
                self._keep(values, step)

    def _keep(self, values: Values, step: float) -> None:
        every = max(1, round(self.spacing / step))
        # A copy, or the slice would hold on to what it leaves out.
        self.kept.append((values[::every].copy(), step * every))
        self.held += len(self.kept[-1][0])


class Sweep:
    """Pixels per slot; slot ``2 i + 1`` is mark ``i`` itself, ``2 i`` what lies just below it."""

    def __init__(self, marks: Values, curves: int) -> None:
        self.marks = marks
        self.dtype = marks.dtype  # in the end that of the most precise map
        self.gains = np.zeros((curves, 2 * len(marks) + 1))
        self.normals = np.zeros(2 * len(marks) + 1, dtype=np.int64)
        self._batch: list[Values] = []
        self._waiting = 0

    def find(self, curve: int, region: Region) -> None:
        """Takes a region's staircase."""
        values, gains = region.staircase()
        values = values[::-1]  # rising: neighbours in the search are neighbours in memory
        left = np.searchsorted(self.marks, values)
        here = self.marks[np.minimum(left, len(self.marks) - 1)] == values
        np.add.at(self.gains[curve], 2 * left + here, gains[::-1])

    def pass_by(self, values: Values) -> None:
        """Takes normal pixels ``(n,)``."""
        self.dtype = np.promote_types(self.dtype, values.dtype)
        self._batch.append(values)
        self._waiting += values.size
        if self._waiting >= BATCH:
            self._count()

    def close(self, name: str) -> None:
        """Takes nothing more; OptionError where a curve has no region, or no pixel is normal."""
        self._count()
        if not self.gains.any(axis=1).all() or not self.normals.any():
            raise OptionError(f"{name} needs at least one anomalous region and one normal pixel.")

    def curve(self, number: int = 0) -> SproCurve:
        """One of the curves, in the order of the images' regions."""
        moved = np.flatnonzero((self.normals > 0) | (self.gains[number] > 0))[::-1]
        fpr = np.append(0, np.cumsum(self.normals[moved])) / self.normals.sum()
        spro = np.append(0.0, np.cumsum(self.gains[number, moved]))
        spro /= spro[-1]
        # A mark is one value, so its step is a straight line; between marks it may be a staircase.
        open_ = np.append(False, moved % 2 == 0)
        slack = np.diff(fpr, prepend=0) * np.diff(spro, prepend=0) / 2
        slack = np.cumsum(np.where(open_, slack, 0.0))
        return SproCurve(fpr, spro, self._thresholds(moved), slack)

    def _count(self) -> None:
        """Sorts the batch and merges it with the marks."""
        if self._waiting == 0:
            return
        values = np.concatenate(self._batch)
        self._batch.clear()
        self._waiting = 0
        if len(self.marks) == 0:  # said in close()
            return
        values.sort()
        below = np.searchsorted(values, self.marks)
        tied = np.flatnonzero(values[np.minimum(below, len(values) - 1)] == self.marks)
        here = np.zeros_like(below)
        here[tied] = np.searchsorted(values, self.marks[tied], side="right") - below[tied]
        self.normals[1::2] += here
        self.normals[0:-1:2] += np.diff(below, prepend=0)
        self.normals[2::2] -= here  # a tie lies not above its mark, as the line before has it
        self.normals[-1] += len(values) - below[-1]

    def _thresholds(self, slots: npt.NDArray[np.intp]) -> Floats:
        """The lowest value of each slot, after infinity, which nothing reaches."""
        marks = self.marks.astype(self.dtype)
        lowest = np.append(self.dtype.type(-np.inf), np.nextafter(marks, self.dtype.type(np.inf)))
        at, below = slots // 2, slots % 2 == 0
        found = np.where(below, lowest[at], marks[np.minimum(at, len(marks) - 1)])
        return np.append(np.inf, found).astype(np.float64)
