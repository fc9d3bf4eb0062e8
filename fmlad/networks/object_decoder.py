"""The decoder of the embedded mask proposer: from EfficientNet-Lite0's stages to maps of objects.

A feature pyramid (Lin et al., 2017) from stride 32 up to 4, where the pixels themselves join. What
it says is about the partition of an image into innermost objects, of which the ground is one:
whether two pixels belong together (affinities, as in the mutex watershed: Wolf et al., 2018), and
what a pixel belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

STAGES = (0, 1, 2, 4, 6)  # of EfficientNet-Lite0's seven, the last one of each stride
CHANNELS = {2: 16, 4: 24, 8: 40, 16: 112, 32: 320}  # of these, by stride
MAPS = ("covered", "leaf", "boundary", "interior")
FINE, COARSE = 2, 4  # strides of the maps and of the affinities
# Displacements (rows, columns) of the affinities in cells of COARSE: four directions each.
REACHES = (1, 3, 8, 20)
OFFSETS = tuple((r * y, r * x) for r in REACHES for y, x in ((0, 1), (1, 0), (1, 1), (1, -1)))


@dataclass(frozen=True)
class ObjectMaps:
    """What the decoder says about some images, as logits.

    Attributes:
        maps: float32 ``(B, 4, h, w)`` at stride 2, in the order of :data:`MAPS`: lies on any
            object; the innermost object there holds no other; beside an outline; nearness to the
            middle of the innermost object (0 at its outline).
        affinities: float32 ``(B, 16, h / 2, w / 2)`` at stride 4, in the order of :data:`OFFSETS`:
            a cell and the one displaced from it have the same innermost object.
    """

    maps: Tensor
    affinities: Tensor

    def without(self, border: int) -> ObjectMaps:
        """The inner part of a framed image; ``border`` in its pixels, a multiple of 4."""
        fine, coarse = border // FINE, border // COARSE
        maps = self.maps[..., fine:-fine, fine:-fine]
        return ObjectMaps(maps, self.affinities[..., coarse:-coarse, coarse:-coarse])


class ObjectDecoder(nn.Module):
    """About 0.45 million weights."""

    def __init__(self, width: int = 48) -> None:
        """``width``: channels at stride 4; coarser levels have up to twice as many."""
        super().__init__()
        middle, wide = 4 * width // 3, 2 * width
        self.lateral32 = _convolution(CHANNELS[32], wide, 1)
        self.smooth32 = _convolution(wide, wide)
        self.overall = nn.Linear(wide, wide)
        self.lateral16 = _convolution(CHANNELS[16], wide, 1)
        self.smooth16 = _convolution(wide, wide)
        self.narrow16 = _convolution(wide, middle, 1)
        self.lateral8 = _convolution(CHANNELS[8], middle, 1)
        self.smooth8 = nn.Sequential(_convolution(middle, middle), _convolution(middle, middle))
        self.narrow8 = _convolution(middle, width, 1)
        self.lateral4 = _convolution(CHANNELS[4] + 4 * CHANNELS[2] + 3 * 16, width, 1)
        self.smooth4 = nn.Sequential(_convolution(width, width), _convolution(width, width))
        self.maps = nn.Conv2d(width, 4 * len(MAPS), 3, padding=1)
        self.affinities = nn.Conv2d(width, len(OFFSETS), 3, padding=1)

    def forward(self, pixels: Tensor, stages: Sequence[Tensor]) -> ObjectMaps:
        """The input of EfficientNet-Lite0, ``(B, 3, H, W)``, and the outputs of its seven stages.

        Sides are multiples of 16; maps of stride 32 are rounded up.
        """
        stage2, stage4, stage8, stage16, stage32 = (stages[number] for number in STAGES)
        top = self.smooth32(self.lateral32(stage32))
        top = top + self.overall(top.mean((2, 3)))[..., None, None]
        deep = self.smooth16(self.lateral16(stage16) + _resized(top, stage16))
        middle = self.lateral8(stage8) + _resized(self.narrow16(deep), stage8)
        middle = self.smooth8(middle)
        fine = torch.cat(
            [stage4, F.pixel_unshuffle(stage2, 2), F.pixel_unshuffle(pixels, 4)], dim=1
        )
        fine = self.smooth4(self.lateral4(fine) + _resized(self.narrow8(middle), fine))
        maps = F.pixel_shuffle(self.maps(fine).float(), COARSE // FINE)
        return ObjectMaps(maps, self.affinities(fine).float())


def displaced(size: tuple[int, ...], down: int, right: int) -> tuple[Any, Any]:
    """Where cells of a grid ``size`` have a displaced one inside it, and where that lies."""
    rows, columns = size
    left, back = max(right, 0), max(-right, 0)
    here = np.s_[: max(rows - down, 0), back : max(columns - left, back)]
    there = np.s_[down:, left : max(columns - back, left)]
    return here, there


def _convolution(inputs: int, outputs: int, side: int = 3) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _resized(maps: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(maps, like.shape[-2:], mode="bilinear", align_corners=False)
