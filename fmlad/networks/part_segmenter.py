"""PSAD's part segmenter: maps of an encoder and the place of a pixel say what part it is.

Wherever maps are resized here, the centres of their corner cells stay where they are
(``align_corners``), as in PSAD's released code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PixelClassifier(nn.Module):
    """Two 1x1 convolutions over all levels and two coordinates, joined on the finest grid.

    Attributes:
        scale: Factor of the coordinates; 1 in PSAD's released code (30 in its second network).
        harmonics: Number of sines and cosines of each coordinate that are joined to it, with 1, 2,
            ... half waves across the image (ours): a place in the middle is then as easy to tell
            from its surroundings as one at the edge.
        context: Channels of a :class:`Context` over the joined maps, or 0 (ours).
        mean: Of each channel of the levels, ``(C,)``; 0 unless :meth:`standardise` was called.
        deviation: In the same way; 1.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        hidden: int | None = None,
        scale: float = 1.0,
        harmonics: int = 0,
        context: int = 0,
    ) -> None:
        """For levels of so many ``channels``, finest first.

        Args:
            channels: Of each level.
            classes: K, the background included.
            hidden: Channels between the convolutions; None: half of what comes in (PSAD).
            scale: See above.
            harmonics: See above.
            context: See above.
        """
        super().__init__()
        total = sum(channels)
        hidden = hidden or (total + 2) // 2
        self.scale, self.harmonics = scale, harmonics
        self._places = 2 + 4 * harmonics
        self.first = nn.Conv2d(total + self._places, hidden, 1)
        self.context = Context(hidden, context) if context else None
        self.last = nn.Conv2d(hidden, classes, 1)
        self.register_buffer("mean", torch.zeros(total))
        self.register_buffer("deviation", torch.ones(total))

    def standardise(self, mean: Tensor, deviation: Tensor) -> None:
        """Channels of the levels are brought to mean 0 and deviation 1 by these, ``(C,)`` each."""
        self.mean.copy_(mean)
        self.deviation.copy_(deviation.clamp(min=1e-6))

    def forward(self, levels: Sequence[Tensor], coordinates: Tensor) -> Tensor:
        """Logits on the grid of the finest level.

        Args:
            levels: float ``(B, C, h, w)`` each, the finest first.
            coordinates: float ``(B, 2, H, W)``, x and y in 0..1 (:func:`coordinates`), of any size.

        Returns:
            float ``(B, K, h, w)``.
        """
        grid = levels[0].shape[-2:]
        counts = [level.shape[1] for level in levels]
        weights = torch.split(self.first.weight, [*counts, self._places], dim=1)
        moments = zip(*(torch.split(of, counts) for of in (self.mean, self.deviation)), strict=True)
        hidden = F.conv2d(
            encoded(resized(coordinates, grid), self.scale, self.harmonics),
            weights[-1],
            self.first.bias,
        )
        # Resizing and a 1x1 convolution may change places; this way round it is a quarter of work.
        for level, weight, (mean, deviation) in zip(levels, weights[:-1], moments, strict=True):
            standard = (level - mean[:, None, None]) / deviation[:, None, None]
            hidden = hidden + resized(F.conv2d(standard, weight), grid)
        if self.context is not None:
            hidden = hidden + self.context(hidden)
        logits: Tensor = self.last(F.relu(hidden))
        return logits


class Context(nn.Module):
    """What surrounds a pixel: dilated 3x3 convolutions on a grid of half the resolution (ours).

    A pixel of a thread is that of a long or of a short screw by what is some way off; a pixel
    classifier knows as much of that as the encoder's deepest map does.
    """

    DILATIONS = (1, 2, 4, 8, 4, 2, 1)

    def __init__(self, channels: int, width: int) -> None:
        """``(B, channels, h, w)`` -> the same; ``width``: channels inside, a multiple of 8."""
        super().__init__()
        self.inward = nn.Conv2d(channels, width, 1)
        self.steps = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=apart, dilation=apart) for apart in self.DILATIONS
        )
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for _ in self.DILATIONS)
        self.outward = nn.Conv2d(width, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """What is to be added to the maps."""
        inner = self.inward(F.avg_pool2d(F.relu(maps), 2, ceil_mode=True))
        for norm, step in zip(self.norms, self.steps, strict=True):
            inner = inner + step(F.relu(norm(inner)))
        return resized(self.outward(F.relu(inner)), maps.shape[-2:])


class PartSegmenter(nn.Module):
    """An encoder (:class:`fmlad.backbones.roles.Encoder`) and its pixel classifier."""

    def __init__(self, encoder: nn.Module, classifier: PixelClassifier) -> None:
        """``encoder``: ``(B, 3, H, W)`` in 0..255 -> maps, the finest first; frozen or not."""
        super().__init__()
        self.encoder, self.classifier = encoder, classifier

    def forward(self, images: Tensor, coordinates: Tensor) -> Tensor:
        """Logits at the size of the input.

        Args:
            images: RGB in 0..255, uint8 or float ``(B, 3, H, W)``.
            coordinates: float ``(B, 2, H, W)``, as :meth:`PixelClassifier.forward` takes them.

        Returns:
            float ``(B, K, H, W)``.
        """
        return resized(self.classifier(self.encoder(images), coordinates), images.shape[-2:])


def coordinates(height: int, width: int) -> Tensor:
    """Place of each pixel: float32 ``(2, H, W)``, x and y from 0 at one side to 1 at the other."""
    y, x = torch.linspace(0, 1, height), torch.linspace(0, 1, width)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"))


def encoded(coordinates: Tensor, scale: float, harmonics: int) -> Tensor:
    """Coordinates times ``scale``, then the sines and cosines of 1 to ``harmonics`` half waves.

    Args:
        coordinates: float ``(B, 2, h, w)``.
        scale: Of the coordinates alone.
        harmonics: 0 or more.

    Returns:
        float ``(B, 2 + 4 * harmonics, h, w)``.
    """
    joined = [scale * coordinates]
    for number in range(1, harmonics + 1):
        angle = math.pi * number * coordinates
        joined += [angle.sin(), angle.cos()]
    return torch.cat(joined, dim=1)


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps ``(B, C, h, w)`` at ``size``, rows and columns; bilinear, corners kept."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=True)
