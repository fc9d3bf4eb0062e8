"""Where an image changed: smoothed distance maps, and the belief that a place changed."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Floats = npt.NDArray[np.float64]

# Most of a box changes when its object comes or goes: the upper quartile decides, since the largest
# value may be a scratch. Shares of the largest distance of normal images up to which the belief in
# a change is 0, and from which it is 1 (ours).
TYPICAL = 0.75
SAME, CHANGED = 0.3, 0.6
SAME_ALONE, CHANGED_ALONE = 1.0, 2.0  # the same with a single shot (ours)


def smoothed(distances: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, mirrored at the border; ``(h, w)`` stays ``(h, w)``."""
    if sigma == 0:
        return distances
    radius = min(math.ceil(3 * sigma), min(distances.shape) - 1)
    offsets = torch.arange(-radius, radius + 1, device=distances.device, dtype=distances.dtype)
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    padded = F.pad(distances[None, None], (radius,) * 4, mode="reflect")
    rows = F.conv2d(padded, kernel.view(1, 1, 1, -1))
    return F.conv2d(rows, kernel.view(1, 1, -1, 1))[0, 0]


def sureness(patches: npt.NDArray[np.floating], alone: bool) -> Floats:
    """Belief in a change, in [0, 1], from distances over the largest one of a normal image."""
    same, changed = (SAME_ALONE, CHANGED_ALONE) if alone else (SAME, CHANGED)
    return np.asarray(np.clip((patches - same) / (changed - same), 0, 1), dtype=np.float64)


def changed(
    boxes: Floats, image: tuple[int, int], patches: npt.NDArray[np.float32], alone: bool
) -> Floats:
    """Belief in a change inside each of some boxes of an image, ``(n,)`` in [0, 1].

    Args:
        boxes: ``(n, 4)``, ``xyxy`` in pixels of an image of that height and width.
        patches: ``(h, w)``, distances over the largest one of a normal image.
        alone: Whether there is only one shot.
    """
    scale = np.array([patches.shape[1] / image[1], patches.shape[0] / image[0]] * 2)
    largest = np.zeros(len(boxes))
    for number, box in enumerate(boxes * scale):
        x0, y0 = np.floor(box[:2]).astype(int)
        x1, y1 = np.ceil(box[2:]).astype(int)
        inside = patches[max(y0, 0) : max(y1, y0 + 1), max(x0, 0) : max(x1, x0 + 1)]
        if inside.size:
            largest[number] = np.quantile(inside, TYPICAL, method="lower")
    return sureness(largest, alone)
