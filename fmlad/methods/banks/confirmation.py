"""Where an image registers to the shots, banks check each other.

A part that is missing, too many or elsewhere changes the pixels there. Where patches look as at the
same place of the shots, the proposer merely cut that image differently, which small structures and
touching things invite.

With a single shot nobody else confirms its objects, and its altered copies, which tell what is
usual, differ from it far less than another image would: there a deviation counts only where patches
are odder than in any of the copies, and lights up only the cells that are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fmlad.methods.banks.differences import Scene
from fmlad.methods.banks.parts_model import LEAST, Deviation
from fmlad.objects.appearance import Floats

# Most of a thing's box changes when the thing comes or goes: its upper quartile speaks, since the
# largest value may be a scratch on it. Shares of the oddest patch of normal images below which
# nothing has changed, and from which something has (ours).
TYPICAL = 0.75
SAME, CHANGED = 0.3, 0.6
SAME_ALONE, CHANGED_ALONE = 1.0, 2.0  # the same with a single shot (ours)


def confirmed(
    deviations: Sequence[Deviation],
    scene: Scene,
    patches: npt.NDArray[np.float32],
    alone: bool = False,
) -> list[Deviation]:
    """Deviations with what no patch confirms taken out, the largest first.

    Args:
        deviations: Of one image.
        scene: The image.
        patches: ``(h, w)``, distances to the same place in the shots, over the largest such
            distance of a normal image.
        alone: Whether there is only one shot.
    """
    kept = []
    for deviation in deviations:
        rows = list(deviation.rows)
        present = changed(scene.seen.objects.boxes[rows], scene.size, patches, alone)
        absent = changed(scene.boxes_of_absent(deviation.absent), scene.size, patches, alone)
        sure = np.concatenate([present, absent])
        if len(sure):
            deviation = replace(
                deviation,
                rows=tuple(row for row, c in zip(rows, present, strict=True) if c > 0),
                absent=tuple(a for a, c in zip(deviation.absent, absent, strict=True) if c > 0),
                score=deviation.score * float(sure.mean()),
            )
        if deviation.score > LEAST:
            kept.append(deviation)
    return sorted(kept, key=lambda deviation: -deviation.score)


def sureness(patches: npt.NDArray[np.floating], alone: bool) -> Floats:
    """How surely something changed, in [0, 1], where patches are so many times the usual."""
    same, changed = (SAME_ALONE, CHANGED_ALONE) if alone else (SAME, CHANGED)
    return np.asarray(np.clip((patches - same) / (changed - same), 0, 1), dtype=np.float64)


def changed(
    boxes: Floats, image: tuple[int, int], patches: npt.NDArray[np.float32], alone: bool
) -> Floats:
    """How surely something changed in each of some boxes of an image, ``(n,)`` in [0, 1].

    Args:
        boxes: ``(n, 4)``, ``xyxy`` in pixels.
        image: Its height and width.
        patches: As in :func:`confirmed`.
        alone: Whether there is only one shot.
    """
    scale = np.array([patches.shape[1] / image[1], patches.shape[0] / image[0]] * 2)
    largest = np.zeros(len(boxes))
    for number, box in enumerate(boxes * scale):
        x0, y0 = np.floor(box[:2]).astype(int)
        x1, y1 = np.ceil(box[2:]).astype(int)
        inside = patches[max(y0, 0) : max(y1, y0 + 1), max(x0, 0) : max(x1, x0 + 1)]
        if inside.size:
            largest[number] = np.quantile(inside, TYPICAL, method="lower")
    return sureness(largest, alone)
