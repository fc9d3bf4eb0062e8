"""Positions of the objects of a group: slots, each with the spread of the positions in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fmlad.objects.arrangement import distances, pairs
from fmlad.objects.arrays import Floats, Ints
from fmlad.objects.counts import PRIOR_SPREAD_WEIGHT, spread_surprise

LEAST_SPREAD = 0.015  # of half the longer side: what a hand and a camera cannot avoid (ours)
LOOSE = 0.1  # spread at which a place says half as much (ours)
MOST_SLOTS = 64
FAR = 6.0  # spreads beyond which all distances count the same


@dataclass(frozen=True)
class Slots:
    """Where the objects of a group lie in the common frame.

    Attributes:
        seen: Per slot the positions of the shots that filled it, float64 ``(m, 2)``.
        spread: Standard deviation of a slot, pooled over all slots. It is wide where objects lie
            freely, so that no position is then surprising.
    """

    seen: tuple[Floats, ...]
    spread: float

    @property
    def centres(self) -> Floats:
        """Mean position of each slot, ``(slots, 2)``."""
        return np.array([positions.mean(0) for positions in self.seen]).reshape(-1, 2)

    @property
    def steady(self) -> Floats:
        """How strictly each slot keeps its place, ``(slots,)`` in (0, 1]: half at ``LOOSE``."""
        prior = PRIOR_SPREAD_WEIGHT * self.spread**2
        squares = [
            (prior + np.square(s - s.mean(0)).sum()) / (PRIOR_SPREAD_WEIGHT + 2 * (len(s) - 1))
            for s in self.seen
        ]
        return 1 / (1 + np.array(squares) / LOOSE**2)

    @classmethod
    def learn(cls, places: Sequence[Floats]) -> Slots | None:
        """Slots from the positions ``(n_j, 2)`` in each shot; None where counts vary too much.

        The first shot with the median number of objects gives the slots; the objects of the others
        are matched to them one to one.
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
        return cls.of([np.array(s) for s in seen])

    @classmethod
    def of(cls, seen: Sequence[Floats]) -> Slots:
        """Slots of known positions ``(m, 2)`` each, ``m`` >= 1."""
        filled = tuple(seen)
        squares = sum(float(np.square(s - s.mean(0)).sum()) for s in filled)
        freedom = 2 * sum(len(s) - 1 for s in filled)
        return cls(filled, max(LEAST_SPREAD, float(np.sqrt(squares / max(freedom, 1)))))

    def match(self, places: Floats) -> tuple[Ints, Ints, Floats]:
        """Slots and rows paired one to one, and the surprise of each pair in nats."""
        slots, rows = one_to_one(self.centres, places, FAR * self.spread)
        surprises = [
            spread_surprise(places[row], self.seen[slot], self.spread)
            for slot, row in zip(slots, rows, strict=True)
        ]
        return slots, rows, np.asarray(surprises, dtype=np.float64)


def one_to_one(first: Floats, second: Floats, most: float = np.inf) -> tuple[Ints, Ints]:
    """Rows of ``(n, 2)`` and ``(m, 2)`` paired so that the sum of distances is smallest.

    Distances beyond ``most`` count the same, so that one object far away does not move others off
    their slots.
    """
    gaps = distances(first, second)
    return pairs(np.minimum(gaps, most) + 1e-6 * gaps)
