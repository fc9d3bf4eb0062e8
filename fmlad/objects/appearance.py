"""Objects of one image in numbers: appearance, size and position."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.embedded.region_shapes import solidity
from fmlad.backbones.pooling import region_means
from fmlad.backbones.roles import Masks
from fmlad.io.tensors import TensorReader
from fmlad.objects.arrays import Bools, Floats, Ints

# Columns of ``Objects.appearance``. One unit is a difference that a person would call clear; parts
# learn units of their own from the shots, never below these.
LIGHTNESS, RED_GREEN, YELLOW_BLUE, SPREAD, SIZE, ELONGATION, SOLIDITY = range(7)
COLOUR = (LIGHTNESS, RED_GREEN, YELLOW_BLUE, SPREAD)
FORM = (SIZE, ELONGATION, SOLIDITY)
COLOUR_UNIT, SPREAD_UNIT = 20.0, 10.0  # Delta E
SIZE_UNIT, ELONGATION_UNIT = math.log(1.5), math.log(1.5)  # ratios
SOLIDITY_UNIT = 0.1

# A proposal counts as an object from FULL quality on, and not at all below NONE (ours).
NONE, FULL = 0.4, 0.6
COVERED = 0.9  # share of a mask covered by smaller ones from which it is left out (CSAD)
ROWS = 64  # rows of all masks that are converted to floats at once
MOST = 256  # objects an image, best quality first (CSAD keeps 255)


# Fields of ``Objects`` and the width of each; None: that of the backbone.
COLUMNS = {"appearance": 7, "features": None, "boxes": 4, "places": 2, "objectness": 1}


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
        objectness: float64 ``(n,)`` in (0, 1]: belief that the proposal is an object.
    """

    appearance: Floats
    features: Floats
    boxes: Floats
    places: Floats
    objectness: Floats

    def __len__(self) -> int:
        return len(self.objectness)

    def rows(self, which: Bools) -> Objects:
        """Some of them: bool ``(n,)``."""
        return Objects(**{name: getattr(self, name)[which] for name in COLUMNS})

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """float32 copies of everything, two-dimensional, to be saved."""
        arrays = {name: getattr(self, name).astype(np.float32) for name in COLUMNS}
        arrays["objectness"] = arrays["objectness"][:, None]
        return {prefix + name: torch.from_numpy(array) for name, array in arrays.items()}

    @classmethod
    def restore(cls, reader: TensorReader, prefix: str, count: int | None = None) -> Objects:
        """Inverse of :meth:`tensors`, for ``count`` objects.

        Raises:
            CorruptDetectorError: A tensor is missing or of another shape.
        """
        arrays: dict[str, Floats] = {}
        for name, columns in COLUMNS.items():
            tensor = reader.take(prefix + name, (count, columns))
            arrays[name], count = tensor.cpu().double().numpy(), len(tensor)
        return cls(**{**arrays, "objectness": arrays["objectness"][:, 0]})


@dataclass(frozen=True)
class MaskedObjects:
    """Objects of an image together with their masks, which are not saved.

    Attributes:
        objects: The descriptions.
        masks: bool ``(n, h, w)`` in the order of the objects, on the proposer's grid.
    """

    objects: Objects
    masks: Bools


def describe_proposals(pixels: npt.NDArray[np.uint8], masks: Masks, level: Tensor) -> Proposals:
    """Describes the proposals of an image that may count as objects.

    Of pixels uint8 ``(H, W, 3)`` RGB, by backbone features ``(1, C, h, w)``.
    """
    good = np.flatnonzero((masks.scores > NONE) & masks.masks.any(axis=(1, 2)))[:MOST]
    quality = masks.scores[good].astype(np.float64)
    objectness = np.clip((quality - NONE) / (FULL - NONE), 1e-3, 1)
    kept = masks.masks[good]
    found = described(pixels, kept, masks.boxes[good].astype(float), objectness, level)
    preferred = _not_covered(kept) if masks.preferred is None else masks.preferred[good]
    shared = _shared_pixels(kept[:, ::2, ::2])
    areas, chosen = kept.mean(axis=(1, 2)), masks.preferred is not None
    border = np.asarray(kept[:, [0, -1]].any((1, 2)) | kept[:, :, [0, -1]].any((1, 2)))
    return Proposals(found.objects, good, quality, areas, shared, preferred, border, chosen)


