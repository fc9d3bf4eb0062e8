"""Networks with stages (ResNet, EfficientNet, Swin, ...) as features and as trainable encoders."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field, StringConstraints
from pydantic.dataclasses import dataclass as checked
from torch import Tensor, nn

from fmlad.backbones.cnn.sources import (
    Network,
    builtin_network,
    timm_network,
    torchvision_network,
)
from fmlad.backbones.cnn.stages import Stages, multiple_of, near, resized, trainable
from fmlad.backbones.common import STRICT, parse
from fmlad.backbones.roles import Pyramid
from fmlad.errors import OptionError

SIDE = 448  # px
ENCODER_STRIDES = (4, 8, 16)  # see fmlad.backbones.roles.Encoder
SOURCES = {
    "timm": timm_network,
    "torchvision": torchvision_network,
    "builtin": builtin_network,
}


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("it must be odd")
    return value


@checked(frozen=True, config=STRICT)
class Options:
    """What :meth:`CNN.encode` does; an encoder for training heeds ``model`` alone.

    Attributes:
        levels: Stages joined by ``+``; stage n has stride 2 ** (n + 1), as ``layer1`` to ``layer4``
            of a ResNet.
        side: Pixels of the input's longer side (aspect kept), or of both (``fit="squash"``);
            ``"as-is"``: the image's own; None: 448, or the only size that the network takes.
        fit: See ``side``.
        pool: Cells on a side of the window that every level is averaged over; 1: none.
        model: Name of the network in a file that holds weights alone.
    """

    levels: Annotated[str, StringConstraints(pattern=r"^[0-4](\+[0-4])*$")] = "2+3"
    side: Annotated[int, Field(ge=32)] | Literal["as-is"] | None = None
    fit: Literal["longer", "squash"] = "longer"
    pool: Annotated[int, Field(ge=1), AfterValidator(_odd)] = 1
    model: str = ""

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the levels, finest first."""
        return tuple(sorted({2 ** (int(level) + 1) for level in self.levels.split("+")}))


def load(name: str, device: str = "cpu") -> CNN:
    """Builds the backbone from ``"FAMILY:SOURCE"`` or ``"FAMILY:SOURCE#levels=2+3,side=320"``.

    ``timm:`` and ``torchvision:`` with a SOURCE as in :mod:`fmlad.backbones.cnn.sources`, or one of
    ``builtin:squeezenet@1``, ``builtin:efficientnet-lite0@1`` and ``builtin:efficientnet-lite2@1``.
    Options are those of :class:`Options`.

    Raises:
        WeightsUnavailableError: The weights cannot be had, or do not fit.
        UnknownNameError: There is no such network.
        OptionError: An option that does not exist, a value that does not fit, or a level that the
            network does not have.
    """
    source, options = parse(name, Options)
    return CNN(name, SOURCES[name.partition(":")[0]](source, options.model), options, device)


class CNN:
    """:class:`~fmlad.backbones.roles.FeatureExtractor` and :class:`~fmlad.backbones.roles.Encoder`.

    A level for each chosen stage; pooled is the mean of the deepest of them.
    """

    expensive = True

    def __init__(self, name: str, network: Network, options: Options, device: str = "cpu") -> None:
        """Wraps a loaded network, named as users write it."""
        self.name = name
        self._network, self._options, self._device = network, options, device
        network.module.to(device)
        self._stages = Stages(network, options.strides).eval()
        if network.size is not None and options.side not in (None, network.size[0]):
            only = f"takes inputs of {network.size[0]} px alone; leave the option side out"
            raise OptionError(f"{name}: {network.kind} {only}.")
        fed = f"{network.size}" if network.size else f"{options.side or SIDE} {options.fit}"
        # The name is left out so that a moved file still matches.
        self.fingerprint = (
            f"{network.kind} side={fed} levels={options.strides} pool={options.pool} "
            f"{network.fingerprint}"
        )

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Pyramid:
        """``uint8 (B, 3, H, W)`` -> a level ``(B, C, h, w)`` for each chosen stage."""
        size = self.input_size(images.shape[-2], images.shape[-1])
        maps = self._stages(resized(images.to(self._device).float(), size))
        if (window := self._options.pool) > 1:
            maps = [
                F.avg_pool2d(level, window, 1, window // 2, count_include_pad=False)
                for level in maps
            ]
        levels = dict(zip(self._stages.strides, maps, strict=True))
        return Pyramid(levels, maps[-1].mean(dim=(2, 3)))

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of pixels of the network's input.

        Multiples of 16 px, with stage 4 of 32, unless the network takes one size alone.
        """
        if self._network.size is not None:
            return self._network.size
        side, longer = self._options.side or SIDE, max(height, width)
        if self._options.fit == "squash":
            height = width = longer
        scale = 1.0 if side == "as-is" else side / longer
        multiple = multiple_of(self._options.strides)
        return near(height * scale, multiple), near(width * scale, multiple)

    def build(self) -> nn.Module:
        """A fresh copy of the network up to stride 16, trainable and in training mode.

        See :class:`~fmlad.backbones.roles.Encoder`. The image is resized to multiples of 16 px (or
        the only size the network takes) and normalised by the module. Frozen:
        ``build().eval().requires_grad_(False)``.

        Raises:
            OptionError: The network has no stages of the strides 4, 8 and 16.
        """
        return trainable(self._network, ENCODER_STRIDES)
