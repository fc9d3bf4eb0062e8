"""Objects of one image in numbers: what they look like, how large they are and where they lie."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.embedded.region_shapes import solidity
from fmlad.backbones.roles import Masks

Floats = npt.NDArray[np.float64]

# Columns of ``Objects.appearance``. One unit each is a difference that a person would call clear;
# units only set the starting point, parts learn their own from the shots.
LIGHTNESS, RED_GREEN, YELLOW_BLUE, SPREAD, SIZE, ELONGATION, SOLIDITY = range(7)
COLOUR = (LIGHTNESS, RED_GREEN, YELLOW_BLUE, SPREAD)
FORM = (SIZE, ELONGATION, SOLIDITY)
COLOUR_UNIT, SPREAD_UNIT = 20.0, 10.0  # Delta E
SIZE_UNIT, ELONGATION_UNIT = math.log(1.5), math.log(1.5)  # ratios
SOLIDITY_UNIT = 0.1

# A proposal counts as an object from FULL quality on, and not at all below NONE (ours).
NONE, FULL = 0.4, 0.6
COVERED = 0.9  # a mask this much covered by smaller ones says nothing new (CSAD's overlap rule)
ROWS, AT_ONCE = 64, 32  # rows of all masks, and masks, that are worked on as floats at once
MOST = 256  # objects an image, best quality first (CSAD keeps 255)


@dataclass(frozen=True)
class Objects:
    """What is known about the objects of one image; all arrays have one row an object.

    Attributes:
        appearance: float64 ``(n, 7)``: mean Lab colour, colour spread, log of the area share,
            log elongation, solidity, each divided by its unit above.
        features: float64 ``(n, C)``, mean backbone features inside the mask.
        boxes: float64 ``(n, 4)``, ``xyxy`` in input pixels.
        places: float64 ``(n, 2)``, ``(x, y)`` of the centroid from the image centre, in halves of
            the longer side.
        objectness: float64 ``(n,)`` in (0, 1]: how surely this is an object at all.
    """

    appearance: Floats
    features: Floats
    boxes: Floats
    places: Floats
    objectness: Floats

    def __len__(self) -> int:
        return len(self.objectness)

    def rows(self, which: npt.NDArray[np.bool_]) -> Objects:
        """Some of them: bool ``(n,)``."""
        return Objects(
            self.appearance[which],
            self.features[which],
            self.boxes[which],
            self.places[which],
            self.objectness[which],
        )

    def tensors(self) -> dict[str, Tensor]:
        """float32 copies of everything, to be saved."""
        arrays = {
            "appearance": self.appearance,
            "features": self.features,
            "boxes": self.boxes,
            "places": self.places,
            "objectness": self.objectness,
        }
        return {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}


@dataclass(frozen=True)
class MaskedObjects:
    """Objects of an image together with their masks, which are not remembered.

    Attributes:
        objects: The descriptions.
        masks: bool ``(n, h, w)`` in the order of the objects, on the proposer's grid.
    """

    objects: Objects
    masks: npt.NDArray[np.bool_]


def describe_proposals(pixels: npt.NDArray[np.uint8], masks: Masks, level: Tensor) -> Proposals:
    """Describes the proposals of an image that may count as objects.

    Args:
        pixels: uint8 ``(H, W, 3)`` RGB.
        masks: Proposals.
        level: Backbone features ``(1, C, h, w)``.
    """
    good = np.flatnonzero((masks.scores > NONE) & masks.masks.any(axis=(1, 2)))[:MOST]
    quality = masks.scores[good].astype(np.float64)
    objectness = np.clip((quality - NONE) / (FULL - NONE), 1e-3, 1)
    kept = masks.masks[good]
    seen = described(pixels, kept, masks.boxes[good].astype(float), objectness, level)
    # Without a choice of the proposer's, parts win over wholes.
    own = _says_something(kept) if masks.preferred is None else masks.preferred[good]
    shared = _shared_pixels(kept[:, ::2, ::2])
    return Proposals(seen.objects, good, quality, kept.mean(axis=(1, 2)), shared, own)


@dataclass(frozen=True)
class Proposals:
    """All that may be an object in an image, wholes and their pieces alike.

    Attributes:
        objects: Every proposal, described.
        numbers: int64 ``(n,)``: which of the proposer's masks each is.
        quality: float64 ``(n,)`` in [0, 1], of the proposer.
        areas: float64 ``(n,)``, shares of the image.
        shared: float64 ``(n, n)``, pixels in common, on a grid of half the resolution.
        own: bool ``(n,)``: what the proposer would choose.
    """

    objects: Objects
    numbers: npt.NDArray[np.int64]
    quality: Floats
    areas: Floats
    shared: Floats
    own: npt.NDArray[np.bool_]

    def taken(self, which: npt.NDArray[np.bool_], masks: Masks) -> MaskedObjects:
        """The objects of a choice ``(n,)``, with their masks out of all of the image's."""
        return MaskedObjects(self.objects.rows(which), masks.masks[self.numbers[which]])


