"""How the objects of two images lie to each other: a transform that brings like upon like.

Pixels register two pictures of one scene; objects register two pictures of one arrangement, where
every pin lies a little differently. Pairs of like objects propose a similarity transform (random
sample consensus, Fischler and Bolles 1981), the one that most objects agree with is refined to an
affine one. That most objects agree is what tells an arrangement from a heap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NEAR = 0.12  # halves of the longer side within which two objects lie at one place
APART = 0.3  # of the two objects that propose a transform: closer ones tell little
ZOOM, TURN = 1.33, 0.5  # largest change of scale, and of angle (radians): a product, not a heap
MOST_TRIALS = 3000
MOST = 48  # objects looked at, the surest
ROUNDS = 3  # of refinement
STIFF = 0.05  # ridge towards the similarity, in objects
LEAST = 3  # objects without which there is no arrangement


@dataclass(frozen=True)
class Arrangement:
    """A transform between two images' objects.

    Attributes:
        matrix: float64 ``(2, 3)``, from the first image's positions to the second's.
        share: Weight of the objects that agree with it, in [0, 1] of the lesser image's.
        agreeing: Their number.
    """

    matrix: Floats
    share: float
    agreeing: int


def arrange(
    first: Floats, second: Floats, like: npt.NDArray[np.bool_], weights: tuple[Floats, Floats]
) -> Arrangement | None:
    """The transform that brings most objects upon like ones; None where nothing can be said.

    Args:
        first: Positions ``(n, 2)`` in halves of the longer side.
        second: Positions ``(m, 2)``.
        like: bool ``(n, m)``: which objects may be one. Those without any like are ignored.
        weights: Of the objects, ``(n,)`` and ``(m,)``.
    """
    one, two = (
        rows[np.argsort(-w[rows], kind="stable")[:MOST]]
        for rows, w in zip(
            (np.flatnonzero(like.any(1)), np.flatnonzero(like.any(0))), weights, strict=True
        )
    )
    if min(len(one), len(two)) < LEAST:
        return None
    like = like[np.ix_(one, two)]
    here, there = first[one], second[two]
    heavy, weighty = weights[0][one], weights[1][two]
    matrix = _by_pairs(here, there, like, heavy, weighty)
    if matrix is None:
        return None
    for _ in range(ROUNDS):
        rows, columns = _paired(moved(here, matrix), there, like)
        if len(rows) < LEAST:
            return None
        both = np.sqrt(heavy[rows] * weighty[columns])
        matrix = _affine(here[rows], there[columns], both, matrix)
    share = both.sum() / max(min(heavy.sum(), weighty.sum()), 1e-6)
    return Arrangement(matrix, float(min(share, 1.0)), len(rows))


def moved(points: Floats, matrix: Floats) -> Floats:
    """Points ``(n, 2)`` under a ``(2, 3)`` transform."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], dtype=np.float64)


def composed(second: Floats, first: Floats) -> Floats:
    """The ``(2, 3)`` transform that does ``first``, then ``second``."""
    return np.column_stack(
        [second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]]
    )


def inverse(matrix: Floats) -> Floats:
    """The ``(2, 3)`` transform that undoes one."""
    back = np.linalg.inv(matrix[:, :2])
    return np.column_stack([back, -back @ matrix[:, 2]])


def _by_pairs(
    here: Floats, there: Floats, like: npt.NDArray[np.bool_], heavy: Floats, weighty: Floats
) -> Floats | None:
    """The similarity transform, proposed by two pairs, with which most weight agrees."""
    row, column = np.nonzero(like)
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
        hit = (np.abs(lands[:, :, None] - target) < NEAR) & like
        agree = np.minimum(hit.any(2) @ heavy, hit.any(1) @ weighty)
        if agree.max() > best:
            best, found = float(agree.max()), start + int(agree.argmax())
    z, s = turn[found], shift[found]
    return np.array([[z.real, -z.imag, s.real], [z.imag, z.real, s.imag]])


def _paired(
    lands: Floats, there: Floats, like: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Like objects that lie at one place, one to one."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    gaps = np.where(like, cdist(lands, there), np.inf)
    rows, columns = linear_sum_assignment(np.minimum(gaps, 3 * NEAR))
    near = gaps[rows, columns] < NEAR
    return rows[near], columns[near]


def _affine(here: Floats, there: Floats, weights: Floats, near: Floats) -> Floats:
    """Weighted least squares with a ridge towards the transform that was there before."""
    design = np.column_stack([here, np.ones(len(here))])
    ridge = np.diag([STIFF, STIFF, 0.0]) * len(here)
    normal = design.T @ (weights[:, None] * design) + ridge
    wanted = design.T @ (weights[:, None] * there) + ridge @ near.T
    return np.asarray(np.linalg.solve(normal + 1e-9 * np.eye(3), wanted).T, dtype=np.float64)
