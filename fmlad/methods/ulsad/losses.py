"""How ULSAD compares maps: in size and direction, place by place, and by attention.

Maps are float ``(B, C, h, w)``; all of one call have one shape.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def difference(first: Tensor, second: Tensor, direction: float) -> Tensor:
    """``l_v + direction * l_d`` at each place (ULSAD, Eq. 2), float32 ``(B, h, w)``.

    ``l_v`` is the squared difference, averaged over the channels (released code; summed, the
    published weight of the direction would count C times less), ``l_d`` one minus the cosine.

    Args:
        first, second: Maps.
        direction: Weight of the direction, 0 or more; lambda in the paper.
    """
    one, other = first.float(), second.float()
    value = (one - other).square().mean(1)
    if direction:
        value = value + direction * (1 - F.cosine_similarity(one, other, dim=1))
    return value


def attention(query: Tensor, memory: Tensor) -> Tensor:
    """What each place of ``query`` draws together from ``memory`` (ULSAD, Eq. 3 and 4).

    Softmax over the places of ``memory`` of the scalar products divided by ``sqrt(C)``, times
    ``memory``; nothing is learned. With both the same it is self-attention. The matrix of all pairs
    of places is not kept as a whole where torch has a kernel that works in blocks.

    Returns:
        ``(B, C, h, w)``.
    """
    asked, known = (maps.float().flatten(2).transpose(1, 2)[:, None] for maps in (query, memory))
    drawn = F.scaled_dot_product_attention(asked, known, known)
    return drawn[:, 0].transpose(1, 2).reshape(query.shape)


def consistency(said: Tensor, wanted: Tensor, direction: float, cells: int | None = None) -> Tensor:
    """L_pg (Eq. 5): cross-attention of ``said`` over ``wanted`` against the latter's own, a scalar.

    Args:
        said: Of the global autoencoder.
        wanted: Maps that it is to be consistent with.
        direction: As of :func:`difference`.
        cells: Cells on a side that both are averaged over first; None: they stay as they are.
    """
    if cells is not None and cells < wanted.shape[-1]:
        said, wanted = (F.adaptive_avg_pool2d(maps, cells) for maps in (said, wanted))
    crossed, own = attention(said, wanted), attention(wanted, wanted)
    return difference(crossed, own, direction).mean()
