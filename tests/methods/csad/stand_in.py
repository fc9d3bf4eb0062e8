"""Small drawn products, an encoder that counts, and a stand-in that segments by colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fmlad.errors import OptionError
from fmlad.io.tensors import TensorReader
from fmlad.methods.csad.config import CsadConfig
from fmlad.methods.csad.method import Csad
from fmlad.methods.csad.segmentation import Labels
from fmlad.methods.shared_encoder import Pixels, SharedEncoder
from fmlad.views import ImageView
from tests.methods.psad.drawn import COLOURS, NAMES, product

QUICK = {"grid": 8, "width": 8, "bottleneck": 8, "steps": 6, "batch": 2, "copies": 1}


class Shrunk(nn.Module):
    """Colours averaged over cells, joined with a few fixed convolutions of them."""

    strides, channels = (4, 8, 16), (5, 6, 7)

    def __init__(self) -> None:
        super().__init__()
        self.mixes = nn.ModuleList(nn.Conv2d(3, count - 3, 3, 1, 1) for count in self.channels)
        self.images = 0

    def forward(self, images: Tensor) -> list[Tensor]:
        self.images += len(images)
        pixels = images.float() / 255
        small = [F.avg_pool2d(pixels, stride) for stride in self.strides]
        return [
            torch.cat([own, mix(own)], dim=1) for own, mix in zip(small, self.mixes, strict=True)
        ]


class ShrunkEncoder:
    """Weights of one seed; ``modules`` are those that were built."""

    name, fingerprint, expensive = "test:shrunk@1", "test:shrunk@1", False

    def __init__(self) -> None:
        self.modules: list[Shrunk] = []

    def build(self) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.modules.append(Shrunk())
        return self.modules[-1]


class Colours:
    """Each cell of the finest level has the class of the nearest mean colour."""

    notes: tuple[str, ...] = ("parts were told by their colours",)

    def __init__(self, means: Tensor, names: tuple[str, ...], side: int) -> None:
        self.means, self.names, self.side = means, names, side
        self.classes = len(means)

    def predict(self, pixels: Pixels) -> Labels:
        raise NotImplementedError

    def predict_maps(self, levels: Sequence[Tensor]) -> Labels:
        colours = levels[0][0, :3].permute(1, 2, 0)[:, :, None]
        cells = (colours - self.means).square().sum(-1).argmin(-1).numpy()
        times = self.side // len(cells)
        return np.kron(cells, np.ones((times, times))).astype(np.int32)

    def tensors(self) -> dict[str, Tensor]:
        return {"means": self.means}

    def meta(self) -> dict[str, Any]:
        return {"names": list(self.names), "side": self.side}


class ColourSource:
    """Makes :class:`Colours`; ``calls`` are the arguments it was fitted with."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def fit(
        self, views: Sequence[ImageView], labels: Sequence[Labels | None] | None,
        encoder: SharedEncoder, config: Any, *, names: tuple[str, ...] = (), **others: Any,
    ) -> Colours:  # fmt: skip
        self.calls.append({"views": views, "labels": labels, "names": names, **others})
        if labels is not None and all(one is None for one in labels):
            raise OptionError("no labels at all")
        means = torch.tensor(list(COLOURS.values())) / 255
        return Colours(means, names or ("part A", "part B", "part C"), encoder.side)

    def restore(
        self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], device: str,
        encoder: SharedEncoder,
    ) -> Colours:  # fmt: skip
        reader = TensorReader(tensors, device)
        with reader.description("segmenter"):
            names = tuple(map(str, meta["names"]))
            means = reader.take("means", (1 + len(names), 3))
        return Colours(means, names, int(meta["side"]))


class ColourCsad(Csad):
    """CSAD with the stand-in."""

    source = ColourSource()


METHOD = f"{__name__}:ColourCsad:CsadConfig"
__all__ = [
    "METHOD", "NAMES", "QUICK", "ColourCsad", "ColourSource", "Colours", "CsadConfig",
    "ShrunkEncoder", "product",
]  # fmt: skip
