"""Reading the tensors of a saved bank, each one checked."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fmlad.errors import CorruptDetectorError


class Reader:
    """Takes tensors out of a saved bank one by one, checking each, and knows what was left."""

    def __init__(self, tensors: Mapping[str, Tensor], device: str) -> None:
        self._left = dict(tensors)
        self._device = device

    def take(self, name: str, shape: tuple[int | None, ...]) -> Tensor:
        """One finite float32 tensor; None in ``shape`` stands for any length.

        Raises:
            CorruptDetectorError: It is missing, or of another shape or dtype.
        """
        tensor = self._left.pop(name, None)
        if tensor is None:
            raise CorruptDetectorError(f"The saved bank lacks the tensor {name!r}.")
        fits = len(tensor.shape) == len(shape) and all(
            want is None or have == want for have, want in zip(tensor.shape, shape, strict=True)
        )
        if tensor.dtype != torch.float32 or not fits or not torch.isfinite(tensor).all():
            raise CorruptDetectorError(
                f"The tensor {name!r} of the saved bank is {tuple(tensor.shape)} {tensor.dtype}; "
                f"expected finite float32 {shape}."
            )
        return tensor.to(self._device)

    def level(self, name: str, channels: int | None) -> Tensor:
        """One feature map ``(1, C, h, w)`` with at least one cell."""
        level = self.take(name, (1, channels, None, None))
        if level.numel() == 0:
            raise CorruptDetectorError(f"The tensor {name!r} of the saved bank is empty.")
        return level

    def finish(self) -> None:
        """Says that all has been taken.

        Raises:
            CorruptDetectorError: Something was not.
        """
        if self._left:
            raise CorruptDetectorError(
                f"The saved bank holds unknown tensors: {sorted(self._left)}."
            )
