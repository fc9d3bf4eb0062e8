"""Small drawn products in named parts, and a stand-in for the trained segmenter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fmlad.errors import OptionError
from fmlad.io.tensors import TensorReader
from fmlad.methods.psad.config import PsadConfig
from fmlad.methods.psad.method import Psad

NAMES = ("label", "cable", "pin")
COLOURS = {"background": (60, 60, 60), "label": (200, 50, 50), "cable": (60, 90, 200),
           "pin": (230, 200, 60)}  # fmt: skip
SIZE = (96, 128)

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def product(
    seed: int,
    *,
    label: str = "plain",
    cable: float = 60,
    pins: int = 2,
    also: bool = False,
) -> tuple[Pixels, Labels]:
    """One product with noise: a label, a cable of some length and pins; ``also``: a second label.

    ``label``: ``"plain"``, ``"striped"``, ``"dark"`` or ``"none"``.
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros(SIZE, np.int64)
    left, top = rng.integers(6, 11, 2)
    where = (slice(top, top + 24), slice(left, left + 36))
    if label != "none":
        labels[where] = 1
    if also:
        labels[60:84, 84:120] = 1
    length = int(cable + rng.integers(-1, 2))
    row = int(rng.integers(44, 48))
    labels[row : row + 6, 10 : 10 + length] = 2
    for number in range(pins):
        x = 70 + 20 * number + int(rng.integers(0, 4))
        labels[10:20, x : x + 10] = 3
    palette = np.array(list(COLOURS.values()), float)
    picture = palette[labels]
    if label == "striped":
        picture[where][:, ::4] *= 0.8
    if label == "dark":
        picture[where] *= (0.72, 1.3, 1.0)
    picture += rng.normal(0, 3, picture.shape)
    return picture.clip(0, 255).astype(np.uint8), labels


class Colours:
    """Each pixel has the class of the nearest mean colour; it counts the images it is shown."""

    def __init__(self, means: Tensor) -> None:
        self.means = means
        self.images = 0

    def predict(self, pixels: Pixels) -> Labels:
        self.images += 1
        gaps = pixels[..., None, :].astype(np.float64) - self.means.numpy()
        return np.asarray(np.square(gaps).sum(-1).argmin(-1))

    def tensors(self) -> dict[str, Tensor]:
        return {"means": self.means}

    def meta(self) -> dict[str, Any]:
        return {"classes": len(self.means)}


class ColourSource:
    """Makes :class:`Colours`; ``calls`` are the arguments it was fitted with."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.latest: Colours | None = None

    def fit(
        self, labelled: Sequence[tuple[Pixels, npt.NDArray[np.integer]]],
        unlabeled: Sequence[Pixels], classes: int, encoder: Any, config: Any, **others: Any,
    ) -> Colours:  # fmt: skip
        self.calls.append({"labelled": labelled, "unlabeled": unlabeled, **others})
        pixels = np.concatenate([p.reshape(-1, 3) for p, _ in labelled])
        labels = np.concatenate([one.ravel() for _, one in labelled])
        if len(np.unique(labels)) < classes:
            raise OptionError("a class without pixels")
        means = np.stack([pixels[labels == c].mean(0) for c in range(classes)])
        self.latest = Colours(torch.from_numpy(means).float())
        return self.latest

    def restore(
        self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], device: str, encoder: Any
    ) -> Colours:
        reader = TensorReader(tensors, device)
        with reader.description("segmenter"):
            self.latest = Colours(reader.take("means", (int(meta["classes"]), 3)))
        return self.latest


class ColourPsad(Psad):
    """PSAD with the stand-in."""

    source = ColourSource()


METHOD = f"{__name__}:ColourPsad:PsadConfig"
__all__ = ["METHOD", "NAMES", "ColourPsad", "ColourSource", "Colours", "PsadConfig", "product"]
