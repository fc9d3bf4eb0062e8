"""What upsamplers share, and FeatUp's sum over the 7 x 7 places around each with its own weights.

FeatUp publishes that sum as a compiled extension; the loop over the 49 shifts here is the same sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.errors import OptionError

RADIUS = 3  # of the neighbourhood (FeatUp's)
SIDE = 2 * RADIUS + 1
FACTORS = (1, 2, 4, 8, 16)
CHUNK = 2**24  # numbers in one piece of work: 64 MiB


def check(features: Tensor, guidance: Tensor, factor: int) -> int:
    """How often a factor doubles; OptionError where factor, features or images do not fit."""
    if not isinstance(factor, int) or factor not in FACTORS:
        known = ", ".join(map(str, FACTORS))
        raise OptionError(f"The factors of upsampling are {known}; {factor!r} was asked for.")
    fits = features.ndim == 4 and guidance.ndim == 4 and guidance.shape[1] == 3
    if not fits or len(features) != len(guidance) or guidance.dtype != torch.uint8:
        raise OptionError(
            f"An upsampler takes features (B, C, h, w) and images uint8 (B, 3, H, W); got "
            f"{tuple(features.shape)} and {guidance.dtype} {tuple(guidance.shape)}."
        )
    return FACTORS.index(factor)


def shifts(maps: Tensor, radius: int = RADIUS) -> Iterator[Tensor]:
    """The neighbours of each place in row-major order, views ``(B, C, H, W)`` each.

    Beyond the border the maps are mirrored at radius 3, where their sides allow it; at radius 1,
    and where they do not, the border is repeated.
    """
    height, width = maps.shape[-2:]
    mirrored = radius == RADIUS and min(height, width) > radius
    wide = F.pad(maps, (radius,) * 4, mode="reflect" if mirrored else "replicate")
    for row, column in product(range(2 * radius + 1), repeat=2):
        yield wide[..., row : row + height, column : column + width]


def gathered(source: Tensor, kernel: Tensor) -> Tensor:
    """The weighted sum over each place's neighbourhood.

    ``out[b, c, y, x] = sum over i, j of kernel[b, 7 i + j, y, x] * fine[b, c, y + i - 3,
    x + j - 3]``, where ``fine`` is the source interpolated (bicubic) to the kernel's grid. Works
    through the channels piece by piece, so that memory is little more than the result's.

    Args:
        source: ``(B, C, h, w)``.
        kernel: ``(B, 49, H, W)``.

    Returns:
        ``(B, C, H, W)``.
    """
    batch, channels = source.shape[:2]
    size = kernel.shape[-2:]
    out = source.new_zeros((batch, channels, *size))
    piece = max(1, CHUNK // (batch * size[0] * size[1]))
    for start in range(0, channels, piece):
        part = slice(start, start + piece)
        fine = F.interpolate(source[:, part], size, mode="bicubic", align_corners=False)
        for number, neighbour in enumerate(shifts(fine)):
            out[:, part].addcmul_(neighbour, kernel[:, number, None])
    return out


def spatial(sigma: Tensor) -> Tensor:
    """Gaussian over the neighbourhood, ``(49,)``, not normalised.

    ``sigma`` is in units of the radius: 1 stands for three places.
    """
    steps = torch.linspace(-1, 1, SIDE, device=sigma.device)
    squares = (steps[:, None] ** 2 + steps[None] ** 2).flatten()
    return torch.exp(-squares / (2 * sigma**2))
