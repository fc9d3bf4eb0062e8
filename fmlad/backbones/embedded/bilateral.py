"""Joint bilateral upsampling (Kopf et al., SIGGRAPH 2007) without parameters to load.

Every place of the fine grid takes the features of the nine coarse cells around it, weighted by
distance and by how much its colour is like the cell's mean colour. A cell across an edge is like
neither side of it, so what is mixed in it spreads to neither.

In one step, because FeatUp's stages of two, with a plain Gaussian of the colours in place of what
was learned, hardly reach past the mixed cells.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.upsampling import CHUNK, check, shifts

SIGMA_COLOUR = 0.1  # RGB distance in [0, sqrt(3)]; chosen on scenes that are not reported
SIGMA_SPACE = 0.5  # coarse cells; likewise


class JointBilateral:
    """``builtin:bilateral@1``: :class:`~fmlad.backbones.roles.Upsampler` without weights.

    Every output lies between the least and the greatest of the nine inputs around it, so a constant
    map stays as it is.
    """

    name = "builtin:bilateral@1"
    fingerprint = "builtin:bilateral@1"
    expensive = False

    def __init__(self, name: str = name, device: str = "cpu") -> None:
        self._device = device

    @torch.inference_mode()
    def __call__(self, features: Tensor, guidance: Tensor, factor: int) -> Tensor:
        """``(B, C, h, w)`` and uint8 ``(B, 3, H, W)`` -> float32 ``(B, C, factor h, factor w)``.

        Raises:
            OptionError: A factor other than 1 (changes nothing), 2, 4, 8 and 16, or shapes that do
                not fit.
        """
        check(features, guidance, factor)
        maps = features.to(self._device).float()
        if factor == 1:
            return maps
        batch, channels, height, width = maps.shape
        image = guidance.to(self._device).float() / 255
        kernel = weights(image, (height, width), factor)
        out = maps.new_zeros((batch, channels, height, factor, width, factor))
        piece = max(1, CHUNK // (batch * height * width * factor * factor))
        for start in range(0, channels, piece):
            part = slice(start, start + piece)
            for number, cells in enumerate(shifts(maps[:, part], 1)):
                out[:, part].addcmul_(cells[:, :, :, None, :, None], kernel[:, number, None])
        return out.reshape(batch, channels, height * factor, width * factor)


def weights(image: Tensor, grid: tuple[int, int], factor: int) -> Tensor:
    """Weights of the nine cells around each fine place, summing to 1, in row-major order.

    RGB in [0, 1], ``(B, 3, H, W)``, and a grid of ``(h, w)`` cells of ``factor`` fine places a side
    -> ``(B, 9, h, factor, w, factor)``.
    """
    height, width = grid
    fine = F.adaptive_avg_pool2d(image, (height * factor, width * factor))
    fine = fine.view(len(image), 3, height, factor, width, factor)
    # The position within its cell of each fine place, from the centre, in cells.
    within = (torch.arange(factor, device=image.device) + 0.5) / factor - 0.5
    exponents = []
    means = shifts(F.adaptive_avg_pool2d(image, grid), 1)
    for (down, across), mean in zip(product((-1, 0, 1), repeat=2), means, strict=True):
        apart = (fine - mean[:, :, :, None, :, None]).square().sum(1)
        away = (within - down).square()[:, None, None] + (within - across).square()
        exponents.append(-apart / (2 * SIGMA_COLOUR**2) - away / (2 * SIGMA_SPACE**2))
    return torch.stack(exponents, 1).softmax(1)