def described(
    pixels: npt.NDArray[np.uint8],
    masks: npt.NDArray[np.bool_],
    boxes: Floats,
    objectness: Floats,
    level: Tensor,
) -> MaskedObjects:
    """Describes objects whose masks ``(n, h, w)``, boxes and weights are known."""
    colours = _lab(pixels, masks.shape[1:]) if len(masks) else np.zeros((0, 0, 3))
    half = np.array([pixels.shape[1], pixels.shape[0]]) / max(pixels.shape[:2])
    places = [_extent(mask) for mask in masks]
    centres = np.array([_centroid(m, p) for m, p in zip(masks, places, strict=True)])
    appearance = [_look(m[p], colours[p], m.size) for m, p in zip(masks, places, strict=True)]
    objects = Objects(
        _rounded(np.array(appearance).reshape(-1, 7)),
        _rounded(_mean_features(masks, places, level)),
        _rounded(boxes),
        _rounded((2 * centres.reshape(-1, 2) - 1) * half),
        _rounded(objectness),
    )
    return MaskedObjects(objects, masks)


def _shared_pixels(masks: npt.NDArray[np.bool_]) -> Floats:
    """Pixels in common of masks ``(n, h, w)``, float64 ``(n, n)``, a few rows at a time."""
    shared = np.zeros((len(masks), len(masks)))
    for top in range(0, masks.shape[1], ROWS):
        rows = masks[:, top : top + ROWS]
        flat = rows.reshape(len(masks), rows.shape[1] * rows.shape[2]).astype(np.float32)
        shared += flat @ flat.T
    return shared


def _rounded(values: Floats) -> Floats:
    """To what a saved detector keeps, so that one loaded again thinks the same."""
    return values.astype(np.float32).astype(np.float64)


