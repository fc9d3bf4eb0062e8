"""One vector an object: pooling, and Dynamic Channel Graph Attention (SAM-LAD, section 3.5.1).

DCGA as published does not type-check (equations 4, 5 and 8), and read charitably it forgets the
object that it describes: the adjacency of equation 6 has a zero diagonal and nothing is added back.
``"literal"`` is that reading; ``"residual"`` keeps the object itself and adds what its likes in the
image look like; ``"gmp"`` and ``"gap"`` are the plain poolings that the paper compares with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Mode = Literal["residual", "literal", "gmp", "gap"]
# The two 1 -> 1 convolutions of the attention are one scalar each, and no trained values were
# published: 1 is the neutral choice.
W1 = W2 = 1.0
LEAST = 1e-6  # similarity of objects that have nothing in common


def describe_objects(level: Tensor, masks: Tensor, mode: Mode = "residual") -> Tensor:
    """Descriptors of the objects of one image.

    Args:
        level: Features ``(1, C, h, w)``.
        masks: Share of each cell that belongs to the object, float32 ``(n, h, w)`` in [0, 1].
        mode: See the module.

    Returns:
        float32 ``(n, C)``, of norm 1 (0 where there is nothing to normalise).
    """
    pooled = pool(level, masks, "gap" if mode == "gap" else "gmp")
    return attend(pooled, mode)


def pool(level: Tensor, masks: Tensor, how: Literal["gmp", "gap"]) -> Tensor:
    """Object maps (features times mask) pooled over the image, ``(n, C)``.

    Args:
        level: ``(1, C, h, w)``.
        masks: ``(n, h, w)`` in [0, 1].
        how: Global maximum (SAM-LAD), or mean over the mask.
    """
    rows, reach = [], extents(masks)
    masks = masks.to(level)
    for mask, (top, bottom, left, right) in zip(masks, reach, strict=True):
        # Outside its extent an object's map is zero, which the maximum must not overlook.
        part = level[0, :, top:bottom, left:right] * mask[top:bottom, left:right]
        if how == "gap":
            rows.append(part.sum(dim=(1, 2)) / mask.sum().clamp_min(LEAST))
        elif part.shape[1:] == level.shape[2:]:
            rows.append(part.amax(dim=(1, 2)))
        else:
            rows.append(
                part.flatten(1).amax(1).clamp_min(0)
                if part.numel()
                else level.new_zeros(level.shape[1])
            )
    return torch.stack(rows) if rows else level.new_zeros(0, level.shape[1])


def extents(masks: Tensor) -> Sequence[tuple[int, int, int, int]]:
    """Rows and columns ``top, bottom, left, right`` that each mask ``(n, h, w)`` reaches."""
    found = []
    for mask in masks:
        rows = torch.nonzero(mask.amax(1) > 0)[:, 0].tolist()
        columns = torch.nonzero(mask.amax(0) > 0)[:, 0].tolist()
        found.append((rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) if rows else (0, 0, 0, 0))
    return found


def attend(pooled: Tensor, mode: Mode) -> Tensor:
    """Pooled objects ``(n, C)`` of one image to descriptors ``(n, C)`` of norm 1."""
    if mode in ("gmp", "gap") or len(pooled) == 0:
        return F.normalize(pooled, dim=1)
    # G(f, A): with A = diag(softmax(w f)) (equations 4 and 5) graph attention is this product.
    attended = pooled * torch.softmax(W1 * pooled, dim=1)
    if mode == "literal":
        return F.normalize(literal_adjacency(pooled) @ torch.sigmoid(pooled * attended), dim=1)
    gated = pooled * torch.sigmoid(pooled * F.relu(W2 * attended))
    return F.normalize(gated + adjacency(pooled) @ gated, dim=1)


def literal_adjacency(pooled: Tensor) -> Tensor:
    """Equations 6 and 7, ``(n, n)``: cosines over their row sum, zero on the diagonal.

    The row sum may be near zero where cosines are negative; a single object has no row at all and
    gets zero.
    """
    unit = F.normalize(pooled, dim=1)
    cosine = (unit @ unit.T).fill_diagonal_(0)
    total = cosine.sum(1, keepdim=True)
    return torch.where(total == 0, torch.zeros_like(cosine), cosine / total)


def adjacency(pooled: Tensor) -> Tensor:
    """Equations 6 and 7 with what they need to be safe, ``(n, n)``, rows of sum 1 or 0."""
    unit = F.normalize(pooled, dim=1)
    cosine = ((unit @ unit.T).clamp_min(0) + LEAST).fill_diagonal_(0)
    return cosine / cosine.sum(1, keepdim=True).clamp_min(LEAST)
