"""CSAD's teacher, its local student and its global one (an autoencoder).

Two families: over pixels, as published, and over the maps of the encoder that made the teacher's
features (ours: a hundredth of the work, and the maps of training images can be kept).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fmlad.networks.feature_maps import Standard, at_grid

Heads = Literal["heads", "double", "same"]

DECODER = (64, 32, 16, 8, 4, 2)  # the decoder's sizes are the input's side over these, or one less
DROPOUT = 0.2


class Teacher(nn.Module):
    """Levels of a frozen encoder as one normalised map; nothing of it is trained.

    The levels are joined on a grid and averaged over 3x3 cells (released code), mixed by random
    weights that stay as they are, and brought to mean 0 and deviation 1.

    Attributes:
        grid: Cells on a side.
        channels: Of the outcome.
        standard: By the training images.
    """

    def __init__(
        self, levels: Sequence[int], grid: int, channels: int | None, averaged: int = 3
    ) -> None:
        """Over levels with so many channels each.

        ``channels=None`` mixes nothing; ``averaged`` is the side of the average, in cells.
        """
        super().__init__()
        total = sum(levels)
        self.grid, self.channels, self.averaged = grid, channels or total, averaged
        self.mix = nn.Conv2d(total, channels, 1) if channels else nn.Identity()
        self.standard = Standard(self.channels)
        self.requires_grad_(False)

    def raw(self, levels: Sequence[Tensor]) -> Tensor:
        """``(B, C, h, w)`` each -> ``(B, channels, grid, grid)``, not yet normalised."""
        joined = torch.cat([at_grid(level, self.grid) for level in levels], dim=1)
        # Averages of few cells are several times as quick on a CPU with channels last.
        joined = joined.contiguous(memory_format=torch.channels_last)
        mixed: Tensor = self.mix(F.avg_pool2d(joined, self.averaged, 1, self.averaged // 2))
        return mixed

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """``(B, C, h, w)`` each -> ``(B, channels, grid, grid)``."""
        found: Tensor = self.standard(self.raw(levels))
        return found


class Students(nn.Module):
    """A body and what it ends in: a map that imitates the teacher and one the autoencoder.

    CSAD, Table 5: two 1x1 ``"heads"`` (its own), one layer of ``"double"`` width whose halves are
    the two (EfficientAD), or the ``"same"`` map for both.
    """

    def __init__(
        self, body: nn.Module, width: int, channels: int, ends: Heads, grid: int,
        around: bool = True,
    ) -> None:  # fmt: skip
        """``body`` gives maps of ``width`` channels; the outcome has ``channels`` on ``grid``.

        ``around=False``: no layer behind the body sees more than a cell.
        """
        super().__init__()
        self.body, self.ends, self.grid = body, ends, grid
        count = {"heads": 2, "double": 1, "same": 1}[ends]
        each = 2 * channels if ends == "double" else channels
        # Of double width is a layer that looks around, as EfficientAD's last; heads do not.
        kernel = 3 if ends == "double" and around else 1
        self.heads = nn.ModuleList(
            nn.Conv2d(width, each, kernel, padding=kernel // 2) for _ in range(count)
        )

    def forward(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, c, h, w)`` -> two maps ``(B, channels, grid, grid)``."""
        maps = at_grid(self.body(source), self.grid)
        found = [head(maps) for head in self.heads]
        if self.ends == "double":
            local, other = found[0].chunk(2, dim=1)
            return local, other
        return found[0], found[-1]


def pixel_body(width: int = 512) -> nn.Sequential:
    """The local student's convolutions over pixels, with a receptive field of 33 px.

    256 px become 64 cells. The first layer has half of ``width``.
    """
    return nn.Sequential(
        nn.Conv2d(3, width // 2, 4, padding=3), nn.ReLU(), nn.AvgPool2d(2, 2, 1),
        nn.Conv2d(width // 2, width, 4, padding=3), nn.ReLU(), nn.AvgPool2d(2, 2, 1),
        nn.Conv2d(width, width, 1), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, width, 4), nn.ReLU(),
    )  # fmt: skip


class PixelAutoencoder(nn.Sequential):
    """The global student over pixels: EfficientAD's autoencoder (there, Table 7)."""

    def __init__(self, side: int, channels: int, grid: int) -> None:
        """For inputs of ``side`` px, a multiple of 64; ``channels`` on ``grid``."""
        layers: list[nn.Module] = []
        for before, after in zip((3, 32, 32, 64, 64), (32, 32, 64, 64, 64), strict=True):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.ReLU()]
        layers.append(nn.Conv2d(64, 64, side // 32))  # to a single cell, and no ReLU behind it
        for place, over in enumerate(DECODER):
            size = max(1, side // over - (0 if place in (1, 3) else 1))
            layers += [
                nn.Upsample((size, size), mode="bilinear"), nn.Conv2d(64, 64, 4, padding=2),
                nn.ReLU(), nn.Dropout(DROPOUT),
            ]  # fmt: skip
        layers += [
            nn.Upsample((grid, grid), mode="bilinear"), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
            nn.Conv2d(64, channels, 3, padding=1),
        ]  # fmt: skip
        super().__init__(*layers)


class Surroundings(nn.Conv2d):
    """A convolution over the cells around each cell, which does not see the cell itself.

    Beyond its border the map goes on as it ends.
    """

    hole: Tensor

    def __init__(self, before: int, after: int, kernel: int = 3) -> None:
        """An odd ``kernel``."""
        super().__init__(before, after, kernel)
        hole = torch.ones(kernel, kernel)
        hole[kernel // 2, kernel // 2] = 0
        self.register_buffer("hole", hole, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """``(B, before, h, w)`` -> ``(B, after, h, w)``."""
        reach = self.kernel_size[0] // 2
        padded = F.pad(maps, (reach,) * 4, mode="replicate")
        return F.conv2d(padded, self.weight * self.hole, self.bias)


def level_body(levels: int, width: int) -> nn.Sequential:
    """The local student's convolutions over the encoder's finest map of ``levels`` channels.

    Half as many cells on a side. Cells see two neighbours of theirs to each side.
    """
    return nn.Sequential(
        Standard(levels), nn.Conv2d(levels, width, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
    )  # fmt: skip


def surroundings_body(channels: int, width: int) -> nn.Sequential:
    """The local student over the teacher's own map ``(B, channels, h, w)``.

    Each cell is told by the cells around it.
    """
    return nn.Sequential(
        Surroundings(channels, width), nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU()
    )
