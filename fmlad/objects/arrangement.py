"""How the objects of two images lie relative to each other: a transform between their positions.

Pixels register two pictures of one scene; objects register two pictures of one arrangement, where
every pin lies a little differently. Pairs of similar objects propose a similarity transform (random
sample consensus, Fischler and Bolles 1981); the one with the most inliers is refined to an affine
one. The share of inliers separates an arrangement from a heap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fmlad.objects.arrays import Bools, Floats, Ints

NEAR = 0.12  # halves of the longer side within which two objects lie at one place
APART = 0.3  # least distance of the two objects that propose a transform
ZOOM, TURN = 1.33, 0.5  # largest change of scale, and of angle (radians): a product, not a heap
MOST_TRIALS = 3000
MOST = 48  # objects considered, highest weight first
ROUNDS = 3  # of refinement
STIFF = 0.05  # ridge towards the similarity, in objects
LEAST = 3  # objects below which there is no arrangement


@dataclass(frozen=True)
class Arrangement:
    """A transform between two images' objects.

    Attributes:
        matrix: float64 ``(2, 3)``, from the first image's positions to the second's.
        share: Weight of the inliers, in [0, 1] of the lesser image's total.
        inliers: Their number.
    """

    matrix: Floats
    share: float
    inliers: int


def arrange(
    first: Floats, second: Floats, similar: Bools, weights: tuple[Floats, Floats]
) -> Arrangement | None:
    """The transform with the most inliers; None where there are too few objects.

    Args:
        first: Positions ``(n, 2)`` in halves of the longer side.
        second: Positions ``(m, 2)``.
        similar: bool ``(n, m)``: which objects may correspond. Those without any are ignored.
        weights: Of the objects, ``(n,)`` and ``(m,)``.
    """
    candidates = np.flatnonzero(similar.any(1)), np.flatnonzero(similar.any(0))
    one, two = (
        rows[np.argsort(-w[rows], kind="stable")[:MOST]]
        for rows, w in zip(candidates, weights, strict=True)
    )
    if min(len(one), len(two)) < LEAST:
        return None
    similar = similar[np.ix_(one, two)]
    here, there = first[one], second[two]
    here_weights, there_weights = weights[0][one], weights[1][two]
    matrix = _by_pairs(here, there, similar, here_weights, there_weights)
    if matrix is None:
        return None
    for _ in range(ROUNDS):
        gaps = np.where(similar, distances(moved(here, matrix), there), np.inf)
        rows, columns = pairs(np.minimum(gaps, 3 * NEAR))
        near = gaps[rows, columns] < NEAR
        rows, columns = rows[near], columns[near]
        if len(rows) < LEAST:
            return None
        both = np.sqrt(here_weights[rows] * there_weights[columns])
        matrix = _affine(here[rows], there[columns], both, matrix)
    share = both.sum() / max(min(here_weights.sum(), there_weights.sum()), 1e-6)
    return Arrangement(matrix, float(min(share, 1.0)), len(rows))


def distances(first: Floats, second: Floats) -> Floats:
    """Euclidean distances ``(n, m)`` of points ``(n, d)`` and ``(m, d)``."""
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(first, second), dtype=np.float64)


def pairs(costs: Floats) -> tuple[Ints, Ints]:
    """Rows and columns of a matrix paired one to one so that the sum of costs is smallest."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(costs)
    return rows.astype(np.int64), columns.astype(np.int64)


def moved(points: Floats, matrix: Floats) -> Floats:
    """Points ``(n, 2)`` under a ``(2, 3)`` transform."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], dtype=np.float64)


def composed(second: Floats, first: Floats) -> Floats:
    """The ``(2, 3)`` transform that does ``first``, then ``second``."""
    linear = second[:, :2]
    return np.column_stack([linear @ first[:, :2], linear @ first[:, 2] + second[:, 2]])


def inverse(matrix: Floats) -> Floats:
    """The ``(2, 3)`` transform that undoes one."""
    back = np.linalg.inv(matrix[:, :2])
    return np.column_stack([back, -back @ matrix[:, 2]])


def _by_pairs(
    here: Floats, there: Floats, similar: Bools, here_weights: Floats, there_weights: Floats
) -> Floats | None:
    """The similarity transform, proposed by two pairs, whose inliers weigh most."""
    row, column = np.nonzero(similar)
    a, b = np.triu_indices(len(row), 1)
    apart = (row[a] != row[b]) & (column[a] != column[b])
    a, b = a[apart], b[apart]
    # As complex numbers: a similarity is z -> turn * z + shift.
    source, target = here @ np.array([1, 1j]), there @ np.array([1, 1j])
    gap = source[row[b]] - source[row[a]]
    far = np.abs(gap) > APART
    turn = (target[column[b]] - target[column[a]])[far] / gap[far]
    a = a[far]
    zoom = np.abs(turn)
    fits = (zoom < ZOOM) & (zoom > 1 / ZOOM) & (np.abs(np.angle(turn)) < TURN)
    a, turn = a[fits], turn[fits]
    if not len(a):
        return None
    if len(a) > MOST_TRIALS:  # an even selection: the same every time
        chosen = np.linspace(0, len(a) - 1, MOST_TRIALS).astype(int)
        a, turn = a[chosen], turn[chosen]
    shift = target[column[a]] - turn * source[row[a]]
    best, found = -1.0, 0
    for start in range(0, len(a), 250):  # in portions, for memory
        part = slice(start, start + 250)
        lands = turn[part, None] * source + shift[part, None]
        hit = (np.abs(lands[:, :, None] - target) < NEAR) & similar
        weight = np.minimum(hit.any(2) @ here_weights, hit.any(1) @ there_weights)
        if weight.max() > best:
            best, found = float(weight.max()), start + int(weight.argmax())
    z, s = turn[found], shift[found]
    return np.array([[z.real, -z.imag, s.real], [z.imag, z.real, s.imag]])


def _affine(here: Floats, there: Floats, weights: Floats, near: Floats) -> Floats:
    """Weighted least squares with a ridge towards the previous transform."""
    design = np.column_stack([here, np.ones(len(here))])
    ridge = np.diag([STIFF, STIFF, 0.0]) * len(here)
    normal = design.T @ (weights[:, None] * design) + ridge
    wanted = design.T @ (weights[:, None] * there) + ridge @ near.T
    return np.asarray(np.linalg.solve(normal + 1e-9 * np.eye(3), wanted).T, dtype=np.float64)
