"""Where the objects of each class lie, and how large they are, against those of the shots (ours).

Areas and counts are blind to an object in the wrong place and to one of the wrong length. Where the
shots have an arrangement in common (``fmlad.objects.arrangement``), the objects of a class fill
slots, and a query is brought into their frame by its own objects; where they lie freely, only sizes
are compared. Both are surprises in nats. The largest of ``n`` chance surprises is about ``log n``,
which is taken off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fmlad.findings import Box, Kind
from fmlad.objects.arrangement import Arrangement, arrange, moved
from fmlad.objects.arrays import Floats, Ints
from fmlad.objects.counts import spread_surprise
from fmlad.objects.instances import Instance, PartMap
from fmlad.objects.places import Slots

# Least share of the objects that fit into one arrangement, and their number: between shots, where
# nothing is wrong, and for a query, which may lack some (as in the banks).
SHOT_SHARE, SHOT_INLIERS = 0.85, 4
QUERY_SHARE, QUERY_INLIERS = 0.6, 3
BASES = 8  # shots tried as the reference of the others
SIZE_SPREAD = 0.25  # of the logarithm of an area, believed before any is seen
LEAST_SIZES = 2  # objects of a class below which its sizes say nothing


@dataclass(frozen=True)
class Odd:
    """An object in a place, or of a size, that no shot would expect.

    Attributes:
        kind: ``misplaced`` or ``resized``.
        part: Its class, from 1.
        box: ``xyxy`` in shares of the image.
        expected: The usual area as a share of the image; None for a place.
        observed: Its own.
        surprise: Nats, 0 or more.
    """

    kind: Kind
    part: int
    box: Box
    expected: float | None
    observed: float | None
    surprise: float


class Layout:
    """Slots and sizes of the classes over some shots.

    Boxes are in shares of the image; ``aspect`` is its width over its height, the same for all
    (shots of another shape lie a little off, which widens the slots).
    """

    def __init__(self, shots: Sequence[PartMap], classes: int, aspect: float = 1.0) -> None:
        self._half = np.array([aspect, 1.0]) / max(aspect, 1.0)
        self._sizes = [
            np.array([[math.log(one.area)] for shot in shots for one in _of(shot, part)])
            for part in range(1, classes + 1)
        ]
        self._reference: PartMap | None = None
        self._slots: list[Slots | None] = [None] * classes
        best: list[tuple[PartMap, Floats]] = []
        for base in shots[:BASES]:
            found = [(shot, self._frame(shot, base, SHOT_SHARE, SHOT_INLIERS)) for shot in shots]
            fitting = [(shot, frame.matrix) for shot, frame in found if frame is not None]
            if len(fitting) > max(len(best), len(shots) / 2, 1):
                self._reference, best = base, fitting
        if best:
            placed = [(_classes(shot), moved(self._places(shot), matrix)) for shot, matrix in best]
            self._slots = [
                Slots.learn([places[owners == part] for owners, places in placed])
                for part in range(1, classes + 1)
            ]

    def odd(self, seen: PartMap) -> list[Odd]:
        """The oddest place and the oddest size of an image, boxes in shares of it; 0 to 2."""
        least = math.log(max(len(seen.instances), 1))
        found = (self._oddest_place(seen), self._oddest_size(seen))
        lowered = (replace(one, surprise=one.surprise - least) for one in found if one)
        return [one for one in lowered if one.surprise > 0]

    def _oddest_place(self, seen: PartMap) -> Odd | None:
        if self._reference is None:
            return None
        frame = self._frame(seen, self._reference, QUERY_SHARE, QUERY_INLIERS)
        if frame is None:
            return None
        places = moved(self._places(seen), frame.matrix)
        best = None
        for part, slots in enumerate(self._slots, start=1):
            own = np.flatnonzero(_classes(seen) == part)
            if slots is None or not len(own):
                continue
            _, rows, surprises = slots.match(places[own])
            worst = int(surprises.argmax())
            if best is None or surprises[worst] > best.surprise:
                box = seen.instances[own[rows[worst]]].box
                best = Odd("misplaced", part, box, None, None, float(surprises[worst]))
        return best

    def _oddest_size(self, seen: PartMap) -> Odd | None:
        best = None
        for one in seen.instances:
            sizes = self._sizes[one.part - 1]
            if len(sizes) < LEAST_SIZES:
                continue
            surprise = spread_surprise(np.array([math.log(one.area)]), sizes, SIZE_SPREAD)
            if best is None or surprise > best.surprise:
                usual = float(np.exp(sizes.mean()))
                best = Odd("resized", one.part, one.box, usual, one.area, surprise)
        return best

    def _places(self, seen: PartMap) -> Floats:
        """Centres ``(n, 2)`` in halves of the longer side, from the middle."""
        boxes = np.array([one.box for one in seen.instances], np.float64).reshape(-1, 4)
        return np.asarray((boxes[:, :2] + boxes[:, 2:] - 1) * self._half)

    def _frame(
        self, seen: PartMap, base: PartMap, share: float, inliers: int
    ) -> Arrangement | None:
        """The transform of an image's places to those of a shot, if enough objects fit."""
        here, there = _classes(seen), _classes(base)
        if not len(here) or not len(there):
            return None
        weights = np.ones(len(here)), np.ones(len(there))
        similar = here[:, None] == there
        found = arrange(self._places(seen), self._places(base), similar, weights)
        fits = found is not None and found.share >= share and found.inliers >= inliers
        return found if fits else None


def _of(seen: PartMap, part: int) -> list[Instance]:
    return [one for one in seen.instances if one.part == part]


def _classes(seen: PartMap) -> Ints:
    return np.array([one.part for one in seen.instances], np.int64)
