"""From patch histograms to maps and typed differences (CSAD, appendix D).

A class that is additional in a cell has its score where the image has the class; one that is
missing, where the training image with the closest class histogram has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmlad.findings import Kind
from fmlad.methods.csad.patch_histogram import HistogramModel, cells_of, patch_histogram
from fmlad.methods.protocol import Difference
from fmlad.objects.arrays import Bools
from fmlad.objects.pieces import pieces
from fmlad.sentences import Measure

FloatMap = npt.NDArray[np.float32]
Labels = npt.NDArray[np.integer]

BRANCH = "histogram"
# All limits here are ours: the paper's histograms have a map and no words.
WORTH = 0.5  # share of the largest value from which another class is told of as well
GONE = 0.1  # share of the closest training image's area up to which a class is absent
BOTH = 0.3  # share of an excess, in cells, that a lack elsewhere has, for a class to be misplaced


@dataclass(frozen=True)
class Compared:
    """An image's parts beside the normal histograms and the closest training image.

    Attributes:
        labels: ``(h, w)``, classes of the image.
        nearest: ``(h, w)``, of the training image with the closest class histogram.
        score: Of the branch.
        values: By grid, float64 ``(P * P, K - 1)``: the score times each cell's and class's share
            in the largest one's part in the distance; signed, negative where the class is missing.
            The largest magnitude over all grids is the score.
    """

    labels: Labels
    nearest: Labels
    score: float
    values: dict[int, npt.NDArray[np.float64]]

    @classmethod
    def of(
        cls, labels: Labels, nearest: Labels, score: float, models: Sequence[HistogramModel],
        classes: int,
    ) -> Compared:  # fmt: skip
        """Shares out a score of the branch."""
        found = {}
        for model in models:
            vector = patch_histogram(labels, classes, model.grid)
            parts = np.sqrt(model.parts(vector)) / model.scale
            found[model.grid] = np.copysign(parts, model.difference(vector))
        most = max(float(np.abs(one).max()) for one in found.values())
        factor = score / most if most > 0 else 0.0
        return cls(labels, nearest, score, {grid: one * factor for grid, one in found.items()})

    def painted(self) -> FloatMap:
        """Map ``(h, w)``: the greatest value over all grids of what a pixel is, or should be."""
        result = np.zeros(self.labels.shape)
        for grid, values in self.values.items():
            cells = cells_of(self.labels.shape, grid)
            # The background, class 0, has no value.
            more = np.pad(np.maximum(values, 0), ((0, 0), (1, 0)))
            less = np.pad(np.maximum(-values, 0), ((0, 0), (1, 0)))
            result = np.maximum(result, more[cells, self.labels])
            absent = np.where(self.nearest == self.labels, 0, self.nearest)
            result = np.maximum(result, less[cells, absent])
        return result.astype(np.float32)

    def told(self) -> list[tuple[int, float]]:
        """Classes, from 0, that make up most of the score, with their values, greatest first."""
        by_class = np.stack([np.abs(one).max(0) for one in self.values.values()]).max(0)
        least = max(WORTH * self.score, np.finfo(float).tiny)
        order = np.argsort(-by_class, kind="stable")
        return [(int(row), float(by_class[row])) for row in order if by_class[row] >= least]

    def masks(self, row: int) -> tuple[Bools, Bools]:
        """Where a class, from 0, lies in the image and in the training image, ``(h, w)`` each."""
        return self.labels == row + 1, self.nearest == row + 1


def differences(
    compared: Compared, names: Sequence[str], size: tuple[int, int]
) -> list[Difference]:
    """What makes up most of the score of an image of ``size``, in facts."""
    return [_difference(compared, row, value, names[row], size) for row, value in compared.told()]


def _difference(
    compared: Compared, row: int, value: float, name: str, size: tuple[int, int]
) -> Difference:
    here, there = compared.masks(row)
    kind, measure, expected, observed = _facts(compared, row, here, there)
    boxes = pieces(_place(kind, here, there)).boxes(size)
    own = pieces(here).boxes(size)
    peers = () if kind != "missing" else (*own, *(box for box in boxes if box not in own))
    return Difference(
        branch=BRANCH, score=value, kind=kind, part=name, expected=expected, observed=observed,
        measure=measure, boxes=boxes, peers=peers,
    )  # fmt: skip


def _facts(
    compared: Compared, row: int, here: Bools, there: Bools
) -> tuple[Kind, Measure, float | None, float | None]:
    """Kind, measure, expected and observed number."""
    found, wanted = float(here.mean()), float(there.mean())
    own, others = pieces(here).count, pieces(there).count
    gone, new = found <= GONE * wanted, wanted <= GONE * found
    counted = own != others > 0 and round(found / max(wanted, 1e-9) * others) == own
    if not (gone or new or counted) and _moved(compared, row):
        return "misplaced", "count", None, None
    if gone or new or counted:
        kind: Kind = "missing" if found < wanted else "extra"
        expected, observed = float(0 if new else others), float(0 if gone else own)
        if expected == observed:  # too small to be a piece
            expected, observed = (1.0, 0.0) if gone else (0.0, 1.0)
        return kind, "count", expected, observed
    return "resized", "ratio", wanted, found


def _moved(compared: Compared, row: int) -> bool:
    """Whether cells have too much of a class and others too little of it."""
    signed = [values[:, row] for grid, values in compared.values.items() if grid > 1]
    pairs = [(float(one.max()), -float(one.min())) for one in signed]
    return any(min(pair) >= BOTH * max(pair) > 0 for pair in pairs)


def _place(kind: Kind, here: Bools, there: Bools) -> Bools:
    """Where a difference of a class lies: pieces too many, places of those missing, or all."""
    if not here.any():
        return there
    if not there.any():
        return here
    lacking = kind == "missing" or (kind == "resized" and here.sum() < there.sum())
    one, other = (there, here) if lacking else (here, there)
    changed = pieces(one).unlike(other)
    return changed if changed.any() else here
