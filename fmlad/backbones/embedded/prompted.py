"""Prompts answered from the proposals of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from fmlad.backbones.roles import Masks

Floats = npt.NDArray[np.float32]


def prompted(
    found: Masks, size: Sequence[int], boxes: Floats | None = None, points: Floats | None = None
) -> Masks:
    """The best proposal per box (by overlap of boxes) or per point (smallest mask on it).

    One that no proposal answers is empty with score 0.

    Args:
        found: Proposals of an image of ``size`` (height, width) in pixels.
        boxes: ``(n, 4)``, ``xyxy`` in pixels.
        points: ``(n, 2)``, ``xy`` in pixels.
    """
    from torchvision.ops import box_iou

    wanted = np.reshape(boxes if boxes is not None else [], (-1, 4)).astype(np.float32)
    spots = np.reshape(points if points is not None else [], (-1, 2)).astype(np.float32)
    height, width = found.masks.shape[1:]
    areas = found.masks.sum(axis=(1, 2))
    overlaps = box_iou(torch.from_numpy(found.boxes), torch.from_numpy(wanted))
    chosen = [_best(column) for column in overlaps.numpy().T]
    for x, y in spots:
        row = int(np.clip(y * height / size[0], 0, height - 1))
        column = int(np.clip(x * width / size[1], 0, width - 1))
        chosen.append(_best(found.masks[:, row, column] / np.maximum(areas, 1)))
    answers = np.array(chosen, int)  # -1: the empty one behind all proposals
    masks = np.concatenate([found.masks, np.zeros((1, height, width), bool)])[answers]
    scores = np.append(found.scores, np.float32(0))[answers]
    return Masks(masks, np.concatenate([wanted, np.tile(spots, 2)]), scores)


def _best(overlaps: npt.NDArray[np.floating]) -> int:
    return int(overlaps.argmax()) if len(overlaps) and overlaps.max() > 0 else -1
