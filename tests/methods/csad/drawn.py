"""Drawn products in parts, a mask proposer that finds them, and the options of the method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from torch import Tensor

from fmlad.backbones.roles import Boxes, Masks
from fmlad.views import BackboneSet, ImageView

SIZE = (96, 128)
COLOURS = np.array([[50, 50, 50], [220, 60, 50], [60, 90, 220]], np.uint8)
NAMES = ("disc", "bar")

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]


def product(seed: int, discs: int = 2, bar: bool = True) -> tuple[Pixels, Labels]:
    """Red discs (class 1) in the upper half and a blue bar (class 2) in the lower one."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SIZE, np.int32)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for number in range(discs):
        top, left = 24 + rng.integers(-6, 7), 30 + 44 * number + rng.integers(-8, 9)
        labels[(y - top) ** 2 + (x - left) ** 2 < 12**2] = 1
    if bar:
        top, left = rng.integers(62, 76), rng.integers(8, 40)
        labels[top : top + 12, left : left + 70] = 2
    pixels = COLOURS[labels] + rng.normal(0, 5, (*SIZE, 3))
    return pixels.clip(0, 255).astype(np.uint8), labels


class Proposer:
    """Each connected piece of red or blue; with ``halves`` its left and right half as well.

    Attributes:
        asked: How often it was asked for masks or prompted.
    """

    name = fingerprint = "drawn"
    expensive = False

    def __init__(self, halves: bool = False, preferred: bool = True) -> None:
        self._halves, self._preferred = halves, preferred
        self.asked = 0

    def propose(self, image: Tensor) -> Masks:
        self.asked += 1
        pixels = image[0].permute(1, 2, 0).numpy().astype(int)
        near = np.abs(pixels[..., None, :] - COLOURS).sum(-1).argmin(-1)
        found: list[npt.NDArray[np.bool_]] = []
        wholes = 0
        for colour in (1, 2):
            numbers, count = ndimage.label(ndimage.binary_opening(near == colour))
            found += [numbers == number for number in range(1, count + 1)]
        wholes = len(found)
        if self._halves:
            for whole in found[:wholes]:
                middle = int(np.argwhere(whole)[:, 1].mean())
                left = whole.copy()
                left[:, middle:] = False
                found += [left, whole & ~left]
        masks = np.array(found, bool).reshape(-1, *pixels.shape[:2])
        preferred = np.arange(len(masks)) < wholes if self._preferred else None
        return Masks(masks, boxes_of(masks), np.ones(len(masks), np.float32), preferred)

    def prompt(
        self,
        image: Tensor,
        boxes: npt.NDArray[np.float32] | None = None,
        points: npt.NDArray[np.float32] | None = None,
        labels: npt.NDArray[np.int64] | None = None,
    ) -> Masks:
        """Points: the grey that holds them all; boxes: what of red or blue is in them."""
        self.asked += 1
        pixels = image[0].permute(1, 2, 0).numpy().astype(int)
        near = np.abs(pixels[..., None, :] - COLOURS).sum(-1).argmin(-1)
        found = []
        for box in [] if boxes is None else boxes.astype(int):
            inside = np.zeros(near.shape, bool)
            inside[box[1] : box[3], box[0] : box[2]] = True
            found.append(inside & (near > 0))
        if points is not None:
            found.append(near == 0)
        masks = np.array(found, bool)
        return Masks(masks, boxes_of(masks), np.ones(len(masks), np.float32))


@dataclass
class BoxFinder:
    """A grounder that knows boxes by phrase."""

    known: Mapping[str, Sequence[tuple[float, float, float, float]]]
    name: str = "boxes"
    fingerprint: str = "boxes"
    expensive: bool = False
    score: float = 0.5

    def find(self, image: Tensor, phrases: Sequence[str]) -> Boxes:
        pairs = [(box, row) for row, one in enumerate(phrases) for box in self.known.get(one, ())]
        boxes = np.array([box for box, _ in pairs], np.float32).reshape(-1, 4)
        rows = np.array([row for _, row in pairs], np.int64)
        return Boxes(boxes, rows, np.full(len(pairs), self.score, np.float32))


@dataclass(frozen=True)
class Options:
    """What the segmenter's source reads of the method's options."""

    preset: Literal["paper", "code", "cpu"] = "cpu"
    side: int = 64
    segmenter: Mapping[str, Any] = field(default_factory=dict)
    pseudo_labels: Mapping[str, Any] = field(default_factory=dict)


# Trains in a few seconds.
QUICK = {"supervised": 60, "joint": 20, "copies": 12, "width": 16, "shallow": 8, "rate": 0.02}


def backbones(proposer: Proposer | None = None, **others: Any) -> BackboneSet:
    return BackboneSet({"mask_proposer": proposer or Proposer(), **others})


def views_of(
    count: int, through: BackboneSet | None = None, first: int = 0, **changes: Any
) -> list[ImageView]:
    through = through or backbones()
    return [
        through.view(product(seed, **changes)[0], f"{seed:03d}")
        for seed in range(first, first + count)
    ]


def colours(pictures: Tensor) -> Tensor:
    """Describes a picture by its mean colour."""
    return pictures.mean((2, 3)).float()


def boxes_of(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    found = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(found, masks, strict=True):
        if mask.any():
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return found
