"""Hand-made features: what can be seen without having learned anything.

Three kinds of evidence a cell, each pooled over a Gaussian-like window: colour in CIE Lab, edge
strength by direction (signed, so that light-on-dark differs from dark-on-light), and texture energy
(the spread of Lab inside the window), the latter two at two scales a level. Units are fixed so that
distances mean the same in every image: 1.0 is a plain colour difference of 20 Delta E (CIE76).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.roles import Pyramid

LONGEST, SHORTEST = 640, 320  # px: the longer side is brought into this range
LEVELS = (8, 16)  # strides of the pyramid
DIRECTIONS = 8
COLOUR_UNIT = 20.0  # Delta E that makes a distance of 1
EDGE_WEIGHT, TEXTURE_WEIGHT = 20.0, 10.0  # relative to colour; chosen on PCB pairs not reported
NOISE_FLOOR = 1e-3  # mean lightness slope (of 1 a px) below which an edge counts as noise


class HandmadeFeatures:
    """``builtin:handmade@1``: :class:`~fmlad.backbones.roles.FeatureExtractor` without weights.

    Levels at strides 8 and 16 with 25 channels each, pooled ``(B, 25)``.
    """

    name = "builtin:handmade@1"
    fingerprint = "builtin:handmade@1"
    expensive = False

    def __init__(self, name: str = name, device: str = "cpu") -> None:
        self._device = device

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Pyramid:
        """``uint8 (B, 3, H, W)`` -> levels 8 and 16 of the working size, ``(B, 25, h, w)`` each."""
        octaves = [_binomial(working_lab(images, self._device))]
        while len(octaves) < 4:
            octaves.append(F.avg_pool2d(octaves[-1], 2))
        levels = {stride: _level(octaves, stride) for stride in LEVELS}
        return Pyramid(levels, levels[LEVELS[-1]].mean(dim=(2, 3)))


def working_size(height: int, width: int, longest: int = LONGEST) -> tuple[int, int]:
    """Size features are computed at: longer side in [320, longest] px, sides multiples of 16."""
    longer = max(height, width)
    scale = min(max(longer, SHORTEST), longest) / longer
    return (max(32, round(height * scale / 16) * 16), max(32, round(width * scale / 16) * 16))


def working_lab(images: Tensor, device: str) -> Tensor:
    """``uint8 (B, 3, H, W)`` sRGB as CIE Lab / 100 at the working size, ``(B, 3, h, w)``."""
    pixels = images.to(device).float() / 255
    size = working_size(*images.shape[-2:])
    if size != tuple(images.shape[-2:]):
        pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    return lab(pixels)


def lab(rgb: Tensor) -> Tensor:
    """sRGB in [0, 1], ``(B, 3, H, W)``, to CIE Lab (D65) divided by 100, same shape."""
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    # sRGB primaries to XYZ, each row divided by the D65 white point.
    matrix = rgb.new_tensor(
        [
            [0.4124564 / 0.95047, 0.3575761 / 0.95047, 0.1804375 / 0.95047],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339 / 1.08883, 0.1191920 / 1.08883, 0.9503041 / 1.08883],
        ]
    )
    xyz = torch.einsum("ij,bjhw->bihw", matrix, linear)
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp_min(1e-6) ** (1 / 3), xyz * 841 / 108 + 4 / 29)
    x, y, z = f.unbind(1)
    return torch.stack([1.16 * y - 0.16, 5 * (x - y), 2 * (y - z)], dim=1)


def _level(octaves: list[Tensor], stride: int) -> Tensor:
    """One level: colour, and edges and texture from two octaves of finer stride."""
    parts = [100 / COLOUR_UNIT * _pool(octaves[0], stride)]
    first = int(math.log2(stride)) - 2
    for index in (first, first + 1):
        octave, window = octaves[index], stride >> index
        energy = _pool(_directional_edges(octave[:, :1]), window)
        parts.append(EDGE_WEIGHT * ((energy + NOISE_FLOOR).sqrt() - NOISE_FLOOR**0.5))
        mean = _pool(octave, window)
        variance = (_pool(octave.square(), window) - mean.square()).clamp_min(0)
        parts.append(TEXTURE_WEIGHT * variance.sqrt())
    return torch.cat(parts, dim=1)


def _directional_edges(lightness: Tensor) -> Tensor:
    """Slope split over ``DIRECTIONS`` half-plane directions, ``(B, 1, H, W) -> (B, 8, H, W)``."""
    dx, dy = slopes(lightness)
    strength = (dx.square() + dy.square()).sqrt().clamp_min(1e-8)
    angles = [2 * math.pi * k / DIRECTIONS for k in range(DIRECTIONS)]
    along = [(dx * math.cos(a) + dy * math.sin(a)).clamp_min(0) for a in angles]
    return torch.cat([a.square() / strength for a in along], dim=1)


def slopes(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y, of the shape of ``maps (B, C, H, W)``."""
    padded = F.pad(maps, (1, 1, 1, 1), mode="replicate")
    dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return dx, dy


def _pool(maps: Tensor, window: int) -> Tensor:
    """Average over blocks, then a binomial blur: a smooth, overlapping window."""
    return _binomial(F.avg_pool2d(maps, window) if window > 1 else maps)


def _binomial(maps: Tensor) -> Tensor:
    channels = maps.shape[1]
    kernel = maps.new_tensor([0.25, 0.5, 0.25])
    padded = F.pad(maps, (1, 1, 1, 1), mode="replicate")
    rows = F.conv2d(padded, kernel.view(1, 1, 1, 3).expand(channels, 1, 1, 3), groups=channels)
    return F.conv2d(rows, kernel.view(1, 1, 3, 1).expand(channels, 1, 3, 1), groups=channels)
