"""Parts given by exemplars: the mean feature inside a box, and the cosine of others to it.

Exemplars separate what the features hold: colour and texture on ``builtin``, not size or shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.errors import PromptError


def exemplar_embedding(level: Tensor, box: Sequence[float], size: tuple[int, int]) -> Tensor:
    """Mean feature inside a box.

    Args:
        level: float32 ``(1, C, h, w)`` over the whole image.
        box: ``(x1, y1, x2, y2)`` in input pixels; what reaches out of the image is cut off.
        size: Height and width of the image in pixels.

    Returns:
        float32 ``(C,)``. Cells count by the share of them that the box covers, so that a box
        smaller than a cell still has an embedding.

    Raises:
        PromptError: Nothing of the box lies in the image.
    """
    height, width = size
    x1, y1, x2, y2 = (float(value) for value in box)
    down = _cover(y1 / height, y2 / height, level.shape[-2])
    across = _cover(x1 / width, x2 / width, level.shape[-1])
    weights = torch.from_numpy(np.outer(down, across)).to(level)
    if not float(weights.sum()) > 0:
        raise PromptError(
            f"Nothing of the exemplar's box {[x1, y1, x2, y2]} lies in its image of {width} x "
            f"{height} pixels; boxes are [x1, y1, x2, y2] in pixels."
        )
    return torch.einsum("chw,hw->c", level[0], weights / weights.sum())


def similarity(features: Tensor, vectors: Tensor) -> Tensor:
    """Cosine of every place or region to every exemplar.

    Args:
        features: float32 ``(1, C, h, w)``, or ``(R, C)`` from ``pooling.region_means``.
        vectors: float32 ``(n, C)`` from :func:`exemplar_embedding`.

    Returns:
        float32 in [-1, 1]: ``(n, h, w)``, or ``(n, R)``. 0 for a feature of zeros.
    """
    units = F.normalize(vectors, dim=1)
    if features.ndim == 4:
        return torch.einsum("nc,chw->nhw", units, F.normalize(features, dim=1)[0])
    return units @ F.normalize(features, dim=1).T


def _cover(first: float, last: float, cells: int) -> npt.NDArray[np.float64]:
    """Share of each of ``cells`` equal cells of [0, 1] that the span covers."""
    edges = np.linspace(0, 1, cells + 1)
    covered = np.minimum(last, edges[1:]) - np.maximum(first, edges[:-1])
    return np.asarray(np.nan_to_num(covered).clip(min=0) * cells)
