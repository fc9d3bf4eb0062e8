"""A real pretrained network for benchmarks: SqueezeNet 1.0, as its ImageNet weights want it fed."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import shared
from fmlad.backbones.roles import Pyramid

SIDE = 320  # px of the longer side; the network was trained on 227
MEAN = (104.0, 117.0, 123.0)  # of blue, green and red in [0, 255]
STAGES = {4: 6, 8: 11, 16: 13}  # stride: layers up to there


class SqueezeNet:
    """:class:`~fmlad.backbones.roles.FeatureExtractor`: one stage, cells brought to norm 1."""

    expensive = False

    def __init__(self, stride: int, weights: Path | None = None) -> None:
        """Reads the weights, by default the shared ones; ``stride`` is 4, 8 or 16."""
        from torchvision.models import squeezenet1_0

        path = weights or shared("weights", "squeezenet1_0_imagenet.pth")
        model = squeezenet1_0()
        model.load_state_dict(torch.load(path, weights_only=True))
        self._layers = model.eval().features[: STAGES[stride]]
        self._stride = stride
        self.name = self.fingerprint = f"benchmark:squeezenet-{stride}"

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Pyramid:
        """``uint8 (B, 3, H, W)`` -> one level ``(B, C, h, w)``."""
        longer = max(images.shape[-2:])
        height, width = (max(32, round(s * SIDE / longer / 32) * 32) for s in images.shape[-2:])
        pixels = F.interpolate(images.float(), (height, width), mode="bilinear", antialias=True)
        pixels = pixels.flip(1) - pixels.new_tensor(MEAN)[:, None, None]
        level = F.normalize(self._layers(pixels), dim=1)
        return Pyramid({self._stride: level}, level.mean(dim=(2, 3)))
