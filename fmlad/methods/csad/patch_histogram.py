"""Patch histograms: shares of each class in the cells of grids, and how far they are from normal.

CSAD, section 3.3. A grid of one cell is the class histogram of the whole image (Eq. 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from fmlad.errors import ShotsError
from fmlad.scoring.trimmed import TrimmedMoments

Vectors = npt.NDArray[np.float64]
LabelMap = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]
Covariance = Literal["pinv", "shrunk"]
Joined = Literal["sum", "norm"]

# Least spreads with "shrunk" (ours, as in PSAD's preset "cpu"): so many pixels of 10,000 of the
# image, and a share of the class's mean area, which is a few rows of its outline.
LEAST_AREA, LEAST_OF_AREA = 1e-4, 0.02
# A class keeps to the cells whose side, times this, is at least its positional spread (ours).
STRICT = 0.15
EXTENT = (0.1, 0.5, 0.9)  # quantiles of a class's rows and columns


def patch_histogram(labels: LabelMap, classes: int, grid: int) -> Vectors:
    """Shares of the foreground classes in each cell.

    Args:
        labels: ``(h, w)`` in 0..classes - 1, at least ``grid`` cells on each side.
        classes: K, the background (0) among them.
        grid: P, cells on a side.

    Returns:
        float64 ``(P * P * (K - 1),)`` in 0..1: cell after cell, columns of cells from the left,
        each from the top down (the released code's order), and in a cell class after class.
    """
    joint = np.bincount(
        (cells_of(labels.shape, grid) * classes + labels).ravel(),
        minlength=grid * grid * classes,
    )
    counts = joint.reshape(grid * grid, classes).astype(np.float64)
    return np.asarray((counts / counts.sum(1, keepdims=True))[:, 1:].ravel())


@lru_cache(maxsize=32)
def cells_of(size: tuple[int, ...], grid: int) -> npt.NDArray[np.int64]:
    """Number of the cell of :func:`patch_histogram` that each pixel of a map ``(h, w)`` is in."""
    rows, columns = (np.minimum(np.arange(side) * grid // side, grid - 1) for side in size)
    cells = np.asarray(columns[None, :] * grid + rows[:, None])
    cells.flags.writeable = False  # it is kept
    return cells


@dataclass(frozen=True)
class HistogramModel:
    """Normal patch histograms of one grid, as a Gaussian (Eq. 4).

    Attributes:
        grid: P, cells on a side.
        mean: float64 ``(D,)``, D being ``P * P * (K - 1)``.
        precision: float64 ``(D, D)``: the inverse of the covariance, or its pseudo-inverse; 0 for
            what does not count.
        scale: Trimmed standard deviation of the distances of normal images, by which the grids are
            brought together (section 3.5); 1 until :meth:`scaled`.
    """

    grid: int
    mean: Vectors
    precision: Vectors
    scale: float = 1.0

    @classmethod
    def fit(
        cls,
        grid: int,
        vectors: Vectors,
        covariance: Covariance = "pinv",
        counted: Bools | None = None,
    ) -> HistogramModel:
        """From the vectors ``(N, D)`` of training images.

        Args:
            grid: Of the vectors.
            vectors: From :func:`patch_histogram`.
            covariance: ``"pinv"``: the pseudo-inverse of the plain covariance (the paper's
                inverse, in its code). What never varies over the training images then counts
                nothing, however much it varies later. ``"shrunk"``: variances have a least value,
                and correlations are shrunk by Ledoit and Wolf (2004), as few images overstate them.
            counted: ``(K - 1,)``: foreground classes that count in this grid; None: all.

        Raises:
            ShotsError: There is no vector.
        """
        if not len(vectors):
            raise ShotsError("A patch histogram takes at least one training image; got none.")
        mean = vectors.mean(0)
        held = (
            np.arange(len(mean)) if counted is None else np.flatnonzero(np.tile(counted, grid**2))
        )
        invert = _pinv if covariance == "pinv" else _shrunk
        precision = np.zeros((len(mean), len(mean)))
        if len(held):
            least = least_spread(mean, grid)[held]
            precision[np.ix_(held, held)] = invert(vectors[:, held], least)
        return cls(grid, mean, precision)

    def scaled(self, normal: Vectors) -> HistogramModel:
        """A copy whose scale is that of vectors ``(N, D)`` of normal images, one at least."""
        moments = TrimmedMoments.fit([self.distance(one) for one in normal])
        return replace(self, scale=moments.deviation)

    def difference(self, vector: Vectors) -> Vectors:
        """A histogram ``(D,)`` minus the mean one, as ``(P * P, K - 1)``."""
        return (vector - self.mean).reshape(self.grid**2, -1)

    def distance(self, vector: Vectors) -> float:
        """Mahalanobis distance (Eq. 4) of a histogram ``(D,)``."""
        off = vector - self.mean
        squared = float(off @ self.precision @ off)
        return float(np.sqrt(max(squared, 0.0)))

    def parts(self, vector: Vectors) -> Vectors:
        """What each cell and class adds to the squared distance, >= 0, ``(P * P, K - 1)``.

        The terms of the quadratic form; where correlations make one negative it counts nothing.
        """
        off = vector - self.mean
        return np.maximum(off * (self.precision @ off), 0.0).reshape(self.grid**2, -1)


def _pinv(vectors: Vectors, least: Vectors) -> Vectors:
    """Pseudo-inverse of the covariance; least spreads have no part in it."""
    count = vectors.shape[1]
    spread = np.cov(vectors.T).reshape(count, count) if len(vectors) > 1 else np.zeros((count,) * 2)
    return np.asarray(np.linalg.pinv(spread, hermitian=True))


def _shrunk(vectors: Vectors, least: Vectors) -> Vectors:
    """Inverse of a covariance with least variances and shrunk correlations."""
    from sklearn.covariance import ledoit_wolf

    deviation = np.sqrt(vectors.var(0) + least**2)
    shrunk = np.eye(vectors.shape[1])
    if len(vectors) > 1:
        shrunk, _ = ledoit_wolf((vectors - vectors.mean(0)) / deviation, assume_centered=True)
    # Least variances are no variation that was seen, so they are no part of the correlations.
    np.fill_diagonal(shrunk, np.maximum(np.diag(shrunk), 1.0))
    return np.asarray(np.linalg.inv(shrunk) / np.outer(deviation, deviation))


def least_spread(mean: Vectors, grid: int) -> Vectors:
    """Least standard deviation of each share ``(D,)`` with ``covariance="shrunk"``.

    Of cells, in which the same number of pixels is a larger share.
    """
    by_class = mean.reshape(grid**2, -1).sum(0)  # in cells
    least = np.maximum(LEAST_AREA * grid**2, LEAST_OF_AREA * by_class)
    return np.tile(least, grid**2)


def positional_spread(maps: Sequence[LabelMap], classes: int) -> Vectors:
    """How far each class wanders between images.

    Not of its centroid alone, which stays where it is when two pieces swap sides or part.

    Args:
        maps: Label maps of training images.
        classes: K.

    Returns:
        float64 ``(K - 1,)``: standard deviation of the foreground class's extent, which is the 10,
        50 and 90 % quantiles of its rows and of its columns, the largest of the six, in sides of
        the image; NaN of a class that fewer than two images have.
    """
    spreads = np.full(classes - 1, np.nan)
    for row in range(classes - 1):
        places = [(np.nonzero(labels == row + 1), labels.shape) for labels in maps]
        extents = [
            [np.quantile(axis, EXTENT) / side for axis, side in zip(cells, shape, strict=True)]
            for cells, shape in places
            if len(cells[0])
        ]
        if len(extents) > 1:
            spreads[row] = float(np.std(np.array(extents), axis=0).max())
    return spreads


def chosen_grids(
    maps: Sequence[LabelMap], classes: int, candidates: Sequence[int]
) -> dict[int, Bools]:
    """Grids, and the classes that count in each (CSAD, appendix F.1, made a rule).

    A part that lies anywhere has no normal share of a cell. So a class counts in a grid if it lies
    strictly enough for its cells, and in the whole image always.

    Args:
        maps: Label maps of training images.
        classes: K.
        candidates: Grids to choose from.

    Returns:
        For each grid in which any class counts, and for that of one cell, bool ``(K - 1,)``.
    """
    spreads = np.nan_to_num(positional_spread(maps, classes), nan=np.inf)
    found = {1: np.ones(classes - 1, bool)}
    for grid in sorted(set(candidates) - {1}):
        counted = spreads <= STRICT / grid
        if counted.any():
            found[grid] = counted
    return found


def fitted_models(
    maps: Sequence[LabelMap],
    held_out: Sequence[LabelMap],
    classes: int,
    grids: Mapping[int, Bools | None],
    covariance: Covariance,
    joined: Joined = "sum",
) -> tuple[HistogramModel, ...]:
    """A model for each grid, from the label maps of training images.

    Args:
        maps: Of training images.
        held_out: Of further normal images, which scale distances that are summed up; none: the
            training images do.
        classes: K.
        grids: Cells on a side -> classes that count, bool ``(K - 1,)``, or None for all.
        covariance: See :meth:`HistogramModel.fit`.
        joined: See :func:`joint_distance`.
    """
    found = []
    for grid, counted in grids.items():
        vectors, others = (
            np.stack([patch_histogram(one, classes, grid) for one in some])
            for some in (maps, held_out or maps)
        )
        model = HistogramModel.fit(grid, vectors, covariance, counted)
        found.append(model.scaled(others) if joined == "sum" else model)
    return tuple(found)


def joint_distance(
    models: Sequence[HistogramModel], labels: LabelMap, classes: int, joined: Joined = "sum"
) -> float:
    """The distances of all grids together, each in its scale.

    Args:
        models: One a grid.
        labels: ``(h, w)``.
        classes: K.
        joined: ``"sum"``: but for a constant, which no ranking sees, the sum of their trimmed
            z-scores (section 3.5). ``"norm"`` (ours): the root of their summed squares, as of one
            Gaussian over all grids, in which the grids are independent; no scale has then to be
            estimated from few held-out images.
    """
    distances = [
        one.distance(patch_histogram(labels, classes, one.grid)) / one.scale for one in models
    ]
    return sum(distances) if joined == "sum" else math.hypot(*distances)
