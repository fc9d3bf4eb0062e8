"""Reading the tensors of a saved detector, each one checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fmlad.errors import CorruptDetectorError


class TensorReader:
    """Takes saved tensors out one by one, checking each, and knows what was left."""

    def __init__(self, tensors: Mapping[str, Tensor], device: str) -> None:
        self._left = dict(tensors)
        self._device = device

    def take(
        self, name: str, shape: tuple[int | None, ...], dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """One tensor of a dtype, finite where it is floating; None in ``shape``: any length.

        Raises:
            CorruptDetectorError: It is missing, or of another shape or dtype.
        """
        tensor = self._left.pop(name, None)
        if tensor is None:
            raise CorruptDetectorError(f"The saved state lacks the tensor {name!r}.")
        fits = len(tensor.shape) == len(shape) and all(
            want is None or have == want for have, want in zip(tensor.shape, shape, strict=True)
        )
        finite = not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
        if tensor.dtype != dtype or not fits or not finite:
            raise CorruptDetectorError(
                f"The tensor {name!r} of the saved state is {tuple(tensor.shape)} {tensor.dtype}; "
                f"expected finite {dtype} {shape}."
            )
        return tensor.to(self._device)

    def level(self, name: str, channels: int | None) -> Tensor:
        """One feature map ``(1, C, h, w)`` with at least one cell."""
        level = self.take(name, (1, channels, None, None))
        if level.numel() == 0:
            raise CorruptDetectorError(f"The tensor {name!r} of the saved state is empty.")
        return level

    def module(self, prefix: str, module: nn.Module) -> None:
        """Fills a network from ``prefix.name``, in its own dtypes; errors as :meth:`take`."""
        own = module.state_dict().items()
        saved = {name: self.take(f"{prefix}.{name}", tuple(t.shape), t.dtype) for name, t in own}
        module.load_state_dict(saved)
        module.to(self._device)

    @contextmanager
    def description(self, what: str) -> Iterator[None]:
        """Turns what a bad description raises, or tensors left over, into CorruptDetectorError."""
        try:
            yield
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:
            raise CorruptDetectorError(
                f"The description of the saved {what} is bad: {error!r}."
            ) from None
        if self._left:
            raise CorruptDetectorError(
                f"The saved {what} has unknown tensors: {sorted(self._left)}."
            )


def modules_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """:func:`module_tensors` of several networks, each under its name."""
    found: dict[str, Tensor] = {}
    for name, module in modules.items():
        found |= module_tensors(name, module)
    return found


def module_tensors(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """A network's weights and buffers on the CPU, for :meth:`TensorReader.module`."""
    return {
        f"{prefix}.{name}": tensor.detach().cpu().contiguous()
        for name, tensor in module.state_dict().items()
    }
