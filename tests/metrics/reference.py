"""sPRO one threshold at a time, word by word as it is defined: slow, and plainly right."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

Point = tuple[float, float]


def point(
    maps: Sequence[Any], regions: Sequence[Any], saturations: Sequence[Any], threshold: float
) -> Point:
    """False positive rate and mean saturated overlap at one threshold."""
    overlaps, wrong, normal = [], 0, 0
    for map_, own, enough in zip(maps, regions, saturations, strict=True):
        predicted = map_ >= threshold
        defect_free = np.ones(predicted.shape, dtype=bool)
        for region, area in zip(own, enough, strict=True):
            overlaps.append(min((predicted & region).sum() / area, 1.0))
            defect_free &= ~region
        wrong += int((predicted & defect_free).sum())
        normal += int(defect_free.sum())
    return wrong / normal, float(np.mean(overlaps))


def thresholds(maps: Sequence[Any]) -> list[float]:
    """All distinct values, falling."""
    return sorted({value for map_ in maps for value in np.ravel(map_).tolist()}, reverse=True)


def curve(maps: Sequence[Any], regions: Sequence[Any], saturations: Sequence[Any]) -> list[Point]:
    """From no pixel to all."""
    return [
        (0.0, 0.0),
        *(point(maps, regions, saturations, value) for value in thresholds(maps)),
    ]


def area(points: Sequence[Point], limit: float) -> float:
    """Normalised area under straight lines, cut off by walking along them."""
    total = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x1 > limit:
            y1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            x1 = limit
        total += (x1 - x0) * (y0 + y1) / 2
        if x1 >= limit:
            break
    return total / limit


def slow_spro(
    maps: Sequence[Any], regions: Sequence[Any], saturations: Sequence[Any], limit: float
) -> float:
    """sPRO up to one limit."""
    return area(curve(maps, regions, saturations), limit)
