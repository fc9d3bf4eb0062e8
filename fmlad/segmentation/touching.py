"""Touching objects told apart by what the shots know: no part as a whole, but parts in pieces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fmlad.segmentation.describe import SIZE, SIZE_UNIT, Floats, Objects, Seen, described
from fmlad.segmentation.parts import Parts

MOST_PIECES = 4
ROUNDS = 10  # of two-means over the pixels


def separated(seen: Seen, parts: Parts, pixels: npt.NDArray[np.uint8], level: Tensor) -> Seen:
    """Cuts objects that are no known part where all their pieces are one.

    Two dice that touch look like neither a die nor anything else in the shots, but each half looks
    like a die. Whole objects that are a part are never cut.

    Args:
        seen: Objects of an image.
        parts: Of the shots.
        pixels: uint8 ``(H, W, 3)``.
        level: Backbone features ``(1, C, h, w)``.
    """
    number = next((i for i, lv in enumerate(parts.levels) if lv.facet == "form"), 0)
    owner = parts.assign(seen.objects)[number]
    sizes = {
        index: float(np.exp(SIZE_UNIT * parts.looks[group.members, SIZE]).mean())
        for index, group in enumerate(parts.groups)
        if group.level == number
    }
    whole: list[Seen] = []
    kept = np.ones(len(owner), bool)
    for row in np.flatnonzero(owner < 0):
        share = float(np.exp(SIZE_UNIT * seen.objects.looks[row, SIZE]))
        counts = {round(share / size) for size in sizes.values()}
        for count in sorted(c for c in counts if 2 <= c <= MOST_PIECES):
            pieces = _pieces(seen, int(row), count, pixels, level)
            owners = parts.assign(pieces.objects)[number]
            if owners[0] >= 0 and (owners == owners[0]).all():
                group = parts.groups[owners[0]]
                # What fits a known part is as surely an object as those are.
                sure = max(float(parts.weights[group.members].mean()), seen.objects.weights[row])
                whole.append(_weighted(pieces, sure))
                kept[row] = False
                break
    if not whole:
        return seen
    return _joined([Seen(seen.objects.rows(kept), seen.masks[kept]), *whole])


def _pieces(seen: Seen, row: int, count: int, pixels: npt.NDArray[np.uint8], level: Tensor) -> Seen:
    """An object cut into compact pieces of about equal size (k-means over its pixels)."""
    mask = seen.masks[row]
    points = np.argwhere(mask).astype(np.float64)
    centred = points - points.mean(0)
    axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    along = centred @ axis
    # Started along the longest axis: the same every time.
    quantiles = np.quantile(along, (np.arange(count) + 0.5) / count)
    label = np.abs(along[:, None] - quantiles).argmin(1)
    for _ in range(ROUNDS):
        centres = [
            points[label == k].mean(0) if (label == k).any() else points[0] for k in range(count)
        ]
        label = np.linalg.norm(points[:, None] - np.array(centres), axis=-1).argmin(1)
    masks = np.zeros((count, *mask.shape), bool)
    corners = points.astype(np.int64)
    masks[label, corners[:, 0], corners[:, 1]] = True
    masks = masks[masks.any(axis=(1, 2))]
    scale = np.array([pixels.shape[1] / mask.shape[1], pixels.shape[0] / mask.shape[0]])
    boxes = []
    for piece in masks:
        rows, columns = np.nonzero(piece)
        low, high = (columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1)
        boxes.append(np.concatenate([low * scale, high * scale]))
    weights = np.full(len(masks), seen.objects.weights[row])
    return described(pixels, masks, np.array(boxes), weights, level)


def _weighted(seen: Seen, weight: float) -> Seen:
    objects = replace(seen.objects, weights=np.full(len(seen.objects), weight))
    return Seen(objects, seen.masks)


def _joined(several: list[Seen]) -> Seen:
    def stacked(name: str) -> Floats:
        return np.concatenate([getattr(seen.objects, name) for seen in several])

    objects = Objects(
        stacked("looks"),
        stacked("features"),
        stacked("boxes"),
        stacked("places"),
        stacked("weights"),
    )
    return Seen(objects, np.concatenate([seen.masks for seen in several]))
