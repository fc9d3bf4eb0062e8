"""What networks that reproduce the maps of an encoder share: moments, grids, and a small one."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for values in 0..1
LEAST = 0.01  # least deviation of a channel, as a share of the median one
SMALLEST = 1e-6  # the same where nothing varies


class Standard(nn.Module):
    """Brings channels to mean 0 and deviation 1; as it is built, it changes nothing.

    Attributes:
        mean, deviation: ``(channels,)`` each.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """``(B, channels, h, w)``."""
        return (maps - self.mean[:, None, None]) / self.deviation[:, None, None]

    def learn(self, maps: Iterable[Tensor]) -> None:
        """Sets the moments by maps ``(1, channels, h, w)`` of the training images, read once."""
        means, variances = [], []
        for one in maps:
            raw = one.double()
            means.append(raw.mean((0, 2, 3)))
            variances.append(raw.var((0, 2, 3), correction=0))
        mean = torch.stack(means).mean(0)
        squares = torch.stack(variances) + (torch.stack(means) - mean).square()
        self.mean.copy_(mean)
        deviation = squares.mean(0).sqrt()
        # A channel that hardly ever varies must not outweigh all others when it does.
        least = max(LEAST * float(deviation.median()), SMALLEST)
        self.deviation.copy_(deviation.clamp(min=least))


class LevelAutoencoder(nn.Sequential):
    """An autoencoder over the encoder's deepest map: one vector of it and back (ours)."""

    def __init__(self, levels: int, cells: int, width: int, channels: int, grid: int) -> None:
        """For maps of ``levels`` channels, ``cells`` on a side, a multiple of 4 or less than 4."""
        halvings = 2 if cells >= 8 else 0
        layers: list[nn.Module] = [Standard(levels)]
        for place in range(halvings):
            before = width if place else levels
            layers += [nn.Conv2d(before, width, 4, 2, 1), nn.ReLU()]
        layers.append(nn.Conv2d(width if halvings else levels, width, cells // 2**halvings))
        size = 2
        while size < grid:
            layers += [
                nn.Upsample((size, size), mode="bilinear"), nn.Conv2d(width, width, 3, padding=1),
                nn.ReLU(),
            ]  # fmt: skip
            size *= 2
        # What one vector remembers is coarse: the last step is interpolated.
        layers += [nn.Conv2d(width, channels, 1), nn.Upsample((grid, grid), mode="bilinear")]
        super().__init__(*layers)


def normalised(pixels: Tensor) -> Tensor:
    """RGB in 0..255, uint8 or float ``(B, 3, H, W)``, by ImageNet's moments."""
    mean, deviation = (pixels.new_tensor(of, dtype=torch.float32) for of in (MEAN, DEVIATION))
    return (pixels.float() / 255 - mean[:, None, None]) / deviation[:, None, None]


def at_grid(maps: Tensor, grid: int) -> Tensor:
    """Maps ``(B, C, h, w)`` at ``(B, C, grid, grid)``, bilinear; cells span the image."""
    if tuple(maps.shape[-2:]) == (grid, grid):
        return maps
    return F.interpolate(maps, (grid, grid), mode="bilinear")
