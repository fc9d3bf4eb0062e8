"""Classes of parts that lie at fixed places, a class a place (ours).

What is found without labels tells parts apart by what they are. Where the same part lies at several
places, and at each of them in nearly every image, its place belongs to what it is: one pin in each
compartment, a connector at either end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Labels = npt.NDArray[np.integer]

ACROSS = 0.12  # largest extent of a place, as a share of the image's longer side
OFTEN = 0.8  # share of the images of a class in which each of its places has one piece
NEARLY_ALL = 0.9  # share of the pieces that lie at such places
LEAST = 0.1  # of a class's median piece: smaller ones are specks, and count for nothing


def split_by_place(maps: Sequence[Labels], classes: int) -> tuple[list[Labels], list[int]]:
    """Gives each place of a class a class of its own, where the class keeps to its places.

    Args:
        maps: Integer ``(H, W)`` in 0..classes - 1, 0: the background; sizes may differ.
        classes: K.

    Returns:
        New maps, and for each new class the old one, the background (0) included. A pixel has the
        class of the place next to its piece.
    """
    found: list[Labels] = [np.zeros(one.shape, np.int32) for one in maps]
    origins = [0]
    for label in range(1, classes):
        pieces = [_pieces(one == label) for one in maps]
        places = _places([centres for _, centres, _ in pieces], [areas for *_, areas in pieces])
        first = len(origins)
        origins += [label] * max(len(places), 1)
        for out, (numbered, centres, _) in zip(found, pieces, strict=True):
            if not len(centres):
                continue
            nearest = np.zeros(len(centres), np.int64)
            if len(places):
                gaps = np.linalg.norm(centres[:, None] - places[None], axis=2)
                nearest = gaps.argmin(axis=1)
            table = np.concatenate([[0], first + nearest])
            out += table[numbered].astype(np.int32)
    return found, origins


def _pieces(mask: npt.NDArray[np.bool_]) -> tuple[Labels, npt.NDArray[np.float64], Labels]:
    """Numbered pieces, their centres ``(n, 2)`` in shares of the longer side, and their areas."""
    numbered, count = ndimage.label(mask)
    if not count:
        return numbered, np.zeros((0, 2)), np.zeros(0, np.int64)
    numbers = np.arange(1, count + 1)
    centres = np.array(ndimage.center_of_mass(mask, numbered, numbers)) / max(mask.shape)
    return numbered, centres, np.bincount(numbered.ravel(), minlength=count + 1)[1:]


def _places(
    centres: Sequence[npt.NDArray[np.float64]], areas: Sequence[Labels]
) -> npt.NDArray[np.float64]:
    """Centres of the places of a class, ``(m, 2)`` with m of 2 or more; else none."""
    from scipy.cluster.hierarchy import fcluster, linkage

    none = np.zeros((0, 2))
    every = np.concatenate(list(areas))
    if not len(every):
        return none
    large = [one >= LEAST * np.median(every) for one in areas]
    kept = [one[own] for one, own in zip(centres, large, strict=True)]
    images = np.repeat(np.arange(len(kept)), [len(one) for one in kept])
    points = np.concatenate(kept)
    showing = len(np.unique(images))
    if showing < 2 or len(points) < 2 * showing * OFTEN:
        return none
    groups = fcluster(linkage(points, "complete"), ACROSS, "distance")
    steady = []
    for group in np.unique(groups):
        own = images[groups == group]
        once = int((np.bincount(own, minlength=len(kept)) == 1).sum())
        if once >= OFTEN * showing:
            steady.append(group)
    covered = np.isin(groups, steady).mean()
    if len(steady) < 2 or covered < NEARLY_ALL:
        return none
    return np.array([points[groups == group].mean(axis=0) for group in steady])
