"""Small operations on masks and heights that the proposer repeats thousands of times an image.

Each gives the very answer of its well-known general counterpart, on the case at hand alone: a cross
of five pixels, holes by sides, summits by corners.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Heights = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def eroded(mask: Bools) -> Bools:
    """Without the pixels that touch the outside by a side; outside the array is outside."""
    result = np.zeros_like(mask)
    if min(mask.shape) > 2:
        inner = result[1:-1, 1:-1]
        np.logical_and(mask[:-2, 1:-1], mask[2:, 1:-1], out=inner)
        inner &= mask[1:-1, :-2]
        inner &= mask[1:-1, 2:]
        inner &= mask[1:-1, 1:-1]
    return result


def dilated(mask: Bools) -> Bools:
    """With the pixels that touch it by a side."""
    result = mask.copy()
    result[1:] |= mask[:-1]
    result[:-1] |= mask[1:]
    result[:, 1:] |= mask[:, :-1]
    result[:, :-1] |= mask[:, 1:]
    return result


def without_holes(mask: Bools) -> Bools:
    """With everything that cannot be reached from the border by sides."""
    from scipy import ndimage

    labels, count = ndimage.label(~mask)
    hole = np.ones(count + 1, bool)
    hole[[*labels[0], *labels[-1], *labels[:, 0], *labels[:, -1]]] = False
    hole[0] = True  # the mask itself
    return np.asarray(hole[labels])


def solidity(rim: Bools, area: int) -> float:
    """Area relative to the convex hull of its pixels, of which the outline is enough."""
    from scipy.spatial import ConvexHull, QhullError

    rows = np.flatnonzero(rim.any(axis=1))
    first = rim[rows].argmax(axis=1)
    last = rim.shape[1] - rim[rows, ::-1].argmax(axis=1)
    ends = np.concatenate([np.stack([rows, first], 1), np.stack([rows, last], 1)])
    corners = np.concatenate([ends, ends + np.array([1, 0])])  # of pixels, which have a size
    try:
        return float(min(1.0, area / ConvexHull(corners).volume))
    except QhullError:
        return 1.0


def summits(heights: Heights, least: float) -> Bools:
    """Maxima that no way leads up from without first going down by ``least`` (h-maxima).

    Source: Soille, Morphological Image Analysis, section 6.3.4: heights less their reconstruction
    from heights lowered by ``least``. Here every pixel climbs to a peak, and of the lands of the
    peaks only the passes between them matter (watershed transform by steepest ascent; passes in
    order as in Kruskal's minimum spanning tree), which saves sorting all pixels.

    Args:
        heights: float64 ``(h, w)``, finite; neighbours touch by sides or corners.
        least: Positive.
    """
    marked = np.zeros(heights.shape, bool)
    if least > np.ptp(heights):
        return marked
    lands = _climbed(heights)
    flat = heights.ravel()
    peaks = np.flatnonzero(lands.ravel() == np.arange(lands.size))
    numbers = np.zeros(lands.size, np.int64)
    numbers[peaks] = np.arange(len(peaks))
    numbered = numbers[lands]
    top = flat[peaks]
    # Lowered by a hair more, against rounding.
    lowered = top - least - 2 * np.finfo(heights.dtype).resolution * np.abs(top)
    flooded = _flooded(top, lowered, least, *_passes(heights, numbered))
    for number in np.flatnonzero(top - flooded >= least):
        land = numbered == number
        marked[land] = heights[land] - np.minimum(heights[land], flooded[number]) >= least
    return marked


def _climbed(heights: Heights) -> Ints:
    """Index of the peak that each pixel climbs to; of equals, the last in order is the highest."""
    down, across = heights.shape
    padded = np.pad(heights, 1, constant_values=-np.inf)
    best = np.full(heights.shape, -np.inf)
    step = np.zeros(heights.shape, np.int64)
    for row in (-1, 0, 1):
        for column in (-1, 0, 1):
            there = padded[1 + row : 1 + row + down, 1 + column : 1 + column + across]
            higher = there >= best
            np.copyto(best, there, where=higher)
            np.copyto(step, row * across + column, where=higher)
    goal = np.arange(heights.size) + step.ravel()
    while True:
        further = goal[goal]
        if np.array_equal(further, goal):
            return goal.reshape(heights.shape)
        goal = further


def _passes(heights: Heights, lands: Ints) -> tuple[Ints, Ints, Heights]:
    """Pairs of neighbouring lands and the highest pass between them, the highest pass first."""
    ones, others, levels = [], [], []
    for here, there in (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1], np.s_[1:]),
        (np.s_[:-1, :-1], np.s_[1:, 1:]),
        (np.s_[:-1, 1:], np.s_[1:, :-1]),
    ):
        one, other = lands[here], lands[there]
        border = one != other
        ones.append(np.minimum(one[border], other[border]))
        others.append(np.maximum(one[border], other[border]))
        levels.append(np.minimum(heights[here][border], heights[there][border]))
    level = np.concatenate(levels)
    order = np.argsort(-level, kind="stable")
    one, other, level = np.concatenate(ones)[order], np.concatenate(others)[order], level[order]
    _, first = np.unique(one * (lands.max() + 1) + other, return_index=True)
    first.sort()
    return one[first], other[first], level[first]


def _flooded(
    top: Heights, lowered: Heights, least: float, one: Ints, other: Ints, level: Heights
) -> Heights:
    """Up to where each peak drowns when all others, lowered, flood it over the passes.

    Peaks that stand out by less than ``least`` are forgotten on the way: they never will again.
    """
    flooded = lowered.copy()
    parent = list(range(len(top)))
    standing: list[list[int]] = [[number] for number in parent]
    source = lowered.tolist()  # the highest of each flood

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    passes: Any = zip(one.tolist(), other.tolist(), level.tolist(), strict=True)
    for first, second, height in passes:
        a, b = root(first), root(second)
        if a == b:
            continue
        left: list[int] = []
        for mine, theirs in ((a, b), (b, a)):
            reached = min(height, source[theirs])
            for number in standing[mine]:
                flooded[number] = max(flooded[number], reached)
                if top[number] - flooded[number] >= least:
                    left.append(number)
        parent[b] = a
        source[a] = max(source[a], source[b])
        standing[a] = left
    return flooded
