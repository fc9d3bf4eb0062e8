"""Names of unnamed parts, and words for what they look like: size, colour, shape."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

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
from fmlad.objects.parts import Group, Parts

GREY = 14.0  # chroma below which a colour has no name of its own
MIXED = 25.0  # Delta E of standard deviation from which a part has no colour of its own
WITHIN = 0.1  # share of a group's members from which it holds a part of the naming level
MOST_TOGETHER = 3  # such parts in one name
SAME = 0.9  # share of a part's members from which a group of another level is that part
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


def part_names(parts: Parts, level: int) -> list[str]:
    """A name per group: ``"part A"``, ``"part B"``, ... at one level, the most frequent first.

    Groups of other levels are named after these: a kind of part A is ``"part A2"``, what holds
    parts A and B is ``"part A or part B"``, and anything wider is ``"object"``.
    """
    groups = parts.groups
    base = [number for number, group in enumerate(groups) if group.level == level]
    if base and groups[base[0]].facet == "any":
        base = []
    base.sort(key=lambda number: (-groups[number].counts.sum(), groups[number].members.min()))
    letters = {number: f"part {letter(rank)}" for rank, number in enumerate(base)}
    kinds: dict[str, list[bytes]] = {name: [] for name in letters.values()}
    names = []
    for number, group in enumerate(groups):
        shares = {
            name: len(np.intersect1d(group.members, groups[one].members))
            for one, name in letters.items()
        }
        held = [name for name, n in shares.items() if n >= WITHIN * max(len(group.members), 1)]
        wide = len(held) > MOST_TOGETHER or (len(held) > 1 and len(held) == len(letters))
        if number in letters or group.facet == "any" or not held or wide:
            names.append(letters.get(number, "object"))
        elif len(held) > 1:
            names.append(" or ".join(held))
        elif shares[held[0]] >= SAME * len(_members(groups, letters, held[0])):
            names.append(held[0])
        else:
            known, key = kinds[held[0]], group.members.tobytes()
            if key not in known:
                known.append(key)
            names.append(f"{held[0]}{known.index(key) + 2}")
    return names


def part_descriptions(parts: Parts) -> list[str]:
    """What each group looks like, in words; "" where it may be anything."""
    return [
        "" if group.facet == "any" else describe(parts.appearance[group.members])
        for group in parts.groups
    ]


def letter(rank: int) -> str:
    """A, B, ..., Z, AA, AB, ..."""
    name = ""
    rank += 1
    while rank:
        rank, last = divmod(rank - 1, 26)
        name = chr(ord("A") + last) + name
    return name


def describe(appearance: Floats) -> str:
    """Words for the mean appearance of some objects, ``(n, 7)`` as in ``Objects.appearance``.

    Size, colour and shape, as far as they are worth a word; "" where none is.
    """
    mean = appearance.mean(0)
    words = [_size(mean), _colour(appearance), _shape(mean)]
    return " ".join(word for word in words if word)


def _members(groups: Sequence[Group], letters: Mapping[int, str], name: str) -> Ints:
    return next(groups[number].members for number, known in letters.items() if known == name)


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
        return "irregular"
    return "compact" if ratio < 1.35 else ""
