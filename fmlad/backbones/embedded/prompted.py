"""Prompts answered from the proposals of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from fmlad.backbones.mask_prompts import BESIDE, ON, mask_prompts
from fmlad.backbones.roles import Masks

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def prompted(
    found: Masks,
    size: Sequence[int],
    boxes: Floats | None = None,
    points: Floats | None = None,
    labels: Ints | None = None,
) -> Masks:
    """The proposal that answers each prompt, boxes first.

    A box is answered by the proposal whose own box overlaps it most; a set of points by the
    smallest proposal that holds all points labelled 1 and none labelled 0. A prompt that no
    proposal answers gets an empty mask with score 0 and the box 0, 0, 0, 0.

    Args:
        found: Proposals of an image of ``size`` (height, width) in pixels.
        boxes: ``(n, 4)``, ``xyxy`` in pixels.
        points: ``(n, 2)``, ``xy`` in pixels, or ``(n, p, 2)`` for p points a mask. One beyond the
            image counts as the nearest place in it.
        labels: Of points ``(n, p)``: 1 on the object, 0 beside it, -1 no point at all.

    Raises:
        OptionError: Shapes or labels do not fit; see :func:`.mask_prompts.mask_prompts`.
    """
    from torchvision.ops import box_iou

    asked = mask_prompts(boxes, points, labels)
    height, width = found.masks.shape[1:]
    areas = found.masks.sum(axis=(1, 2))
    wanted = torch.from_numpy(asked.boxes.astype(np.float32))
    overlaps = box_iou(torch.from_numpy(found.boxes), wanted)
    chosen = [_best(column) for column in overlaps.numpy().T]
    for spots, kinds in zip(asked.points, asked.labels, strict=True):
        rows = np.clip(spots[:, 1] * height / size[0], 0, height - 1).astype(int)
        columns = np.clip(spots[:, 0] * width / size[1], 0, width - 1).astype(int)
        held = found.masks[:, rows, columns]
        fits = held[:, kinds == ON].all(1) & ~held[:, kinds == BESIDE].any(1)
        chosen.append(_best(fits / np.maximum(areas, 1)))
    answers = np.array(chosen, int)  # -1: the empty one behind all proposals
    masks = np.concatenate([found.masks, np.zeros((1, height, width), bool)])[answers]
    own = np.concatenate([found.boxes, np.zeros((1, 4), np.float32)])[answers]
    scores = np.append(found.scores, np.float32(0))[answers]
    return Masks(masks, own, scores)


def _best(overlaps: npt.NDArray[np.floating]) -> int:
    return int(overlaps.argmax()) if len(overlaps) and overlaps.max() > 0 else -1
