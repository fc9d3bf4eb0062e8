"""Connected pieces of one class of a label map; PSAD and CSAD count and place parts by them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmlad.findings import Box
from fmlad.objects.arrays import Bools
from fmlad.objects.instances import as_box

IN_PLACE = 0.3  # share of a piece that the same class covers in the other image, to be the same one
SPECK, LEAST_CELLS = 0.1, 3  # share of the largest piece, and cells, below which a piece is a speck


@dataclass(frozen=True)
class Pieces:
    """Connected pieces of a class, specks left out.

    Attributes:
        numbers: int64 ``(h, w)``: 0 outside, then 1 to ``count``.
        count: How many.
    """

    numbers: npt.NDArray[np.int64]
    count: int

    def unlike(self, other: Bools) -> Bools:
        """Those that another mask does not cover, as one mask."""
        covered = [float(other[self.numbers == n].mean()) for n in range(1, self.count + 1)]
        alone = [n for n, share in enumerate(covered, start=1) if share < IN_PLACE]
        return np.isin(self.numbers, alone)

    def boxes(self, size: tuple[int, int]) -> tuple[Box, ...]:
        """A box ``xyxy`` around each, in pixels of an image of ``size``."""
        from scipy import ndimage

        height, width = self.numbers.shape
        unit = np.array([size[1] / width, size[0] / height] * 2)
        return tuple(
            as_box(np.array([x.start, y.start, x.stop, y.stop]) * unit)
            for y, x in ndimage.find_objects(self.numbers)
        )


def pieces(mask: Bools) -> Pieces:
    """Connected pieces of a mask ``(h, w)``; where all are specks, the largest."""
    from scipy import ndimage

    numbers, _ = ndimage.label(mask, np.ones((3, 3)))
    areas = np.bincount(numbers.ravel())[1:]
    if not len(areas):
        return Pieces(np.zeros(mask.shape, np.int64), 0)
    least = min(max(LEAST_CELLS, SPECK * areas.max()), areas.max())
    kept = 1 + np.flatnonzero(areas >= least)
    order = np.zeros(len(areas) + 1, np.int64)
    order[kept] = np.arange(1, len(kept) + 1)
    return Pieces(order[numbers], len(kept))
