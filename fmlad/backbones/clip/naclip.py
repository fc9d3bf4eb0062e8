"""Neighbour-aware last block of a vision transformer (NACLIP, Hajimiri et al., WACV 2025).

A CLIP model is trained on its class token alone, so its patch tokens need not say what is where.
NACLIP changes the last block and nothing else, without training: keys look at keys instead of
queries at keys, neighbours are favoured, and only the attention's output is kept (the paper's
"reduced" architecture: no residual, no MLP). All of it is functional here; no model is altered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

SIGMA = 5.0  # patches; the paper's choice, for every model and grid

Layer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LastBlock:
    """What the reduced form needs of a transformer's last block; every layer keeps (B, L, W).

    ``norm`` stands in front of the attention, ``out`` is its projection, ``heads`` divides W.
    """

    norm: Layer
    key: Layer
    value: Layer
    out: Layer
    heads: int


def last_block(tokens: Tensor, block: LastBlock, bias: Tensor) -> Tensor:
    """The reduced last block: ``softmax(K K^T / sqrt(d) + bias) V`` per head, projected.

    The block's input ``(B, L, W)`` and a bias ``(L, L)``, added to the logits of every head ->
    float32 ``(B, L, W)``: no residual and no MLP, still to be normed and projected.
    """
    normed = block.norm(tokens)
    batch, length, width = normed.shape

    def split(mixed: Tensor) -> Tensor:  # (B, L, W) -> (B, heads, L, W / heads)
        return mixed.reshape(batch, length, block.heads, -1).transpose(1, 2)

    keys, values = split(block.key(normed)), split(block.value(normed))
    # Scales by 1 / sqrt(d) and adds the mask to the logits, which is the formula as it stands.
    seen = F.scaled_dot_product_attention(keys, keys, values, attn_mask=bias)
    return block.out(seen.transpose(1, 2).reshape(batch, length, width))


@lru_cache(maxsize=8)
def neighbourhood_bias(
    rows: int, columns: int, *, prefix: int = 1, sigma: float = SIGMA, device: str = "cpu"
) -> Tensor:
    """Gaussian of the distance between two patches; 0 wherever a prefix token is concerned.

    The paper slides a Gaussian window, as large as two grids, over one-hot maps; the value between
    patches p and q is then ``exp(-|p - q|^2 / (2 sigma^2))``, which is written down here at once.

    Returns:
        float32 ``(L, L)`` with ``L = prefix + rows * columns``, in [0, 1], symmetric, 1 on the
        patches' diagonal. It is shared between calls: do not write to it.
    """
    # Separable: the Gaussian of a distance is the product of those of its two components.
    down = _gaussian(rows, sigma)[:, None, :, None]
    across = _gaussian(columns, sigma)[None, :, None, :]
    patches = (down * across).reshape(rows * columns, rows * columns)
    return F.pad(patches, (prefix, 0, prefix, 0)).float().to(device)


def _gaussian(cells: int, sigma: float) -> Tensor:
    """float64 ``(cells, cells)`` between any two cells of a line."""
    place = torch.arange(cells, dtype=torch.float64)
    return torch.exp(-((place[:, None] - place[None]) ** 2) / (2 * sigma**2))
