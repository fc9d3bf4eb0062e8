"""Small operations on masks that the proposer repeats thousands of times an image.

Erosion and dilation give the answers of scipy's, for a cross of five pixels, in a fraction of the
time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]


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
