"""How well a mask proposer finds the objects of scenes, whose true masks are known.

``python -m benchmarks.scenes --objects``: mean best IoU (over true objects, of all proposals),
recall at 0.5 (share of true objects with a proposal of at least that IoU) and precision at 0.5
(share of proposals paired one to one with a true object at that IoU, so that a duplicate is wrong),
of the preferred proposals and of all that are offered.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from benchmarks.scene_masks import ious, true_objects
from fmlad.backbones.roles import Masks
from fmlad.datasets.scenes import Scene
from fmlad.objects.appearance import NONE

RIGHT = 0.5
Bools = npt.NDArray[np.bool_]


def object_figures(found: Iterable[tuple[Scene, Masks]]) -> dict[str, float]:
    """Figures of some scenes, all objects and all proposals together."""
    best: dict[str, list[float]] = {"preferred": [], "offered": []}
    right = dict.fromkeys(best, 0)
    count = dict.fromkeys(best, 0)
    scenes = 0
    for scene, masks in found:
        scenes += 1
        truth = true_objects(scene)
        usable = np.asarray(masks.scores > NONE)
        preferred = usable if masks.preferred is None else usable & masks.preferred
        for which, rows in (("preferred", preferred), ("offered", usable)):
            overlap = ious(truth, enlarged(masks.masks[rows], truth.shape[1:]))
            best[which] += overlap.max(1, initial=0.0).tolist()
            one, other = linear_sum_assignment(-(overlap >= RIGHT).astype(float))
            right[which] += int((overlap[one, other] >= RIGHT).sum())
            count[which] += int(rows.sum())
    figures: dict[str, float] = {}
    for which, values in best.items():
        figures[f"{which}: mean best IoU"] = float(np.mean(values))
        figures[f"{which}: recall"] = float((np.array(values) >= RIGHT).mean())
        figures[f"{which}: precision"] = right[which] / max(count[which], 1)
        figures[f"{which}: masks an image"] = count[which] / max(scenes, 1)
    return figures


def enlarged(masks: Bools, size: tuple[int, ...]) -> Bools:
    """Masks ``(n, h, w)`` at another size ``(H, W)``, by the nearest pixel."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64)
        for new, old in zip(size, masks.shape[1:], strict=True)
    )
    return np.asarray(masks[:, rows][:, :, columns])
