"""From classes compared with the nearest shot to typed differences and painted maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fmlad.findings import Box, Kind
from fmlad.methods.clip_lad.histogram import ClassMemory, HistogramComparison
from fmlad.methods.clip_lad.layout import Odd
from fmlad.methods.protocol import Difference
from fmlad.objects.arrays import Bools
from fmlad.objects.expectations import Broken
from fmlad.objects.instances import GRID, PartMap, as_box, pieces_of, resized
from fmlad.prediction import Segmentation

LEAST = 0.25  # nats or log ratio below which a class is normal (ours)
ABSENT = 4 / GRID**2  # share of the image up to which a class is absent (ours)
IN_PLACE = 0.3  # of the smaller region that two classes share, from which one replaced the other


def learned(
    seen: PartMap, comparison: HistogramComparison, memory: ClassMemory, size: tuple[int, int]
) -> list[Difference]:
    """Counts and areas that depart from the shots, at most one difference a class."""
    found: dict[int, Difference] = {}
    for row in np.argsort(-comparison.surprises, kind="stable"):
        if comparison.surprises[row] >= LEAST:
            found[int(row)] = _difference(int(row), "count", seen, comparison, memory, size)
    for row in np.argsort(-comparison.by_class, kind="stable"):
        if comparison.by_class[row] >= LEAST and int(row) not in found:
            found[int(row)] = _difference(int(row), "histogram", seen, comparison, memory, size)
    _pair(found, seen, memory.shots[comparison.shot])
    return list(found.values())


def declared(rules: Sequence[Broken]) -> list[Difference]:
    """Broken rules as differences of the branch ``"declared"``."""
    return [
        Difference(
            branch="declared", score=rule.score, kind=rule.kind, part=rule.part,
            expected=rule.expected, observed=rule.observed,
            measure="share" if rule.kind == "resized" else "count",
            boxes=rule.boxes, reason=rule.text,
        )
        for rule in rules
    ]  # fmt: skip


def class_maps(
    seen: PartMap, comparison: HistogramComparison, memory: ClassMemory, by_count: bool
) -> npt.NDArray[np.float32]:
    """Map ``(GRID, GRID)`` of the surprise of each count, or of the term of each area.

    A class with too many objects or too large an area is painted where it is, one with too few or
    too small an area where the nearest shot has it; the maximum is that of the largest class value.
    """
    values = comparison.surprises if by_count else comparison.by_class
    result = np.zeros((GRID, GRID), np.float32)
    for row in np.flatnonzero(values > 0):
        if by_count:
            fewer = comparison.counts[row] < comparison.laws[row].expected
        else:
            fewer = comparison.shares[row] < comparison.expected[row]
        here, there = seen.labels == row + 1, memory.shots[comparison.shot].labels == row + 1
        place = _changed(there, here) if fewer else _changed(here, there)
        if not place.any():
            place = here | there if (here | there).any() else np.ones_like(here)
        result[place] = np.maximum(result[place], float(values[row]))
    return result


def misfits(odd: Sequence[Odd], names: Sequence[str], size: tuple[int, int]) -> list[Difference]:
    """Odd places and sizes as differences of the branch ``"layout"``."""
    unit = np.array([size[1], size[0], size[1], size[0]])
    return [
        Difference(
            branch="layout", score=one.surprise, kind=one.kind, part=names[one.part - 1],
            expected=one.expected, observed=one.observed, measure="share",
            boxes=(as_box(np.array(one.box) * unit),),
        )
        for one in odd
    ]  # fmt: skip


def odd_map(odd: Sequence[Odd]) -> npt.NDArray[np.float32]:
    """Map ``(GRID, GRID)`` of the surprise of odd places and sizes, in the boxes of the objects."""
    result = np.zeros((GRID, GRID), np.float32)
    for one in odd:
        _paint(result, one.box, (1, 1), one.surprise)
    return result


def rules_map(rules: Sequence[Broken], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Map ``(GRID, GRID)`` of broken rules: the objects concerned, else all of the image."""
    result = np.zeros((GRID, GRID), np.float32)
    for rule in rules:
        if not rule.boxes:
            result = np.maximum(result, np.float32(rule.score))
        for box in rule.boxes:
            _paint(result, box, size, rule.score)
    return result


