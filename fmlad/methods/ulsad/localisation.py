"""Findings of ULSAD: places of its map, and which branch speaks there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from fmlad.findings import Box, defects
from fmlad.methods.protocol import Difference
from fmlad.methods.ulsad.reconstruction import GLOBAL, LOCAL
from fmlad.scoring.map_quantiles import AT_HIGH

COMBINED = "combined"
# A place reaches down its flanks to this share of the greatest value of the map, and not below what
# the higher quantile of normal images becomes (ours).
FLANK = 0.5
REASONS = {
    LOCAL: "a structure unlike those in the normal images (local branch)",
    GLOBAL: "an arrangement unlike those in the normal images (global branch)",
}

FloatMap = npt.NDArray[np.float32]


def positive(values: npt.NDArray[np.floating[Any]]) -> FloatMap:
    """Values of a map by its quantiles, in units of the higher one, above 0 (ours).

    The softplus keeps the order, and is the value itself where that is large. 0 and 0.1, the
    quantiles of normal images, become 0.69 and 1.31.
    """
    units = np.asarray(values, np.float64) / AT_HIGH
    return np.asarray(np.logaddexp(0.0, units), np.float32)


NORMAL = float(positive(np.array([AT_HIGH]))[0])


def differences(maps: Mapping[str, FloatMap], lead: str, size: tuple[int, int]) -> list[Difference]:
    """Places where the leading map is high, greatest first, each by the branch that is higher.

    Args:
        maps: Of the branches and of the lead, as of :func:`positive`, ``(h, w)`` each.
        lead: Whose values are the scores.
        size: Height and width of the image in pixels.
    """
    whole = {branch: _at_size(one, size) for branch, one in maps.items()}
    level = max(NORMAL, FLANK * float(whole[lead].max()))
    spoken = [branch for branch in (LOCAL, GLOBAL) if branch in maps]
    found = []
    for place in defects(whole[lead], level):
        branch = max(spoken, key=lambda one: _within(whole[one], place.boxes[0]))
        found.append(
            Difference(
                branch=branch, score=place.score, kind="defect", boxes=place.boxes,
                reason=REASONS[branch],
            )
        )  # fmt: skip
    return found


def _within(values: FloatMap, box: Box) -> float:
    left, top, right, bottom = (int(edge) for edge in box)
    return float(values[top:bottom, left:right].max())


def _at_size(values: FloatMap, size: tuple[int, int]) -> FloatMap:
    whole = F.interpolate(torch.from_numpy(values)[None, None], size, mode="bilinear")
    return np.asarray(whole[0, 0].numpy())
