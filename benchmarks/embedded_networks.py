"""Feature extractors that the embedded one was chosen among, by a short description.

``squeezenet:4+7`` joins SqueezeNet's layers 4 and 7; ``lite0:e4+e8`` EfficientNet-Lite0's rectified
expansions at strides 4 and 8, ``lite0:4+8`` its block outputs there. Behind ``#``: ``pca=64``, the
principal axes on the photographs of ``tools/fit_projection.py``; ``handmade=0.1``, hand-made cells
with that weight beside them. All at the hand-made cells' working size, on a grid of 8 px.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.embedded.builtin import HandmadeFeatures, working_size
from fmlad.backbones.embedded.networks import (
    caffe_pixels,
    efficientnet_lite,
    lite_pixels,
    squeezenet,
)
from fmlad.backbones.roles import Pyramid
from tools.fit_projection import PHOTOGRAPHS, axes, photograph, rows

GRID = 8
BORDER = 32  # px mirrored around an image
STAGES = {"e4": (1, 4), "4": (1, 4), "e8": (2, 8), "8": (2, 8), "16": (4, 16)}  # stage, stride
CENTRES = {4: (5.5, 4), 7: (9.5, 8)}  # SqueezeNet's layers: centre of the first cell, stride
SQUEEZENET_UNIT = 100.0  # brings its values to order 1


class StudyFeatures:
    """:class:`~fmlad.backbones.roles.FeatureExtractor` of one level, by description."""

    expensive = False

    def __init__(self, description: str) -> None:
        self.name = self.fingerprint = f"study:{description}"
        network, _, rest = description.partition(":")
        layers, _, options = rest.partition("#")
        given = dict(option.split("=") for option in options.split(",") if option)
        self._layers = layers.split("+")
        self._lite: Any = efficientnet_lite(int(network[-1])) if network != "squeezenet" else None
        self._squeezenet: Any = None if self._lite is not None else squeezenet()
        self._share = float(given.get("handmade", 0))
        self._handmade = HandmadeFeatures()
        self._basis: Tensor | None = None
        if dimensions := int(given.get("pca", 0)):
            samples = torch.cat([rows(self._maps(photograph(name))) for name in PHOTOGRAPHS])
            self._basis = axes(samples, dimensions)

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Pyramid:
        """``uint8 (B, 3, H, W)`` -> one level ``(B, C, h, w)``."""
        maps = self._maps(images)
        if self._basis is not None:
            maps = torch.einsum("kc,bchw->bkhw", self._basis, maps)
        if self._share:
            handmade = self._handmade.encode(images).levels[GRID]
            maps = torch.cat([self._share * handmade, maps], dim=1)
        return Pyramid({GRID: maps.contiguous()}, maps.mean(dim=(2, 3)))

    @torch.inference_mode()
    def _maps(self, images: Tensor) -> Tensor:
        height, width = working_size(images.shape[-2], images.shape[-1])
        pixels = images.float()
        if (height, width) != tuple(pixels.shape[-2:]):
            pixels = F.interpolate(pixels, (height, width), mode="bilinear", antialias=True)
        pixels = F.pad(pixels, (BORDER,) * 4, mode="reflect")
        grid = (height // GRID, width // GRID)
        run = self._of_squeezenet if self._lite is None else self._of_lite
        return torch.cat([_on_grid(*output, grid) for output in run(pixels)], dim=1)

    def _of_squeezenet(self, pixels: Tensor) -> list[tuple[Tensor, float, int]]:
        maps, found = caffe_pixels(pixels), []
        wanted = [int(layer) for layer in self._layers]
        for number, layer in enumerate(self._squeezenet.features[: max(wanted) + 1]):
            maps = layer(maps)
            if number in wanted:
                found.append((maps / SQUEEZENET_UNIT, *CENTRES[number]))
        return found

    def _of_lite(self, pixels: Tensor) -> list[tuple[Tensor, float, int]]:
        network, found = self._lite, []
        maps = network.bn1(network.conv_stem(lite_pixels(pixels)))
        for number in range(1 + max(STAGES[layer][0] for layer in self._layers)):
            maps = network.blocks[number](maps)
            for layer in self._layers:
                stage, stride = STAGES[layer]
                if stage != number:
                    continue
                if layer.startswith("e"):
                    block = network.blocks[number + 1][0]
                    output = block.bn1(block.conv_pw(maps))
                else:
                    output = maps / _scales(network.blocks[number])
                found.append((output / output.shape[1] ** 0.5, stride / 2, stride))
        return found


def _scales(stage: Any) -> Tensor:
    """Scale of each channel, ``(C, 1, 1)``: of BatchNorms whose outputs are added up."""
    total = torch.zeros(())
    for block in stage:
        own = (block.bn3 if hasattr(block, "bn3") else block.bn2).weight.square()
        total = total + own if block.has_skip else own
    return total.sqrt()[:, None, None]


def _on_grid(maps: Tensor, first: float, stride: int, grid: tuple[int, int]) -> Tensor:
    """Means over 3 x 3 cells, read at the centres of the grid's cells."""
    maps = F.avg_pool2d(F.pad(maps, (1,) * 4, mode="replicate"), 3, 1)
    y, x = (
        ((torch.arange(cells) + 0.5) * GRID + BORDER - first + stride / 2) / stride * 2 / size - 1
        for cells, size in zip(grid, maps.shape[-2:], strict=True)
    )
    places = torch.stack(torch.broadcast_tensors(x[None], y[:, None]), dim=-1)
    return F.grid_sample(
        maps, places.expand(len(maps), -1, -1, -1), padding_mode="border", align_corners=False
    )


@lru_cache(maxsize=2)
def study_features(description: str) -> StudyFeatures:
    """Built once."""
    return StudyFeatures(description)