def _paint(cells: npt.NDArray[np.float32], box: Box, size: tuple[int, int], value: float) -> None:
    """Raises the cells under a box of an image of ``size`` to a value."""
    x1, y1, x2, y2 = box
    rows = slice(int(y1 / size[0] * GRID), max(1, int(np.ceil(y2 / size[0] * GRID))))
    columns = slice(int(x1 / size[1] * GRID), max(1, int(np.ceil(x2 / size[1] * GRID))))
    cells[rows, columns] = np.maximum(cells[rows, columns], np.float32(value))


def segmentation(seen: PartMap, names: Sequence[str], size: tuple[int, int]) -> Segmentation:
    """Classes at the image's size, with their counts."""
    labels = resized(seen.labels, size).astype(np.uint16)
    counts = seen.counts(len(names)).astype(int).tolist()
    return Segmentation(labels, ["background", *names], dict(zip(names, counts, strict=True)))


def _difference(
    row: int,
    branch: str,
    seen: PartMap,
    comparison: HistogramComparison,
    memory: ClassMemory,
    size: tuple[int, int],
) -> Difference:
    """The difference of one class in its count, or in its area."""
    here, there = seen.labels == row + 1, memory.shots[comparison.shot].labels == row + 1
    own = tuple(one.box for one in seen.instances if one.part == row + 1)
    if branch == "count":
        found, wanted = float(comparison.counts[row]), float(comparison.laws[row].expected)
        kind: Kind = "missing" if found < wanted else "extra"
        less, score = kind == "missing", comparison.surprises[row]
    else:
        found, wanted = float(comparison.shares[row]), float(comparison.expected[row])
        kind = "resized"
        if found <= ABSENT < wanted:
            kind = "missing"
        elif wanted <= ABSENT < found:
            kind = "extra"
        less, score = found < wanted and bool(there.any()), comparison.by_class[row]
    boxes = _boxes(_changed(there, here) if less else _changed(here, there), size)
    if not boxes and branch == "count":
        boxes = own
    return Difference(
        branch=branch, score=float(score), kind=kind, part=memory.names[row], expected=wanted,
        observed=found, measure="count" if branch == "count" else "share", boxes=boxes,
        peers=(*own, *boxes) if kind == "missing" else (),
    )  # fmt: skip


def _pair(found: dict[int, Difference], seen: PartMap, shot: PartMap) -> None:
    """A missing class and an extra one in its place become one recoloured object."""
    missing = [row for row, difference in found.items() if difference.kind == "missing"]
    for row in missing:
        gone = shot.labels == row + 1
        for other, extra in list(found.items()):
            here = seen.labels == other + 1
            least = max(1, min(int(gone.sum()), int(here.sum())))
            if extra.kind != "extra" or int((gone & here).sum()) < IN_PLACE * least:
                continue
            one = found.pop(row)
            instead = f"{extra.part}"
            found[other] = replace(one, kind="recoloured", boxes=extra.boxes, instead=instead)
            break


def _changed(one: Bools, other: Bools) -> Bools:
    """Pieces of a class without a counterpart in another image; all if each has one."""
    from scipy import ndimage

    pieces, count = ndimage.label(one, np.ones((3, 3)))
    numbers = np.arange(1, count + 1)
    covered = np.asarray(ndimage.mean(other, pieces, numbers)) if count else np.zeros(0)
    alone = np.isin(pieces, numbers[covered < IN_PLACE])
    return alone if alone.any() else one


def _boxes(mask: Bools, size: tuple[int, int]) -> tuple[Box, ...]:
    """Tight boxes in pixels around the pieces of cells ``(GRID, GRID)``, without the specks.

    One box around all where there is nothing but specks.
    """
    if not mask.any():
        return ()
    pieces = tuple(piece.box for piece in pieces_of(mask.astype(np.int64), size))
    if pieces:
        return pieces
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = size[1] / GRID, size[0] / GRID
    left, top, right, bottom = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return ((float(left * x), float(top * y), float(right * x), float(bottom * y)),)