def _says_something(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which masks ``(n, h, w)`` are more than what smaller ones cover.

    Parts win over wholes (CSAD, section 3.1, and its code's ``filter_by_combine``).
    """
    areas = masks.sum(axis=(1, 2))
    union = np.zeros(masks.shape[1:], bool)
    kept = np.zeros(len(masks), bool)
    for row in np.argsort(areas, kind="stable"):
        if (masks[row] & union).sum() < COVERED * areas[row]:
            kept[row] = True
            union |= masks[row]
    return kept


def _extent(mask: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of a mask that is not empty."""
    rows = np.flatnonzero(mask.any(1))
    within = slice(int(rows[0]), int(rows[-1]) + 1)
    columns = np.flatnonzero(mask[within].any(0))
    return within, slice(int(columns[0]), int(columns[-1]) + 1)


def _look(inside: npt.NDArray[np.bool_], colours: Floats, pixels: int) -> list[float]:
    """Of a mask and its colours, both within its extent, in an image of so many pixels."""
    colour = colours[inside]
    mean = colour.mean(0)
    spread = float(np.sqrt(np.square(colour - mean).sum(1).mean()))
    points = np.argwhere(inside).astype(float)
    # A pixel is a square, not a point: a twelfth each way.
    moments = np.cov(points.T, bias=True) + np.eye(2) / 12
    minor, major = 4 * np.sqrt(np.linalg.eigvalsh(moments))  # axes of the ellipse of these moments
    # Half a pixel keeps lines of one pixel finite.
    elongation = math.log((major + 0.5) / (minor + 0.5))
    filled = solidity(inside, len(points)) if len(points) > 2 else 1.0
    return [
        *(mean / COLOUR_UNIT),
        spread / SPREAD_UNIT,
        math.log(len(points) / pixels) / SIZE_UNIT,
        elongation / ELONGATION_UNIT,
        filled / SOLIDITY_UNIT,
    ]


def _centroid(mask: npt.NDArray[np.bool_], place: tuple[slice, slice]) -> tuple[float, float]:
    """Centre ``(x, y)`` in [0, 1] of a mask that lies in a place."""
    inside = mask[place]
    down, across = inside.sum(1), inside.sum(0)
    total = int(down.sum())
    y = float(down @ np.arange(place[0].start, place[0].stop)) / total
    x = float(across @ np.arange(place[1].start, place[1].stop)) / total
    return (x + 0.5) / mask.shape[1], (y + 0.5) / mask.shape[0]


def _lab(pixels: npt.NDArray[np.uint8], grid: tuple[int, ...]) -> Floats:
    """CIE Lab ``(h, w, 3)`` on the proposer's grid."""
    from fmlad.backbones.embedded.builtin import lab

    image = torch.from_numpy(np.array(pixels.transpose(2, 0, 1)))[None].float() / 255
    small = F.interpolate(image, (grid[0], grid[1]), mode="bilinear", antialias=True)
    return 100 * lab(small)[0].permute(1, 2, 0).double().numpy()


def _mean_features(
    masks: npt.NDArray[np.bool_], places: list[tuple[slice, slice]], level: Tensor
) -> Floats:
    """Mean of a feature map under each mask, ``(n, C)``; each mask lies in its place."""
    channels, height, width = level.shape[1:]
    if len(masks) == 0:
        return np.zeros((0, channels))
    down, across = masks.shape[1] / height, masks.shape[2] / width
    if down.is_integer() and across.is_integer():
        covered = np.zeros((len(masks), height, width), np.float32)
        for mask, place, share in zip(masks, places, covered, strict=True):
            _cover(mask, place, share, (int(down), int(across)))
        shares = torch.from_numpy(covered).to(level.device)
    else:
        blocks = [
            F.interpolate(
                torch.from_numpy(masks[start : start + AT_ONCE].astype(np.float32))[:, None],
                (height, width),
                mode="area",
            )[:, 0]
            for start in range(0, len(masks), AT_ONCE)
        ]
        shares = torch.cat(blocks).to(level.device)
    # An object smaller than a cell still owns its share of it.
    shares = shares / shares.sum(dim=(1, 2), keepdim=True).clamp_min(1e-6)
    return torch.einsum("nhw,chw->nc", shares, level[0]).double().cpu().numpy()


def _cover(
    mask: npt.NDArray[np.bool_],
    place: tuple[slice, slice],
    share: npt.NDArray[np.float32],
    cell: tuple[int, int],
) -> None:
    """Fills in the share of each cell ``(h, w)`` that a mask covers; a cell is so many pixels."""
    first = [side.start // size for side, size in zip(place, cell, strict=True)]
    last = [-(-side.stop // size) for side, size in zip(place, cell, strict=True)]
    rows, columns = (
        slice(low * size, high * size) for low, high, size in zip(first, last, cell, strict=True)
    )
    inside = mask[rows, columns]
    blocks = inside.reshape(last[0] - first[0], cell[0], last[1] - first[1], cell[1])
    counts = blocks.sum(1, dtype=np.uint16).sum(2)
    share[first[0] : last[0], first[1] : last[1]] = counts / np.float32(cell[0] * cell[1])
