"""Answering boxes and points out of ready proposals, for proposers that cannot be prompted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fmlad.backbones.roles import Masks

Floats = npt.NDArray[np.float32]


def pick(found: Masks, image: Tensor, boxes: Floats | None, points: Floats | None) -> Masks:
    """The best proposal per box (by overlap of boxes) or per point (smallest mask on it).

    Args:
        found: Proposals of the image.
        image: uint8 ``(1, 3, H, W)``, for its size.
        boxes: ``(n, 4) xyxy`` in input pixels, or None.
        points: ``(n, 2) xy`` in input pixels, or None.

    Returns:
        One mask a prompt, boxes first; one that no proposal answers is empty with score 0.
    """
    wanted = np.reshape(boxes if boxes is not None else [], (-1, 4)).astype(np.float32)
    spots = np.reshape(points if points is not None else [], (-1, 2)).astype(np.float32)
    height, width = found.masks.shape[1:]
    areas = found.masks.sum(axis=(1, 2))
    chosen = [_best(_overlaps(found.boxes, box)) for box in wanted]
    for x, y in spots:
        row = int(np.clip(y * height / image.shape[-2], 0, height - 1))
        column = int(np.clip(x * width / image.shape[-1], 0, width - 1))
        chosen.append(_best(found.masks[:, row, column] / np.maximum(areas, 1)))
    masks = np.zeros((len(chosen), height, width), bool)
    scores = np.zeros(len(chosen), np.float32)
    for index, best in enumerate(chosen):
        if best is not None:
            masks[index], scores[index] = found.masks[best], found.scores[best]
    return Masks(masks, np.concatenate([wanted, np.tile(spots, 2)]), scores)


def _best(overlaps: npt.NDArray[np.floating]) -> int | None:
    return int(overlaps.argmax()) if len(overlaps) and overlaps.max() > 0 else None


def _overlaps(boxes: Floats, wanted: Floats) -> Floats:
    """Intersection over union of boxes ``(n, 4)`` with one ``(4,)``."""
    sides = np.minimum(boxes[:, 2:], wanted[2:]) - np.maximum(boxes[:, :2], wanted[:2])
    shared = np.prod(np.maximum(sides, 0), axis=1)
    union = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(wanted[2:] - wanted[:2]) - shared
    return np.asarray(shared / np.maximum(union, 1), dtype=np.float32)
