"""Joint bilateral upsampling (Kopf et al., SIGGRAPH 2007) without parameters to load.

A feature spreads to where the picture looks alike. In FeatUp's stages of two, with a Gaussian of
the colour difference in place of its learned one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.upsampling import check, gathered, shifts, spatial, stages

SIGMA_COLOUR = 0.15  # RGB distance in [0, sqrt(3)]; ours, between the usual 0.1 and 0.2
SIGMA_SPACE = 1.0  # radii of the neighbourhood; FeatUp's start value


class JointBilateral:
    """``builtin:bilateral@1``: :class:`~fmlad.backbones.roles.Upsampler` without weights.

    Every output lies between the least and the greatest of the inputs around it, so a constant map
    stays as it is.
    """

    name = "builtin:bilateral@1"
    fingerprint = "builtin:bilateral@1"
    expensive = False

    def __init__(self, name: str = name, device: str = "cpu") -> None:
        self._device = device

    @torch.inference_mode()
    def __call__(self, features: Tensor, guidance: Tensor, factor: int) -> Tensor:
        """Sharper maps.

        Args:
            features: float ``(B, C, h, w)``, spanning the picture.
            guidance: uint8 ``(B, 3, H, W)`` of any size.
            factor: 1 (returned as they came), 2, 4, 8 or 16.

        Returns:
            float32 ``(B, C, factor * h, factor * w)``.

        Raises:
            OptionError: Another factor, or shapes that do not fit.
        """
        doublings = stages(factor)
        check(features, guidance)
        maps = features.to(self._device).float()
        picture = guidance.to(self._device).float() / 255
        for _ in range(doublings):
            height, width = maps.shape[-2:]
            weights = colour_kernel(F.adaptive_avg_pool2d(picture, (2 * height, 2 * width)))
            # Bilinear: bicubic interpolation would leave the range of the values.
            maps = gathered(maps, weights, "bilinear")
        return maps


def colour_kernel(picture: Tensor) -> Tensor:
    """Weights of the neighbours by colour and distance, summing to 1.

    Args:
        picture: RGB in [0, 1], ``(B, 3, H, W)``.

    Returns:
        ``(B, 49, H, W)``.
    """
    apart = [(neighbour - picture).square().sum(1) for neighbour in shifts(picture)]
    alike = torch.exp(-torch.stack(apart, 1) / (2 * SIGMA_COLOUR**2))
    near = spatial(torch.tensor(SIGMA_SPACE, device=picture.device))
    weights = alike * near[:, None, None]
    return weights / weights.sum(1, keepdim=True)  # the place itself has weight 1: never 0
