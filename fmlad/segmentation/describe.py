"""Objects of one image in numbers: what they look like, how large they are and where they lie."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.roles import Masks

Floats = npt.NDArray[np.float64]

# Columns of ``Objects.looks``. One unit each is a difference that a person would call clear; units
# only set the starting point, parts learn their own from the shots.
LIGHTNESS, RED_GREEN, YELLOW_BLUE, SPREAD, SIZE, ELONGATION, SOLIDITY = range(7)
COLOUR = (LIGHTNESS, RED_GREEN, YELLOW_BLUE, SPREAD)
FORM = (SIZE, ELONGATION, SOLIDITY)
COLOUR_UNIT, SPREAD_UNIT = 20.0, 10.0  # Delta E
SIZE_UNIT, ELONGATION_UNIT = math.log(1.5), math.log(1.5)  # ratios
SOLIDITY_UNIT = 0.1

# A proposal counts as an object from FULL quality on, and not at all below NONE (ours).
NONE, FULL = 0.4, 0.6
COVERED = 0.9  # a mask this much covered by smaller ones says nothing new (CSAD's overlap rule)
MOST = 256  # objects an image, best quality first (CSAD keeps 255)


@dataclass(frozen=True)
class Objects:
    """What is known about the objects of one image; all arrays have one row an object.

    Attributes:
        looks: float64 ``(n, 7)``: mean Lab colour, colour spread, log of the area share,
            log elongation, solidity, each divided by its unit above.
        features: float64 ``(n, C)``, mean backbone features inside the mask.
        boxes: float64 ``(n, 4)``, ``xyxy`` in input pixels.
        places: float64 ``(n, 2)``, ``(x, y)`` of the centroid from the image centre, in halves of
            the longer side.
        weights: float64 ``(n,)`` in (0, 1]: how surely this is an object at all.
    """

    looks: Floats
    features: Floats
    boxes: Floats
    places: Floats
    weights: Floats

    def __len__(self) -> int:
        return len(self.weights)

    def tensors(self) -> dict[str, Tensor]:
        """float32 copies of everything, to be saved."""
        arrays = {
            "looks": self.looks,
            "features": self.features,
            "boxes": self.boxes,
            "places": self.places,
            "weights": self.weights,
        }
        return {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}


@dataclass(frozen=True)
class Seen:
    """Objects of an image together with their masks, which are not remembered.

    Attributes:
        objects: The descriptions.
        masks: bool ``(n, h, w)`` in the order of the objects, on the proposer's grid.
    """

    objects: Objects
    masks: npt.NDArray[np.bool_]


def see(pixels: npt.NDArray[np.uint8], masks: Masks, level: Tensor) -> Seen:
    """Describes the proposals of an image that count as objects.

    Args:
        pixels: uint8 ``(H, W, 3)`` RGB.
        masks: Proposals.
        level: Backbone features ``(1, C, h, w)``.
    """
    kept = chosen(masks)
    weights = np.clip((masks.scores[kept] - NONE) / (FULL - NONE), 1e-3, 1).astype(np.float64)
    boxes = masks.boxes[kept].astype(np.float64)
    return described(pixels, masks.masks[kept], boxes, weights, level)


def described(
    pixels: npt.NDArray[np.uint8],
    masks: npt.NDArray[np.bool_],
    boxes: Floats,
    weights: Floats,
    level: Tensor,
) -> Seen:
    """Describes objects whose masks ``(n, h, w)``, boxes and weights are known."""
    colours = _lab(pixels, masks.shape[1:]) if len(masks) else np.zeros((0, 0, 3))
    half = np.array([pixels.shape[1], pixels.shape[0]]) / max(pixels.shape[:2])
    centres = np.array([_centroid(mask) for mask in masks]).reshape(-1, 2)
    objects = Objects(
        np.array([_look(mask, colours) for mask in masks]).reshape(-1, 7),
        _mean_features(masks, level),
        boxes,
        (2 * centres - 1) * half,
        weights,
    )
    return Seen(objects, masks)


def chosen(masks: Masks) -> npt.NDArray[np.int64]:
    """Indices of the proposals that count as objects, best first.

    From small to large, a mask that smaller ones cover says nothing new: parts win over wholes
    (CSAD, section 3.1, and its code's ``filter_by_combine``).
    """
    good = np.flatnonzero(masks.scores > NONE)[:MOST]
    areas = masks.masks[good].sum(axis=(1, 2)) if len(good) else np.zeros(0)
    union = np.zeros(masks.masks.shape[1:], bool)
    kept = []
    for row in np.argsort(areas, kind="stable"):
        mask = masks.masks[good[row]]
        if areas[row] > 0 and (mask & union).sum() < COVERED * areas[row]:
            kept.append(good[row])
            union |= mask
    return np.sort(np.asarray(kept, np.int64))


def _look(mask: npt.NDArray[np.bool_], colours: Floats) -> list[float]:
    from skimage.measure import regionprops

    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    place = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    region = regionprops(mask[place].astype(np.uint8))[0]
    inside = colours[place][mask[place]]
    mean = inside.mean(0)
    spread = float(np.sqrt(np.square(inside - mean).sum(1).mean()))
    # Half a pixel keeps lines of one pixel finite.
    elongation = math.log((region.axis_major_length + 0.5) / (region.axis_minor_length + 0.5))
    solidity = float(region.area / max(region.area_convex, 1)) if region.area > 2 else 1.0
    return [
        *(mean / COLOUR_UNIT),
        spread / SPREAD_UNIT,
        math.log(mask.mean()) / SIZE_UNIT,
        elongation / ELONGATION_UNIT,
        solidity / SOLIDITY_UNIT,
    ]


def _centroid(mask: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Centre of a mask, ``(x, y)`` in [0, 1]."""
    down, across = mask.sum(1), mask.sum(0)
    total = max(int(down.sum()), 1)
    y = float(down @ np.arange(len(down))) / total
    x = float(across @ np.arange(len(across))) / total
    return (x + 0.5) / mask.shape[1], (y + 0.5) / mask.shape[0]


def _lab(pixels: npt.NDArray[np.uint8], grid: tuple[int, ...]) -> Floats:
    """CIE Lab ``(h, w, 3)`` on the proposer's grid."""
    from fmlad.backbones.builtin import lab

    image = torch.from_numpy(np.array(pixels.transpose(2, 0, 1)))[None].float() / 255
    small = F.interpolate(image, (grid[0], grid[1]), mode="bilinear", antialias=True)
    return 100 * lab(small)[0].permute(1, 2, 0).double().numpy()


def _mean_features(masks: npt.NDArray[np.bool_], level: Tensor) -> Floats:
    """Mean of a feature map under each mask, ``(n, C)``."""
    channels, height, width = level.shape[1:]
    if len(masks) == 0:
        return np.zeros((0, channels))
    shares = F.interpolate(
        torch.from_numpy(masks.astype(np.float32))[:, None], (height, width), mode="area"
    )[:, 0].to(level.device)
    # An object smaller than a cell still owns its share of it.
    shares = shares / shares.sum(dim=(1, 2), keepdim=True).clamp_min(1e-6)
    return torch.einsum("nhw,chw->nc", shares, level[0]).double().cpu().numpy()
