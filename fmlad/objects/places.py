"""Places of a group of objects: slots with the spread of the positions seen in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmlad.objects.counts import spread_surprise

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEAST_SPREAD = 0.015  # of half the longer side: what a hand and a camera cannot avoid (ours)
MOST_SLOTS = 64
FAR = 6.0  # spreads from which a place is simply another one


@dataclass(frozen=True)
class Slots:
    """Where the objects of a group lie in the common frame.

    Attributes:
        seen: Per slot the positions of the shots that filled it, float64 ``(m, 2)``.
        spread: Typical standard deviation of a slot, pooled over all slots. Wide where objects lie
            freely, so that no place is then a surprise.
    """

    seen: tuple[Floats, ...]
    spread: float

    @property
    def centres(self) -> Floats:
        """Mean position of each slot, ``(slots, 2)``."""
        return np.array([positions.mean(0) for positions in self.seen]).reshape(-1, 2)

    @classmethod
    def learn(cls, places: Sequence[Floats]) -> Slots | None:
        """Slots from the positions ``(n_j, 2)`` in each shot; None where they say nothing.

        The shot with the typical number of objects gives the slots; the objects of the others are
        matched to them one to one.
        """
        counts = np.array([len(p) for p in places])
        typical = int(np.median(counts))
        if len(places) < 2 or not 0 < typical <= MOST_SLOTS or (counts == typical).mean() < 0.5:
            return None
        base = int(np.flatnonzero(counts == typical)[0])
        seen = [[position] for position in places[base]]
        for number, positions in enumerate(places):
            if number != base and len(positions):
                centres = np.array([np.mean(s, axis=0) for s in seen])
                for slot, row in zip(*one_to_one(centres, positions), strict=True):
                    seen[slot].append(positions[row])
        filled = tuple(np.array(s) for s in seen)
        squares = sum(float(np.square(s - s.mean(0)).sum()) for s in filled)
        freedom = 2 * sum(len(s) - 1 for s in filled)
        return cls(filled, max(LEAST_SPREAD, float(np.sqrt(squares / max(freedom, 1)))))

    def match(self, places: Floats) -> tuple[Ints, Ints, Floats]:
        """Slots and rows that belong together one to one, and the surprise of each in nats."""
        slots, rows = one_to_one(self.centres, places, FAR * self.spread)
        surprises = [
            spread_surprise(places[row], self.seen[slot], self.spread)
            for slot, row in zip(slots, rows, strict=True)
        ]
        return slots, rows, np.asarray(surprises, dtype=np.float64)


def one_to_one(first: Floats, second: Floats, most: float = np.inf) -> tuple[Ints, Ints]:
    """Rows of two point sets paired so that the sum of distances is smallest.

    Args:
        first: ``(n, 2)``.
        second: ``(m, 2)``.
        most: Beyond this all distances count alike, so that one object far off does not push the
            others out of their places.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    gaps = cdist(first, second)
    rows, columns = linear_sum_assignment(np.minimum(gaps, most) + 1e-6 * gaps)
    return rows.astype(np.int64), columns.astype(np.int64)
