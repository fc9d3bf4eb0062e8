"""Points that stand for many: greedy k-centre, as PatchCore subsamples its patches."""

from __future__ import annotations

import torch
from torch import Tensor


def k_centre(points: Tensor, count: int, first: int) -> list[int]:
    """Rows of points, each the farthest from those before it.

    Args:
        points: float ``(n, C)``.
        count: 1 to n.
        first: The row to begin with.

    Returns:
        ``count`` rows in the order of their choice; a row again where all points left are copies.
    """
    chosen = [first]
    gaps = torch.linalg.vector_norm(points - points[first], dim=1)
    while len(chosen) < count:
        chosen.append(int(gaps.argmax()))
        farther = torch.linalg.vector_norm(points - points[chosen[-1]], dim=1)
        gaps = torch.minimum(gaps, farther)
    return chosen
