"""Components: their pictures, vectors that no rotation changes, and their clusters.

CSAD, section 3.1 "Component Feature Extraction" and "Component Clustering", appendix A.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
Describe = Callable[[Tensor], Tensor]
"""RGB ``(B, 3, s, s)`` in 0..255 -> one vector a picture, ``(B, C)``."""

SIDE = 64  # px of a component's picture (paper; its code has 65)
PROJECTED = 512  # dimensions of the projection (released code)
SPREAD = (
    0.01  # deviation of its weights (released code); the published bandwidths are at this scale
)
AT_ONCE = 64  # pictures that the network sees together


def rectangle(mask: Bools) -> tuple[float, float]:
    """Longer and shorter side of the smallest rectangle, at any angle, around a mask, in pixels.

    Around the centres of the pixels of its largest connected piece; 0 for an empty mask.

    Args:
        mask: bool ``(h, w)``.
    """
    from scipy import ndimage
    from scipy.spatial import ConvexHull, QhullError

    numbers, count = ndimage.label(mask, np.ones((3, 3)))
    if not count:
        return 0.0, 0.0
    largest = numbers == 1 + int(np.bincount(numbers.ravel())[1:].argmax())
    points = np.argwhere(largest & ~ndimage.binary_erosion(largest)).astype(float)
    try:
        corners = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):  # a point or a line
        return float(np.linalg.norm(np.ptp(points, axis=0))), 0.0
    edges = np.roll(corners, -1, axis=0) - corners
    along = edges / np.linalg.norm(edges, axis=1, keepdims=True)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    # The smallest rectangle has a side along an edge of the hull.
    sides = np.stack([np.ptp(corners @ axes.T, axis=0) for axes in (along, across)], axis=1)
    best = sides[int(sides.prod(1).argmin())]
    return float(best.max()), float(best.min())


def picture(pixels: Pixels, mask: Bools, side: int = SIDE) -> Pixels:
    """A component alone, on black, its smallest rectangle's diagonal as long as the picture.

    Args:
        pixels: uint8 ``(H, W, 3)``.
        mask: bool ``(h, w)`` over the image, with at least one pixel.
        side: Of the picture.

    Returns:
        uint8 ``(side, side, 3)``.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    scale = side / (math.hypot(*rectangle(mask)) + 1)
    width, height = (
        min(side, max(1, round(scale * int(length)))) for length in (right - left, bottom - top)
    )
    down, over = pixels.shape[0] / mask.shape[0], pixels.shape[1] / mask.shape[1]
    box = (left * over, top * down, right * over, bottom * down)
    cut = np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR, box))
    shape = Image.fromarray(mask[top:bottom, left:right].astype(np.uint8) * 255)
    inside = np.asarray(shape.resize((width, height), Image.Resampling.BILINEAR)) >= 128
    found = np.zeros((side, side, 3), np.uint8)
    y, x = (side - height) // 2, (side - width) // 2
    found[y : y + height, x : x + width] = cut * inside[..., None]
    return found


def facts(mask: Bools, picture: Pixels) -> npt.NDArray[np.float32]:
    """What a picture of fixed size does not tell, and its colour (ours), float32 ``(5,)``.

    Logarithm of the diagonal of :func:`rectangle` over the image's longer side; logarithm of the
    ratio of the rectangle's shorter to its longer side; mean Lab colour over 100, black left out.
    """
    from skimage.color import rgb2lab

    long, short = (side + 1 for side in rectangle(mask))
    seen = picture[picture.any(-1)]
    colour = rgb2lab(seen.mean(0) / 255) / 100 if len(seen) else np.zeros(3)
    size = math.log(math.hypot(long, short) / max(mask.shape))
    return np.array([size, math.log(short / long), *colour], np.float32)


def rotated(pictures: Tensor, count: int) -> Tensor:
    """Pictures turned about their centre by 0 to 360 degrees, both ends included; black outside.

    Args:
        pictures: float ``(B, 3, s, s)``.
        count: Number of rotations, 60 in the paper; 1: as they are.

    Returns:
        float ``(B, count, 3, s, s)``.
    """
    found = []
    for degrees in np.linspace(0, 360, count) if count > 1 else [0.0]:
        angle = math.radians(float(degrees))
        matrix = pictures.new_tensor(
            [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]]
        ).expand(len(pictures), 2, 3)
        grid = F.affine_grid(matrix, list(pictures.shape), align_corners=False)
        found.append(F.grid_sample(pictures, grid, align_corners=False))
    return torch.stack(found, dim=1)


@torch.no_grad()
def vectors(
    pictures: Sequence[Pixels], describe: Describe, rotations: int
) -> npt.NDArray[np.float32]:
    """One vector a picture, the mean over its rotations: ``f^com``, float32 ``(n, C)``.

    Args:
        pictures: uint8 ``(s, s, 3)`` each, at least one.
        describe: A network and the mean of its map over its places.
        rotations: 60 in the paper.
    """
    found = []
    for start in range(0, len(pictures), size := max(1, AT_ONCE // rotations)):
        some = np.stack(pictures[start : start + size]).transpose(0, 3, 1, 2)
        turned = rotated(torch.from_numpy(some.copy()).float(), rotations)
        said = describe(turned.flatten(0, 1))
        found.append(said.float().cpu().view(len(some), rotations, -1).mean(1))
    return torch.cat(found).numpy()


def projected(vectors: npt.NDArray[np.float32], seed: int, size: int = PROJECTED) -> Floats:
    """Vectors ``(n, C)`` through one random linear map, float64 ``(n, size)``.

    Its weights are normal with deviation :data:`SPREAD`: distances shrink by about
    ``SPREAD * sqrt(size)``, and the published bandwidths are at that scale.
    """
    weights = np.random.default_rng((seed, vectors.shape[1], size)).normal(
        0, SPREAD, (vectors.shape[1], size)
    )
    return np.asarray(vectors.astype(np.float64) @ weights)


def mean_shift(points: Floats, bandwidth: float) -> Ints:
    """Cluster of each of ``(n, C)`` points, int64 ``(n,)``: MeanShift with a flat kernel."""
    from sklearn.cluster import MeanShift

    return np.asarray(MeanShift(bandwidth=bandwidth).fit_predict(points), np.int64)


def frequent(clusters: Ints, least: int) -> Ints:
    """Clusters with fewer than ``least`` members are noise, -1; the rest 0, 1, ... by size."""
    sizes = np.bincount(clusters, minlength=1)
    order = np.argsort(-sizes, kind="stable")
    table = np.full(len(sizes), -1, np.int64)
    kept = [int(row) for row in order if sizes[row] >= max(least, 1)]
    table[kept] = np.arange(len(kept))
    return table[clusters]


def typical_distance(points: Floats) -> float:
    """Root of the mean squared distance of all pairs of points ``(n, C)``.

    A median would be a distance within a class where one class has most of the components.
    """
    return math.sqrt(2 * float(points.var(0).sum()))
