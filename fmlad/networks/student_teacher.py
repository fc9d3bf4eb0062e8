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

Heads = Literal["heads", "double", "same"]

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for values in 0..1
DECODER = (64, 32, 16, 8, 4, 2)  # the decoder's sizes are the input's side over these, or one less
DROPOUT = 0.2


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

    def learn(self, maps: Sequence[Tensor]) -> None:
        """Sets the moments by maps ``(1, channels, h, w)`` of the training images."""
        raw = [one.double() for one in maps]
        mean = torch.stack([one.mean((0, 2, 3)) for one in raw]).mean(0)
        squares = [(one - mean[:, None, None]).square().mean((0, 2, 3)) for one in raw]
        self.mean.copy_(mean)
        self.deviation.copy_(torch.stack(squares).mean(0).sqrt().clamp(min=1e-6))


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


class LevelAutoencoder(nn.Sequential):
    """The global student over the encoder's deepest map: one vector of it and back."""

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
