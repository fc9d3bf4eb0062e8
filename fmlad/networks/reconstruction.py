"""ULSAD's networks: what is reconstructed, the feature reconstruction network, the autoencoder.

Patra and Ben Taieb, TMLR 2024, Tables 5 and 6, in the sizes of the released code where the tables
have others. Widths may be smaller than published.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fmlad.networks.feature_maps import Standard, at_grid

Final = Literal["relu", "linear"]

SLOPE = 0.01  # of the leaky ReLU whose gain scales the first weights (released code)
LEAST_VARIANCE = 1e-4  # of the autoencoder's normalisation (released code)
# The decoder's sizes: the input's side over the first number, less the second (released code).
DECODER = ((64, 1), (32, 0), (16, 1), (8, 1), (4, 1))


class Aggregator(nn.Module):
    """Levels of a frozen encoder as one normalised map; nothing of it is trained.

    The levels are joined on a grid, averaged over groups of consecutive channels (released code),
    and brought to mean 0 and deviation 1 by the training images (ULSAD, section 3.4).

    Attributes:
        grid: Cells on a side.
        channels: Of the outcome, c* in the paper.
        standard: By the training images.
    """

    def __init__(self, levels: Sequence[int], grid: int, channels: int | None) -> None:
        """Over levels with so many channels each.

        Args:
            levels: Channels of each level, finest first.
            grid: Cells on a side of the outcome.
            channels: Of the outcome, at most; None: all that the levels have.
        """
        super().__init__()
        total = sum(levels)
        self.grid, self.channels = grid, min(channels or total, total)
        self.standard = Standard(self.channels)

    def raw(self, levels: Sequence[Tensor]) -> Tensor:
        """``(B, C, h, w)`` each -> ``(B, channels, grid, grid)``, not yet normalised."""
        joined = torch.cat([at_grid(level, self.grid) for level in levels], dim=1)
        if joined.shape[1] == self.channels:
            return joined
        rows = joined.flatten(2).transpose(1, 2)  # channels last, as a signal to be pooled
        pooled = F.adaptive_avg_pool1d(rows, self.channels).transpose(1, 2)
        return pooled.reshape(-1, self.channels, self.grid, self.grid)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """``(B, C, h, w)`` each -> ``(B, channels, grid, grid)``."""
        found: Tensor = self.standard(self.raw(levels))
        return found


class ReconstructionNetwork(nn.Sequential):
    """The feature reconstruction network (FRN; Table 5), convolutional throughout.

    ``(B, channels, h, w)``, h and w multiples of 4 -> ``(B, 2 * channels, h, w)``. The first half
    of the channels is the local reconstruction, the second the imitation of the global autoencoder
    (:func:`halves`).

    Its outcome is non-negative with ``final="relu"``, as published; the negative half of a
    normalised map is then out of its reach. ``"linear"`` leaves out what follows the last layer.
    """

    def __init__(self, channels: int, width: int, kernel: int = 5, final: Final = "relu") -> None:
        """For maps of ``channels``.

        Args:
            channels: c* in the paper, of the input.
            width: Channels after the first layer, even (published: twice those of the input); the
                next two have twice as many.
            kernel: Side of the last layer's kernel in cells, odd (published 5).
            final: What follows the last layer.
        """
        wide, half = 2 * width, width // 2
        super().__init__(
            nn.Conv2d(channels, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, wide, 3, 2, 1), nn.BatchNorm2d(wide), nn.ReLU(),
            nn.Conv2d(wide, wide, 3, 1, 1), nn.BatchNorm2d(wide),
            nn.ConvTranspose2d(wide, width, 4, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.ConvTranspose2d(width, half, 4, 2, 1), nn.BatchNorm2d(half), nn.ReLU(),
            nn.ConvTranspose2d(half, 2 * channels, kernel, 1, kernel // 2),
        )  # fmt: skip
        if final == "relu":
            self.append(nn.BatchNorm2d(2 * channels))
            self.append(nn.ReLU())
        gain = nn.init.calculate_gain("leaky_relu", SLOPE)
        for layer in self:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(layer.weight, gain)


def halves(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Local reconstruction and imitation of the autoencoder, ``(B, channels, h, w)`` each."""
    local, other = maps.chunk(2, dim=1)
    return local, other


class GlobalAutoencoder(nn.Sequential):
    """The global autoencoder (Table 6): from pixels to one cell, and from there to maps.

    ``(B, 3, side, side)``, normalised -> ``(B, channels, side / 8, side / 8)``. In training mode it
    takes at least two images: the normalisation of a single cell has no spread.
    """

    def __init__(self, side: int, channels: int, width: int = 64) -> None:
        """For inputs of ``side`` px, a multiple of 64; ``channels`` on ``side / 8`` cells.

        ``width`` is that of all layers but the first two, which have half of it (published 64).
        """
        layers: list[nn.Module] = []
        widths = (3, width // 2, width // 2, width, width, width)
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, 2, 1), _normal(after), nn.ReLU()]
        layers += [nn.Conv2d(width, width, side // 32), _normal(width), nn.ReLU()]
        for over, less in DECODER:
            size = max(1, side // over - less)
            layers += [
                nn.Upsample((size, size), mode="bilinear"), nn.Conv2d(width, width, 4, padding=2),
                _normal(width), nn.ReLU(),
            ]  # fmt: skip
        grid = side // 8
        layers += [
            nn.Upsample((grid, grid), mode="bilinear"), nn.Conv2d(width, width, 3, padding=1),
            _normal(width), nn.ReLU(), nn.Conv2d(width, channels, 3, padding=1),
        ]  # fmt: skip
        super().__init__(*layers)


def _normal(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, LEAST_VARIANCE, affine=False)
