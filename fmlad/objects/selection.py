"""Filter of proposals by area, chosen on the shots (SAM-LAD, section 3.4.2; CSAD, section 3.1).

SAM-LAD sets a least and a largest area for each category by hand. Here the filter is chosen under
which the shots' numbers of objects differ least, relative to their median; among filters that are
nearly as good, the one whose objects are most similar over the shots.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from fmlad.objects.appearance import Proposals
from fmlad.objects.arrays import Bools

Grain = Literal["own", "wholes", "parts"]
Share = Annotated[float, Field(ge=0, le=1)]

LEAST = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02)  # shares of the image
MOST = (0.05, 0.15, 0.3, 0.6)
NORMAL = (0.002, 0.6)  # with one shot
SOLID = 0.5  # quality of a proposal that is taken against its proposer's choice
FEWER = 0.75  # of the objects of the filter with the least miscount, that a rival must have
STEADY = 0.1  # displacement, in halves of the longer side, that equals one unit of appearance
COMPARED = 16  # pairs of shots, at most
SHARED = 0.5  # of the smaller one, from which two proposals cannot both be objects


@dataclass(frozen=True)
class Selection:
    """A filter of proposals.

    Attributes:
        grain: ``"own"``: the proposer's choice; ``"wholes"``: what is in no larger one that passes;
            ``"parts"``: what is not made of smaller ones that pass (filter by combine).
        least: Least area, share of the image.
        most: Largest area.
    """

    grain: Grain = "own"
    least: Share = NORMAL[0]
    most: Share = NORMAL[1]

    @classmethod
    def learn(
        cls, shots: Sequence[Proposals], grains: Sequence[Grain] = get_args(Grain)
    ) -> Selection:
        """The filter under which the number of objects differs least over the shots."""
        if len(shots) == 1:
            return cls()
        tried: list[tuple[float, float, Selection]] = []  # miscount, median count, filter
        for grain, least, most in itertools.product(grains, LEAST, MOST):
            selection = cls(grain, least, most)
            counts = np.array([selection.taken(proposals).sum() for proposals in shots])
            if (typical := float(np.median(counts))) > 0:
                tried.append((float(np.abs(counts - typical).sum()), typical, selection))
        if not tried:
            return cls()
        # One more than was counted: equal counts of one object in few shots say little.
        least_miscount, typical, best = min(tried, key=lambda one: (one[0] + 1) / one[1])
        # Pieces are many, so that a miscount among them weighs less. Filters with no more miscounts
        # and nearly as many objects are told apart by appearance and place.
        rivals = [one for miss, n, one in tried if miss <= least_miscount and FEWER * typical <= n]
        return max(dict.fromkeys((best, *rivals)), key=lambda one: _similarity(shots, one))

    def taken(self, proposals: Proposals) -> Bools:
        """Which proposals are objects, bool ``(n,)``."""
        fits = (proposals.areas >= self.least) & (proposals.areas <= self.most)
        if self.grain == "own":
            return np.asarray(fits & proposals.preferred)
        fits &= proposals.quality >= SOLID
        sizes = np.maximum(np.diag(proposals.shared), 1)
        # Wholes first, or parts first: what comes later must be new.
        sign = 1 if self.grain == "parts" else -1
        order = np.argsort(sign * proposals.areas, kind="stable")
        kept: list[int] = []
        for row in order[fits[order]]:
            covered = proposals.shared[row, kept] / sizes[row]
            overlap = covered.sum() if self.grain == "parts" else covered.max(initial=0.0)
            if overlap < SHARED:
                kept.append(int(row))
        result = np.zeros(len(fits), bool)
        result[kept] = True
        return result


def _similarity(shots: Sequence[Proposals], selection: Selection) -> float:
    """Mean similarity of the objects of a filter between two shots, in [0, 1]."""
    from scipy.optimize import linear_sum_assignment

    kept = [proposals.objects.rows(selection.taken(proposals)) for proposals in shots]
    pairs = list(itertools.combinations(kept, 2))
    if len(pairs) > COMPARED:  # an even selection: the same every time
        pairs = [pairs[i] for i in np.linspace(0, len(pairs) - 1, COMPARED).astype(int)]
    similar = []
    for one, other in pairs:
        apart = np.square(one.appearance[:, None] - other.appearance[None]).mean(-1)
        gaps = np.linalg.norm(one.places[:, None] - other.places[None], axis=-1) / STEADY
        # Bounded, because objects of a loose arrangement may lie anywhere.
        scores = np.exp(-0.5 * (apart + np.minimum(np.square(gaps), 4)))
        rows, columns = linear_sum_assignment(-scores)
        similar.append(float(scores[rows, columns].sum()) / max(len(one), len(other), 1))
    return float(np.mean(similar))
