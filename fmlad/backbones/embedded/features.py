"""The embedded feature extractor: two ImageNet networks and hand-made cells.

Two levels from pretrained networks, each projected by a fixed matrix that ships with the package
(principal axes of their outputs on photographs; ``tools/fit_projection.py``):

- stride 8: SqueezeNet 1.0 behind its second fire module (stride 4, 128 channels), 32 dimensions;
- stride 16: SqueezeNet behind its fourth fire module (stride 8, 256 channels) and
  EfficientNet-Lite0 behind its fifth stage (stride 16, 112 channels) together, 64 dimensions.

For comparisons at the same place, and for means over regions, the cells of
:class:`~fmlad.backbones.embedded.builtin.HandmadeFeatures`: they tell plain differences of colour
and edge apart, and located the defects of aligned circuit boards better than the networks did (on
the pairs that tuned; ``docs/backbones.md``).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.embedded.builtin import HandmadeFeatures, working_size
from fmlad.backbones.embedded.networks import (
    FAMILY,
    LITE_WEIGHTS,
    SQUEEZENET_FILE,
    SQUEEZENET_ORIGINS,
    caffe_pixels,
    framed,
    lite_stages,
    squeezenet,
)
from fmlad.backbones.hub import file_hash, loading, locate
from fmlad.backbones.roles import Pyramid

LONGEST = 512  # px of the longer side that the networks see; 640 px would be 1.6 times the pixels
BORDER = 16  # px mirrored around the image: zero padding would raise the distances at its frame
FINE, COARSE = 8, 16  # strides of the levels
PROJECTION_FILE = Path(__file__).with_name("weights") / "features_projection.safetensors"

FIRE_FINE, FIRE_COARSE = 4, 7  # layers of SqueezeNet: strides 4 and 8
LITE_STAGE = 4  # stage of EfficientNet-Lite, from 0: stride 16


class PretrainedFeatures:
    """``builtin:features@1``: :class:`~fmlad.backbones.roles.FeatureExtractor`.

    Levels at strides 8 ``(B, 32, h, w)`` and 16 ``(B, 64, h, w)`` of the size that the networks
    see, appearance at stride 8 of the hand-made cells' working size ``(B, 25, h, w)``, pooled
    ``(B, 64)``.
    """

    name = "builtin:features@1"
    expensive = True

    def __init__(self, name: str = name, device: str = "cpu") -> None:
        """Loads the networks.

        Raises:
            WeightsUnavailableError: Weights are missing or damaged.
        """
        self._device = device
        self._outputs = NetworkOutputs(device)
        self._projections = [matrix.to(device) for matrix in projections()]
        self._handmade = HandmadeFeatures(device=device)

    @property
    def fingerprint(self) -> str:
        """Name and hashes of the three files of weights."""
        return f"{self.name} {_hashes()}"

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Pyramid:
        """``uint8 (B, 3, H, W)`` -> both levels, and the hand-made cells as appearance."""
        outputs = self._outputs(images)
        fine, coarse = (
            torch.einsum("kc,bchw->bkhw", matrix, maps).contiguous()
            for matrix, maps in zip(self._projections, outputs, strict=True)
        )
        appearance = self._handmade.encode(images).levels[FINE]
        levels = {FINE: fine, COARSE: coarse}
        return Pyramid(levels, coarse.mean(dim=(2, 3)), appearance=appearance)


class NetworkOutputs:
    """Outputs of the two networks, before they are projected."""

    def __init__(self, device: str = "cpu") -> None:
        network: Any = squeezenet()
        # Convolutions over few channels are twice as quick on a CPU with channels last.
        network = network.to(device=device, memory_format=torch.channels_last)
        self._squeezenet: Any = network.features
        self._lite = lite_stages(device)
        self._device = device

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """``uint8 (B, 3, H, W)`` -> ``(B, 128, h, w)`` and ``(B, 368, h / 2, w / 2)``.

        Each output is averaged over 3 x 3 of its own cells.
        """
        height, width = working_size(images.shape[-2], images.shape[-1], LONGEST)
        pixels = framed(images.to(self._device), LONGEST, BORDER)
        fine, middle = self._fires(pixels)
        rows, columns = height // FINE, width // FINE
        fine = _sampled(fine, (FINE / 2 + BORDER - SQUEEZENET_ORIGINS[4]) / 4, 2, (rows, columns))
        middle = _sampled(
            middle, (FINE / 2 + BORDER - SQUEEZENET_ORIGINS[8]) / 8, 1, (rows, columns)
        )
        # The border is one cell of the deepest map, which the average takes off.
        deep = F.avg_pool2d(self._lite(pixels, LITE_STAGE + 1)[LITE_STAGE], 3, 1)
        return fine, torch.cat([F.avg_pool2d(middle, 2), deep], dim=1)

    def _fires(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        maps, fine = _channels_last(caffe_pixels(pixels)), pixels
        for number, layer in enumerate(self._squeezenet[: FIRE_COARSE + 1]):
            maps = layer(maps)
            fine = maps if number == FIRE_FINE else fine
        return fine, maps


@lru_cache(maxsize=1)
def projections() -> tuple[Tensor, Tensor]:
    """Matrices ``(32, 128)`` and ``(64, 368)`` of the levels.

    Raises:
        WeightsUnavailableError: The file inside fmlad is missing or damaged.
    """
    from safetensors.torch import load_file

    with loading("features@1", f"{PROJECTION_FILE} (a part of fmlad)", FAMILY):
        stored = load_file(PROJECTION_FILE)
        return stored["fine"].float(), stored["coarse"].float()


@lru_cache(maxsize=1)
def _hashes() -> str:
    files = (SQUEEZENET_FILE, locate(LITE_WEIGHTS, FAMILY), PROJECTION_FILE)
    return " ".join(f"sha256={file_hash(file)}" for file in files)


def _channels_last(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=torch.channels_last)


def _sampled(maps: Tensor, first: float, step: int, grid: tuple[int, int]) -> Tensor:
    """Means of 3 x 3 cells, read between them: cell ``(r, c)`` at ``first + step * (r, c)``."""
    maps = F.avg_pool2d(maps, 3, 1)
    start = int(first) - 1  # the mean over a cell and its neighbours starts one cell later
    share = first - int(first)
    for axis, cells in zip((-2, -1), grid, strict=True):
        index = start + step * torch.arange(cells, device=maps.device)
        maps = torch.lerp(maps.index_select(axis, index), maps.index_select(axis, index + 1), share)
    return maps
