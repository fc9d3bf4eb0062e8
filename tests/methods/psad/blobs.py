"""Images on which the place makes the class, and a small encoder in the role ``Encoder``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fmlad.methods.psad.segmenter_config import SegmenterConfig, segmenter_config

HEIGHT, WIDTH = 80, 128


class TinyModule(nn.Module):
    strides, channels = (4, 8, 16), (6, 5, 4)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.stages = nn.ModuleList(
            nn.Conv2d(i, o, 3, 2, 1) for i, o in zip((6, 6, 5), self.channels, strict=True)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        maps, out = self.stem(images.float() / 127.5 - 1), []
        for stage in self.stages:
            maps = F.relu(stage(maps))
            out.append(maps)
        return out


class TinyEncoder:
    """Weights of the seed, the same in every copy."""

    name, expensive = "tiny", False

    def __init__(self, seed: int = 0) -> None:
        self.fingerprint, self._seed = f"tiny {seed}", seed

    def build(self) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(self._seed)
            return TinyModule()


def blobs(seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """A red disc on the left is class 1, one on the right class 2."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    labels = np.zeros((HEIGHT, WIDTH), np.int32)
    for part, middle in ((1, 32), (2, 96)):
        at = rng.integers(-8, 9, 2) + np.array([HEIGHT // 2, middle])
        labels[(y - at[0]) ** 2 + (x - at[1]) ** 2 < 20**2] = part
    colours = np.array([[60, 70, 60], [220, 60, 50], [220, 60, 50]])
    noisy = colours[labels] + rng.normal(0, 8, (HEIGHT, WIDTH, 3))
    return noisy.clip(0, 255).astype(np.uint8), labels


def quick(**changes: object) -> SegmenterConfig:
    """A configuration that trains in a second or two."""
    small = {
        "side": 128, "supervised": 120, "joint": 40, "batch": 4, "rate": 0.02, "copies": 3,
        "hidden": 16, "degrees": 5.0, "recolour": 0.0, "context": 0, "laid": 0, "shift": 0.0,
    }  # fmt: skip
    return segmenter_config("cpu", **{**small, **changes})


def iou(said: npt.NDArray[np.int32], true: npt.NDArray[np.int32], part: int) -> float:
    return float(np.sum((said == part) & (true == part)) / np.sum((said == part) | (true == part)))
