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

from fmlad.memory.change import changed
from fmlad.methods.banks.differences import Scene
from fmlad.methods.banks.parts_model import LEAST, Deviation


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