@dataclass(frozen=True)
class Proposals:
    """All proposals of an image that may be objects; a mask and its pieces may both be among them.

    Attributes:
        objects: Every proposal, described.
        numbers: int64 ``(n,)``: which of the proposer's masks each is.
        quality: float64 ``(n,)`` in [0, 1], of the proposer.
        areas: float64 ``(n,)``, shares of the image.
        shared: float64 ``(n, n)``, pixels in common, on a grid of half the resolution.
        preferred: bool ``(n,)``: the mask proposer's own choice, or what smaller ones do not cover.
        border: bool ``(n,)``: what touches the image's border.
        chosen: Whether it was the proposer's own, no two of which exclude each other.
    """

    objects: Objects
    numbers: Ints
    quality: Floats
    areas: Floats
    shared: Floats
    preferred: Bools
    border: Bools
    chosen: bool = True

    def taken(self, which: Bools, masks: Masks) -> MaskedObjects:
        """The objects of a choice ``(n,)``, with their masks out of all of the image's."""
        return MaskedObjects(self.objects.rows(which), masks.masks[self.numbers[which]])


def described(
    pixels: npt.NDArray[np.uint8],
    masks: Bools,
    boxes: Floats,
    objectness: Floats,
    level: Tensor,
) -> MaskedObjects:
    """Describes objects whose masks ``(n, h, w)``, boxes and objectness are known."""
    colours = _lab(pixels, masks.shape[1:]) if len(masks) else np.zeros((0, 0, 3))
    half = np.array([pixels.shape[1], pixels.shape[0]]) / max(pixels.shape[:2])
    places = [_extent(mask) for mask in masks]
    centres = np.array([_centroid(m, p) for m, p in zip(masks, places, strict=True)])
    appearance = [_appearance(m[p], colours[p], m.size) for m, p in zip(masks, places, strict=True)]
    objects = Objects(
        _rounded(np.array(appearance).reshape(-1, 7)),
        _rounded(_mean_features(masks, places, level).double().cpu().numpy()),
        _rounded(boxes),
        _rounded((2 * centres.reshape(-1, 2) - 1) * half),
        _rounded(objectness),
    )
    return MaskedObjects(objects, masks)


def _shared_pixels(masks: Bools) -> Floats:
    """Pixels in common of masks ``(n, h, w)``, float64 ``(n, n)``, a few rows at a time."""
    shared = np.zeros((len(masks), len(masks)))
    for top in range(0, masks.shape[1], ROWS):
        rows = masks[:, top : top + ROWS]
        flat = rows.reshape(len(masks), rows.shape[1] * rows.shape[2]).astype(np.float32)
        shared += flat @ flat.T
    return shared


def _rounded(values: Floats) -> Floats:
    """Values as a saved detector keeps them, so that a loaded one gives the same scores."""
    return values.astype(np.float32).astype(np.float64)


def _not_covered(masks: Bools) -> Bools:
    """Which masks ``(n, h, w)`` smaller ones do not cover (CSAD, section 3.1)."""
    areas = masks.sum(axis=(1, 2))
    union = np.zeros(masks.shape[1:], bool)
    kept = np.zeros(len(masks), bool)
    for row in np.argsort(areas, kind="stable"):
        if (masks[row] & union).sum() < COVERED * areas[row]:
            kept[row] = True
            union |= masks[row]
    return kept


def _extent(mask: Bools) -> tuple[slice, slice]:
    """Rows and columns of a mask that is not empty."""
    rows = np.flatnonzero(mask.any(1))
    within = slice(int(rows[0]), int(rows[-1]) + 1)
    columns = np.flatnonzero(mask[within].any(0))
    return within, slice(int(columns[0]), int(columns[-1]) + 1)


def _appearance(inside: Bools, colours: Floats, pixels: int) -> list[float]:
    """Row of ``Objects.appearance`` of a mask and its colours in an image of ``pixels`` pixels."""
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


def _centroid(mask: Bools, place: tuple[slice, slice]) -> tuple[float, float]:
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


def _mean_features(masks: Bools, places: list[tuple[slice, slice]], level: Tensor) -> Tensor:
    """``region_means`` of a level, quick where its cells are whole numbers of pixels."""
    height, width = level.shape[-2:]
    down, across = masks.shape[1] / height, masks.shape[2] / width
    if not (down.is_integer() and across.is_integer()):
        return region_means(level[0], masks)
    shares = np.zeros((len(masks), height * width), np.float32)
    for share, mask, (rows, columns) in zip(shares, masks, places, strict=True):
        y, x = np.nonzero(mask[rows, columns])
        cells = (y + rows.start) // int(down) * width + (x + columns.start) // int(across)
        share += np.bincount(cells, minlength=height * width) / len(cells)
    return torch.einsum("nc,dc->nd", torch.from_numpy(shares).to(level), level[0].flatten(1))
