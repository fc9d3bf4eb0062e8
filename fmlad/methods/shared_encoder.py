"""The frozen encoder of the methods that train on its maps; it runs once per image."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.roles import Encoder
from fmlad.views import ImageView

Pixels = npt.NDArray[np.uint8]
Levels = tuple[Tensor, ...]


class SharedEncoder:
    """One frozen network for all that a method learns.

    Attributes:
        fingerprint: Of the backbone.
        channels: Of each level, finest first.
        strides: Of each level: 4, 8, 16.
        side: Pixels of both sides of its input.
        device: Where it lies.
    """

    def __init__(self, encoder: Encoder, side: int, device: str = "cpu") -> None:
        """Builds the backbone in the role ``encoder`` and freezes it."""
        module = encoder.build().to(device).eval().requires_grad_(False)
        self._module = cast(Any, module)
        self.fingerprint, self.side, self.device = encoder.fingerprint, side, device
        self.channels = tuple(int(count) for count in self._module.channels)
        self.strides = tuple(int(stride) for stride in self._module.strides)

    def square(self, pixels: Pixels) -> Tensor:
        """uint8 ``(H, W, 3)`` squashed to the input: uint8 ``(3, side, side)``, on the CPU."""
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
        size = (self.side, self.side)
        if tuple(image.shape[-2:]) == size:
            return image[0]
        return F.interpolate(image, size, mode="bilinear", antialias=True)[0]

    @torch.no_grad()
    def encode(self, squares: Tensor) -> Levels:
        """uint8 or float ``(B, 3, side, side)`` in 0..255 -> float32 ``(B, C, h, w)`` a level."""
        return tuple(self._module(squares.to(self.device)))

    def levels(self, view: ImageView) -> Levels:
        """Levels of one image, ``(1, C, h, w)`` each; computed once for a view and then kept."""
        key = f"shared encoder {self.fingerprint} {self.side}"
        if key not in view.memo:
            view.memo[key] = self.encode(self.square(view.pixels)[None])
        return tuple(view.memo[key])
