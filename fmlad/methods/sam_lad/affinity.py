"""How likely two objects are one and the same, in nats: what they look like and where they lie.

SAM-LAD compares descriptors by their cosine alone (equation 10), which cannot tell equal pins apart
nor see a long screw beside a short one once both are pooled. Three terms are added here, each in
units learned from the shots, so that the matching temperature is 1 and needs no tuning:

- descriptor: cosine over its normal shortfall between matched objects;
- form: colour, size, elongation and solidity of the mask, over their normal differences;
- place: how much more likely the displacement is than one by chance, under the spread that explains
  the shots best; where objects lie anywhere, that is no spread at all and the term is nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SPREADS = (0.03, 0.06, 0.12, 0.25)  # halves of the longer side
STRAY = 0.1  # share of normal objects that may lie anywhere, at most
FAR = 4.0  # spreads from which an object is in another place
AREA = 3.0  # of a 4 : 3 picture in these units, over which a place by chance is spread
UNITS = (0.5, 3.0)  # least and largest unit of a look, in natural ones
LEAST_SHORTFALL = 1e-3  # of a cosine
FURTHEST = -60.0  # nats; beyond, unlike is unlike
MARGIN = 3.0  # nats that the dustbin stays below the worst match between shots, beside the crowd
PAIRS = 40  # of shots, that are compared at most
WORST = 0.02  # share of the matches between shots that may be mistakes


@dataclass(frozen=True)
class ObjectDescriptors:
    """What is compared of the objects of one image.

    Attributes:
        descriptors: float64 ``(n, C)``, of norm 1.
        appearance: float64 ``(n, 7)``, ``Objects.appearance``.
        places: float64 ``(n, 2)``, ``Objects.places``.
    """

    descriptors: Floats
    appearance: Floats
    places: Floats

    def __len__(self) -> int:
        return len(self.appearance)


@dataclass(frozen=True)
class Affinity:
    """The units of the three terms, and the score of being left over.

    Attributes:
        shortfall: Normal ``1 - cosine`` of matched objects.
        units: Normal differences of looks, ``(7,)``; empty where form does not count.
        spread: Of places, in halves of the longer side; None where place does not count.
        dustbin: Score of an object that has no counterpart.
        stray: Share of matched objects that lie in another place.
    """

    shortfall: float
    units: tuple[float, ...]
    spread: float | None
    dustbin: float
    stray: float = STRAY

    @classmethod
    def learn(
        cls, shots: Sequence[ObjectDescriptors], form: bool = True, place: bool = True
    ) -> Affinity:
        """Units from matching shots with each other.

        Args:
            shots: One entry a shot.
            form: Whether form is to count.
            place: Whether place may count.
        """
        pairs = [
            (shots[i], shots[j])
            for i in range(len(shots))
            for j in range(len(shots))
            if i != j and min(len(shots[i]), len(shots[j])) > 0
        ]
        if len(pairs) > PAIRS:  # an even selection: the same every time
            pairs = [pairs[i] for i in np.linspace(0, len(pairs) - 1, PAIRS).astype(int)]
        columns = shots[0].appearance.shape[1] if form else 0
        like = cls(0.1, (1.0,) * columns, None, FURTHEST)
        if not pairs:
            # One shot: units as people would choose them, and place up to a hand's precision.
            return cls(0.05, like.units, 0.12 if place else None, -12.0)
        for _ in range(2):
            matched = [(q, r, *_best(like.scores(q, r))) for q, r in pairs]
            gaps = [_shortfalls(q, r, i, j) for q, r, i, j in matched]
            shortfall = max(float(np.median(np.concatenate(gaps))), LEAST_SHORTFALL)
            units: tuple[float, ...] = ()
            if form:
                apart = np.concatenate(
                    [np.abs(q.appearance[i] - r.appearance[j]) for q, r, i, j in matched]
                )
                units = tuple(np.clip(1.5 * np.median(apart, axis=0), *UNITS).tolist())
            like = cls(shortfall, units, None, FURTHEST)
        candidates = [like]
        if place:
            candidates += [cls(shortfall, units, spread, FURTHEST) for spread in SPREADS]
        scored = [[_matched_scores(c.scores(q, r)) for q, r in pairs] for c in candidates]
        totals = [sum(float(scores.sum()) for scores in several) for several in scored]
        best = int(np.argmax(totals))
        baseline = np.concatenate(scored[best])
        chosen = candidates[best]
        stray = STRAY
        if chosen.spread is not None:
            displaced = [chosen.gaps(q, r)[_best(chosen.scores(q, r))] for q, r in pairs]
            far = np.concatenate(displaced) > chosen.reach
            stray = min((float(far.sum()) + 0.5) / (len(far) + 1), STRAY)
            chosen = cls(shortfall, units, chosen.spread, FURTHEST, stray)
            baseline = np.concatenate([_matched_scores(chosen.scores(q, r)) for q, r in pairs])
        # A match must outbid the whole dustbin, which holds as much as there are objects.
        crowd = math.log(1 + float(np.median([len(shot) for shot in shots])))
        dustbin = max(float(np.quantile(baseline, WORST)) - MARGIN - crowd, FURTHEST / 2)
        return cls(shortfall, units, chosen.spread, dustbin, stray)

    def scores(self, query: ObjectDescriptors, reference: ObjectDescriptors) -> Floats:
        """Log likelihood ratio of each pair, ``(M, N)`` in nats, never below ``FURTHEST``."""
        total = self.alike(query, reference)
        if self.spread is not None:
            total = total + _place_term(self.gaps(query, reference), self.spread, self.stray)
        return np.maximum(total, FURTHEST)

    def alike(self, query: ObjectDescriptors, reference: ObjectDescriptors) -> Floats:
        """The terms of looks alone, ``(M, N)``, at most 0."""
        cosine = query.descriptors @ reference.descriptors.T
        total = (cosine - 1) / self.shortfall
        if self.units:
            apart = (query.appearance[:, None] - reference.appearance[None]) / np.array(self.units)
            total = total - 0.5 * np.square(apart).sum(-1)
        return np.asarray(np.maximum(total, FURTHEST), dtype=np.float64)

    def gaps(self, query: ObjectDescriptors, reference: ObjectDescriptors) -> Floats:
        """Distances ``(M, N)`` between places, in halves of the longer side."""
        apart = query.places[:, None] - reference.places[None]
        return np.asarray(np.linalg.norm(apart, axis=-1), dtype=np.float64)

    @property
    def reach(self) -> float:
        """Displacement from which an object is in another place; infinite where none counts."""
        return math.inf if self.spread is None else FAR * self.spread

    def misplaced(self, gaps: Floats) -> Floats:
        """Surprise in nats at displacements; 0 where they are more likely no stray ones."""
        if self.spread is None:
            return np.zeros_like(gaps)
        tail = (1 - self.stray) * np.exp(-0.5 * np.square(gaps / self.spread))
        surprise = np.where(tail < self.stray, -np.log(tail + self.stray), 0.0)
        return np.asarray(surprise, dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "shortfall": self.shortfall,
            "units": list(self.units),
            "spread": self.spread,
            "dustbin": self.dustbin,
            "stray": self.stray,
        }

    @classmethod
    def from_dict(cls, data: Any) -> Affinity:
        """Inverse of :meth:`to_dict`.

        Raises:
            KeyError, TypeError, ValueError: The description is unusable.
        """
        spread = data["spread"]
        found = cls(
            float(data["shortfall"]),
            tuple(float(unit) for unit in data["units"]),
            None if spread is None else float(spread),
            float(data["dustbin"]),
            float(data["stray"]),
        )
        positive = (found.shortfall, *found.units, 1.0 if spread is None else float(spread))
        if (
            not all(0 < v < math.inf for v in positive)
            or not math.isfinite(found.dustbin)
            or not 0 < found.stray < 1
        ):
            raise ValueError(f"the units of likeness are {data!r}")
        return found


def _place_term(gaps: Floats, spread: float, stray: float) -> Floats:
    """Log ratio of a displacement under a spread to one by chance."""
    near = np.exp(-0.5 * np.square(gaps / spread)) / (2 * math.pi * spread**2)
    return np.asarray(np.log((1 - stray) * AREA * near + stray), dtype=np.float64)


def _best(scores: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-scores)
    return rows, columns


def _matched_scores(scores: Floats) -> Floats:
    return np.asarray(scores[_best(scores)], dtype=np.float64)


def _shortfalls(
    query: ObjectDescriptors,
    reference: ObjectDescriptors,
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
) -> Floats:
    cosine = (query.descriptors[rows] * reference.descriptors[columns]).sum(1)
    return np.asarray(1 - cosine, dtype=np.float64)
