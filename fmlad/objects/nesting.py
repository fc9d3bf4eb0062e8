"""Which proposals exclude each other, lie inside one another, or are pieces of one (ours)."""

from __future__ import annotations

import numpy as np

from fmlad.objects.appearance import Proposals
from fmlad.objects.arrays import Bools, Floats

SHARED = 0.5  # of the smaller one, from which two proposals exclude each other
ROOMY, CONTENT = 0.03, 0.25  # but a holder of this share of the image may have contents this small
INSIDE = 0.8  # share of a piece that lies inside the whole
CONTENTS, TILED = 0.6, 0.8  # share of a whole up to which one, and all pieces, may lie on it


def excluding(proposals: Proposals) -> Bools:
    """Which proposals exclude each other, ``(n, n)``."""
    own = np.maximum(np.diag(proposals.shared), 1)
    smaller = np.minimum.outer(proposals.areas, proposals.areas)
    larger = np.maximum.outer(proposals.areas, proposals.areas)
    holder = (larger > ROOMY) & (smaller < CONTENT * larger)
    result = (proposals.shared > SHARED * np.minimum.outer(own, own)) & ~holder
    np.fill_diagonal(result, False)
    return np.asarray(result)


def inside(proposals: Proposals) -> Bools:
    """Which proposals lie inside which, ``(n, n)``: ``[whole, piece]``."""
    sizes = np.maximum(np.diag(proposals.shared), 1)
    return np.asarray(proposals.shared / sizes[None] > INSIDE)


def excluding_but_contents(proposals: Proposals, likely: Bools) -> Bools:
    """Which exclude each other, ``(n, n)``, where a large thing and what lies on it do not.

    A label on a bottle is there in every image. So are a pin's head and shaft, but these are all
    that there is of the pin.

    Args:
        proposals: Of an image.
        likely: bool ``(n,)``: which may lie on another.
    """
    rivals = excluding(proposals)
    ratio = proposals.areas[None] / np.maximum(proposals.areas[:, None], 1e-12)
    on = inside(proposals) & (ratio < CONTENTS) & likely[None]
    on &= (proposals.areas > ROOMY)[:, None]
    for whole in np.flatnonzero(on.any(1)):
        covered, kept = 0.0, np.zeros(len(likely), bool)
        for piece in sorted(np.flatnonzero(on[whole]), key=lambda row: -proposals.areas[row]):
            if not (rivals[piece] & kept).any():
                kept[piece] = True
                covered += ratio[whole, piece]
        on[whole] &= covered < TILED
    return np.asarray(rivals & ~(on | on.T))


def pieces_of(row: int, rivals: Bools, within: Bools, kept: Bools, value: Floats) -> list[int]:
    """Proposals inside one that can replace it together, the most valuable first."""
    others = kept.copy()
    others[row] = False
    free = rivals[row] & within & ~kept & ~(rivals & others).any(1)
    chosen: list[int] = []
    for piece in sorted(np.flatnonzero(free), key=lambda index: -value[index]):
        if not rivals[piece][chosen].any():
            chosen.append(int(piece))
    return chosen
