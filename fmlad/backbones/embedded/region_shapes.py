"""Shapes of masks: small operations, repeated thousands of times an image, and measures of regions.

Erosion and dilation give the answers of scipy's, for a cross of five pixels, in a fraction of the
time.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fmlad.backbones.pooling import holders

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

QUANTITIES = (
    "size", "length", "width", "elongation", "solidity", "roundness", "rectangularity", "hole",
    "unity",
)  # fmt: skip
PRIOR_SHARE = 0.025  # of the image: the area of a region of which nothing else is known ...
PRIOR_REGIONS = 0.5  # ... and how many regions that knowledge is worth
TURNS = 18  # directions in which the smallest rectangle is looked for, over 90 degrees


def measure(regions: Bools) -> dict[str, Floats]:
    """:data:`QUANTITIES` -> float32 ``(R,)``, units as in ``lexicon.yaml``; NaN where empty.

    Regions are bool ``(R, h, w)`` of square cells over the whole image. Sizes are against the
    typical area: the geometric mean of the regions' median, weighted by their number, and of 2.5 %
    of the image, weighted as half a region; relative where there is something to compare with. A
    region that holds several others, as a tray does, is not among the typical ones.
    """
    areas = regions.sum(axis=(1, 2))
    found = areas[(areas > 0) & ~holders(regions)]
    result = {name: np.full(len(regions), np.nan, np.float32) for name in QUANTITIES}
    if not len(found):
        return result
    prior = math.log2(PRIOR_SHARE * regions.shape[1] * regions.shape[2])
    weighted = len(found) * math.log2(float(np.median(found))) + PRIOR_REGIONS * prior
    typical = weighted / (len(found) + PRIOR_REGIONS)
    for index in np.flatnonzero(areas > 0):
        for name, value in _one(regions[index], 2 ** (typical / 2)).items():
            result[name][index] = value
        result["size"][index] = math.log2(areas[index]) - typical
    return result


def _one(mask: Bools, side: float) -> dict[str, float]:
    """All but the size; ``side`` is that of a typical square in cells."""
    from scipy import ndimage
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist
    from skimage.measure import regionprops

    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    cut = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
    area = int(cut.sum())
    pieces, count = ndimage.label(cut, np.ones((3, 3)))
    filled = ndimage.binary_fill_holes(cut)
    solid = int(filled.sum())
    region = regionprops(cut.astype(np.uint8))[0]
    hull = ConvexHull(corners(filled))
    outline = hull.points[hull.vertices]
    length = float(pdist(outline).max())
    return {
        "length": length / side,
        "width": solid / length / side,
        # Half a cell keeps lines of one cell finite.
        "elongation": (region.axis_major_length + 0.5) / (region.axis_minor_length + 0.5),
        "solidity": min(1.0, solid / max(hull.volume, 1.0)),
        "roundness": min(1.0, solid / (math.pi / 4 * length**2)),
        "rectangularity": min(1.0, solid / _smallest_rectangle(outline)),
        "hole": 1 - area / solid,
        "unity": float(np.bincount(pieces[pieces > 0]).max()) / area if count > 1 else 1.0,
    }


def _smallest_rectangle(hull: npt.NDArray[np.float64]) -> float:
    """Area of the smallest of the rectangles about a polygon in ``TURNS`` directions."""
    angles = np.arange(TURNS) * (math.pi / 2 / TURNS)
    turned = hull @ np.stack([np.cos(angles), np.sin(angles)])
    across = hull @ np.stack([-np.sin(angles), np.cos(angles)])
    return float((np.ptp(turned, axis=0) * np.ptp(across, axis=0)).min())


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


def corners(mask: Bools) -> npt.NDArray[np.int64]:
    """Corners ``(n, 2)``, rows and columns, of the first and last pixel of each row of a mask."""
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    ends = np.concatenate([np.stack([rows, first], 1), np.stack([rows, last], 1)])
    return np.concatenate([ends, ends + np.array([1, 0])])


def solidity(rim: Bools, area: int) -> float:
    """Area relative to the convex hull of its pixels, of which the outline is enough."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        return float(min(1.0, area / ConvexHull(corners(rim)).volume))
    except QhullError:
        return 1.0
