"""Fixtures: objects that lie at the same place in every shot while others move (ours).

The bolts of a tray or the edges of a frame belong to the place where the pictures are taken, not to
the product. Where more than half of all objects stay, the product itself is held still, and nothing
is called a fixture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fmlad.errors import CorruptDetectorError
from fmlad.objects.appearance import LIGHTNESS, RED_GREEN, SIZE, YELLOW_BLUE, Objects
from fmlad.objects.arrays import Bools, Floats
from fmlad.objects.instances import as_box
from fmlad.objects.names import describe

LEAST_SHOTS = 3  # two shots may have an object at the same place by chance
SAME_PLACE = 0.7  # intersection over union of boxes, above which two shots' objects are one
AT_PLACE = 0.5  # of a query's object, from which it lies at the place of a fixture
ALIKE = 1.0  # units of appearance (SIZE_UNIT, COLOUR_UNIT) by which a fixture may vary
SURE = 0.5  # objectness from which a proposal counts as an object
MOST = 0.5  # share of all objects that stay, above which nothing is a fixture
_LOOKS = [LIGHTNESS, RED_GREEN, YELLOW_BLUE]

Size = tuple[int, int]


@dataclass(frozen=True)
class Fixture:
    """An object that belongs to the place, not to the product.

    Attributes:
        box: ``xyxy`` relative to the image, in [0, 1].
        description: Its size, colour and shape in words.
    """

    box: tuple[float, float, float, float]
    description: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"box": list(self.box), "description": self.description}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Fixture:
        """Back from :meth:`to_dict`.

        Raises:
            CorruptDetectorError: It is no box, or a key is missing.
        """
        try:
            x1, y1, x2, y2 = (float(value) for value in data["box"])
            description = data["description"]
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptDetectorError(f"A saved fixture is unreadable: {data!r}.") from error
        if not (math.isfinite(x1 + y1 + x2 + y2) and x1 < x2 and y1 < y2):
            raise CorruptDetectorError(f"A saved fixture has no box: {data!r}.")
        if not isinstance(description, str):
            raise CorruptDetectorError(f"A saved fixture has no description: {data!r}.")
        return cls((x1, y1, x2, y2), description)


def fixtures(shots: Sequence[Objects], sizes: Sequence[Size]) -> tuple[Fixture, ...]:
    """The fixtures of some shots, in reading order.

    Args:
        shots: Objects of each shot.
        sizes: Height and width of each shot in pixels.
    """
    if len(shots) < LEAST_SHOTS:
        return ()
    sure = [objects.rows(objects.objectness >= SURE) for objects in shots]
    if not all(len(objects) for objects in sure):
        return ()
    boxes = [_relative(objects, size) for objects, size in zip(sure, sizes, strict=True)]
    # Row of the counterpart in each shot, the first one included.
    partners = [_partners(sure[0], boxes[0], *other) for other in zip(sure, boxes, strict=True)]
    found = []
    for rows in zip(*partners, strict=True):
        if min(rows) < 0:
            continue
        box = np.median([there[row] for there, row in zip(boxes, rows, strict=True)], axis=0)
        appearance = np.array([o.appearance[row] for o, row in zip(sure, rows, strict=True)])
        found.append((box, appearance))
    if len(found) * len(shots) > MOST * sum(len(objects) for objects in sure):
        return ()
    found.sort(key=lambda one: (round(float(one[0][1]), 1), float(one[0][0])))
    return tuple(
        Fixture(as_box(box), describe(appearance) or "object") for box, appearance in found
    )


def at_fixtures(objects: Objects, size: Size, known: Sequence[Fixture]) -> Bools:
    """Which objects ``(n,)`` of an image lie at the place of a fixture, whatever they are like."""
    if not known or not len(objects):
        return np.zeros(len(objects), bool)
    places = np.array([fixture.box for fixture in known])
    return np.asarray(overlaps(_relative(objects, size), places).max(axis=1) >= AT_PLACE)


def overlaps(one: Floats, other: Floats) -> Floats:
    """Intersection over union of boxes ``(n, 4)`` and ``(m, 4)``, ``(n, m)`` in [0, 1]."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.asarray(shared / np.maximum(union, 1e-12))


def _partners(first: Objects, boxes: Floats, other: Objects, there: Floats) -> list[int]:
    """Row in another shot of what lies at the same place and looks alike; -1 without one."""
    shared = overlaps(boxes, there)
    sizes = np.abs(first.appearance[:, None, SIZE] - other.appearance[None, :, SIZE])
    gaps = first.appearance[:, None, _LOOKS] - other.appearance[None][..., _LOOKS]
    alike = (sizes <= ALIKE) & (np.linalg.norm(gaps, axis=2) <= ALIKE)
    shared = np.where(alike, shared, 0.0)
    best = shared.argmax(axis=1)
    mutual = shared.argmax(axis=0)[best] == np.arange(len(first))
    good = (shared.max(axis=1) > SAME_PLACE) & mutual
    return [int(row) if kept else -1 for row, kept in zip(best, good, strict=True)]


def _relative(objects: Objects, size: Size) -> Floats:
    height, width = size
    return objects.boxes / np.array([width, height, width, height], dtype=np.float64)
