"""Names of unnamed parts from their size, colour and shape, unique among the parts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fmlad.objects.appearance import (
    COLOUR_UNIT,
    ELONGATION,
    ELONGATION_UNIT,
    LIGHTNESS,
    RED_GREEN,
    SIZE,
    SIZE_UNIT,
    SOLIDITY,
    SOLIDITY_UNIT,
    YELLOW_BLUE,
)
from fmlad.objects.arrays import Floats, Ints
from fmlad.objects.parts import Parts

GREY = 14.0  # chroma below which a colour has no name of its own
MIXED = 25.0  # Delta E of standard deviation from which a part has no colour of its own
# Hue angle in CIE Lab, degrees, at which the name begins.
HUES = (
    (-30, "pink"),
    (15, "red"),
    (48, "orange"),
    (75, "yellow"),
    (112, "green"),
    (200, "blue"),
    (300, "purple"),
)


def part_names(parts: Parts) -> list[str]:
    """A name per group: size word, colour word, shape word; numbered where that is not unique."""
    plain = [
        "object" if group.facet == "any" else describe(parts.appearance[group.members])
        for group in parts.groups
    ]
    return _unique(plain, [group.members for group in parts.groups])


def describe(appearance: Floats) -> str:
    """Words for the mean appearance of some objects, ``(n, 7)`` as in ``Objects.appearance``."""
    mean = appearance.mean(0)
    words = [_size(mean), _colour(appearance), _shape(mean), "part"]
    return " ".join(word for word in words if word)


def _size(mean: Floats) -> str:
    share = math.exp(mean[SIZE] * SIZE_UNIT)
    if share < 0.008:
        return "small"
    return "large" if share > 0.08 else ""


def _colour(appearance: Floats) -> str:
    lab = appearance[:, [LIGHTNESS, RED_GREEN, YELLOW_BLUE]] * COLOUR_UNIT
    if np.sqrt(np.square(lab - lab.mean(0)).sum(1).mean()) > MIXED:
        return ""
    lightness, a, b = lab.mean(0)
    if math.hypot(a, b) < GREY:
        return "dark" if lightness < 38 else "grey" if lightness < 70 else "light"
    hue = math.degrees(math.atan2(b, a))
    hue = hue + 360 if hue < HUES[0][0] else hue
    name = [word for start, word in HUES if hue >= start][-1]
    return "pink" if hue >= 330 else "brown" if name == "orange" and lightness < 50 else name


def _shape(mean: Floats) -> str:
    ratio = math.exp(mean[ELONGATION] * ELONGATION_UNIT)
    if ratio > 2.2:
        return "long"
    if mean[SOLIDITY] * SOLIDITY_UNIT < 0.85:
        return "jagged"
    return "compact" if ratio < 1.35 else ""


def _unique(names: Sequence[str], members: Sequence[Ints]) -> list[str]:
    """Numbers repeated names; groups of the same objects at several levels share one name."""
    taken: dict[str, list[bytes]] = {}
    result = []
    for name, rows in zip(names, members, strict=True):
        known = taken.setdefault(name, [])
        if rows.tobytes() not in known:
            known.append(rows.tobytes())
        number = known.index(rows.tobytes()) + 1
        result.append(name if number == 1 else f"{name} {number}")
    return result
