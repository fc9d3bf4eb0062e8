"""Partial assignment between the objects of two images, by entropic optimal transport.

SuperGlue's (Sarlin et al., CVPR 2020; SAM-LAD, Eq. 9): each side has a dustbin, which holds as much
mass as the other side has objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fmlad.objects.arrays import Floats, Ints

ITERATIONS = 200  # of Sinkhorn (SuperGlue: 100)
LAST = 2000  # of Sinkhorn in the log domain, at the temperature itself
RESIDUAL = 1e-6  # of the marginals at which Sinkhorn stops early
SAFE = 200.0  # temperatures of range up to which double precision needs no logarithms
ENOUGH = 1e-2  # error of the marginals that is small enough for decisions


@dataclass(frozen=True)
class Assignment:
    """Which object of a reference each object of a query is.

    Attributes:
        pairs: int64 ``(m, 2)``: query object and reference object, each at most once.
        nearest: int64 ``(M,)``: the reference object of the largest score, matched or not; -1 where
            there is none.
        plan: float64 ``(M + 1, N + 1)``, the last row and column being the dustbins; real rows and
            columns sum to 1.
    """

    pairs: Ints
    nearest: Ints
    plan: Floats

    @property
    def partner(self) -> Ints:
        """Reference object of each query object, ``(M,)``; -1 where it is unmatched."""
        found = np.full(self.plan.shape[0] - 1, -1, np.int64)
        found[self.pairs[:, 0]] = self.pairs[:, 1]
        return found

    @property
    def left_over(self) -> Ints:
        """Reference objects without a partner."""
        return np.setdiff1d(np.arange(self.plan.shape[1] - 1), self.pairs[:, 1])


def match(scores: Floats, dustbin: float, temperature: float) -> Assignment:
    """One-to-one matches out of the soft assignment of :func:`transport`.

    An object is matched when more of its mass goes to objects than to the dustbin, so that equal
    objects among which it is spread do not count against it: of five pins before six equal ones,
    none prefers the dustbin to all of them together. Matches are mutual best ones, taken in rounds,
    so that equals do not block each other; the sixth pin is then left over.

    Args:
        scores: ``(M, N)``; either may be 0.
        dustbin: Score of an object without a partner.
        temperature: Softness, > 0.
    """
    rows, columns = scores.shape
    if rows == 0 or columns == 0:
        plan = np.zeros((rows + 1, columns + 1))
        plan[:-1, -1], plan[-1, :-1] = 1, 1
        return Assignment(np.zeros((0, 2), np.int64), np.full(rows, -1, np.int64), plan)
    plan = transport(scores, dustbin, temperature, ENOUGH)
    real = plan[:-1, :-1]
    # Two may be a pair if either would rather be matched: before seven equal pins, two are spread
    # so thinly that each of the seven by itself prefers the dustbin.
    wanted = (real.sum(1) > plan[:-1, -1])[:, None] | (real.sum(0) > plan[-1, :-1])
    # Where mass is equal, the score decides: it may know the place.
    rank = np.where(wanted, real + 1e-9 * (scores - scores.min()), -np.inf)
    pairs: list[tuple[int, int]] = []
    while np.isfinite(rank).any():
        best = rank.argmax(1)
        mutual = np.flatnonzero(
            (rank.argmax(0)[best] == np.arange(rows)) & np.isfinite(rank.max(1))
        )
        if not len(mutual):
            break
        pairs += [(int(row), int(best[row])) for row in mutual]
        rank[mutual] = -np.inf
        rank[:, best[mutual]] = -np.inf
    # What falls below the dustbin was matched for want of anything better.
    kept = [(i, j) for i, j in pairs if scores[i, j] > dustbin]
    order = np.array(sorted(kept), np.int64).reshape(-1, 2)
    return Assignment(order, scores.argmax(1).astype(np.int64), plan)


def transport(
    scores: Floats, dustbin: float, temperature: float, residual: float = RESIDUAL
) -> Floats:
    """The soft partial assignment ``(M + 1, N + 1)``; real rows and columns sum to 1.

    Args:
        scores: Affinity of each pair, ``(M, N)``, both at least 1.
        dustbin: Score of an object without a partner.
        temperature: Softness, > 0, in the scores' units.
        residual: Error of the marginals that is small enough to stop.
    """
    rows, columns = scores.shape
    augmented = np.full((rows + 1, columns + 1), dustbin, np.float64)
    augmented[:-1, :-1] = scores
    here = np.append(np.ones(rows), columns)
    there = np.append(np.ones(columns), rows)
    if np.ptp(augmented) > SAFE * temperature:
        return _log_domain(augmented, np.log(here), np.log(there), temperature, residual)
    from ot.bregman import sinkhorn_knopp

    # POT stops at the marginals' squared error; unconverged plans are still the best ones found.
    plan = sinkhorn_knopp(
        here, there, augmented.max() - augmented, temperature,
        numItermax=ITERATIONS, stopThr=residual, warn=False,
    )  # fmt: skip
    return np.asarray(plan, dtype=np.float64)


def _log_domain(
    scores: Floats, here: Floats, there: Floats, temperature: float, residual: float
) -> Floats:
    """Sinkhorn on logarithms, for temperatures at which ``exp(scores / temperature)`` vanishes.

    The temperature is halved from the range of the scores down to its value, each solution being
    the start of the next: started cold, the iteration needs as many steps as the range has
    temperatures, times a hundred. It ends with a step of the rows, whose sums are therefore exact.

    Args:
        scores: With dustbins, ``(M + 1, N + 1)``.
        here, there: Logarithms of the rows' and columns' sums.
        temperature: Softness.
        residual: Change of the rows' logarithmic factors that is small enough to stop.
    """
    from scipy.special import logsumexp

    now, potential = float(np.ptp(scores)), np.zeros(len(scores))
    while now > temperature:
        now = max(now / 2, temperature)
        kernel, rows = scores / now, potential / now
        for _ in range(LAST if now == temperature else ITERATIONS):
            columns = there - logsumexp(kernel + rows[:, None], axis=0)
            before, rows = rows, here - logsumexp(kernel + columns, axis=1)
            if np.abs(rows - before).max() < residual:
                break
        potential = rows * now
    return np.asarray(np.exp(kernel + rows[:, None] + columns), dtype=np.float64)
