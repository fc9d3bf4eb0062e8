"""A DeepLabV3+ decoder over maps of an encoder (Chen et al. 2018; CSAD, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, SHALLOW = 256, 48  # channels (DeepLabV3+)
RATES = (6, 12, 18)  # dilations (DeepLabV3+, output stride 16)


class DeepLabDecoder(nn.Module):
    """Atrous spatial pyramid pooling over the deepest map, joined with the finest one.

    Batch normalisation has PyTorch's momentum 0.1: CSAD's code has 0.999, which is the convention
    of another framework and here would make the running statistics those of the last batch.
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        width: int = WIDTH,
        shallow: int = SHALLOW,
        rates: Sequence[int] = RATES,
    ) -> None:
        """For levels of so many ``channels``, finest first; those between the ends are not used.

        Args:
            channels: Of each level.
            classes: K, the background included.
            width: Channels within.
            shallow: Channels that are kept of the finest level.
            rates: Dilations of the pyramid's 3x3 convolutions.
        """
        super().__init__()
        finest, deepest = channels[0], channels[-1]
        self.point = _block(deepest, width, 1)
        self.dilated = nn.ModuleList(_block(deepest, width, 3, rate) for rate in rates)
        self.pooled = _block(deepest, width, 1)
        self.joined = _block((2 + len(rates)) * width, width, 1)
        self.shallow = _block(finest, shallow, 1)
        self.refined = nn.Sequential(_block(width + shallow, width, 3), _block(width, width, 3))
        self.last = nn.Conv2d(width, classes, 1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Logits on the grid of the finest level.

        Args:
            levels: float ``(B, C, h, w)`` each, finest first; B is 2 or more in training.

        Returns:
            float ``(B, K, h, w)``.
        """
        finest, deepest = levels[0], levels[-1]
        pooled = self.pooled(deepest.mean((2, 3), keepdim=True)).expand(-1, -1, *deepest.shape[2:])
        branches = [self.point(deepest), *(one(deepest) for one in self.dilated), pooled]
        context = _resized(self.joined(torch.cat(branches, 1)), finest.shape[-2:])
        logits: Tensor = self.last(self.refined(torch.cat([context, self.shallow(finest)], dim=1)))
        return logits


def _block(inputs: int, outputs: int, kernel: int, rate: int = 1) -> nn.Sequential:
    """Convolution that keeps the size, batch normalisation, ReLU."""
    padding = rate * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=rate, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)
