"""Object matching (OMM, section 3.5.2): affinities, partial assignment, match statistics.

Equation 10 compares descriptors by their cosine alone, which cannot tell equal pins apart nor see a
long screw beside a short one once both are pooled. :class:`Affinity` has three terms, each in units
learned from the shots, so that the matching temperature is 1 and needs no tuning (ours):

- descriptor: cosine over its normal shortfall between matched objects;
- form: colour, size, elongation and solidity of the mask, over their normal differences;
- place: how much more likely the displacement is than one by chance, under the spread that explains
  the shots best; where objects lie anywhere, that is no spread at all and the term is nothing.

:func:`match` is balanced entropic optimal transport between the objects of two images, each side
with a dustbin for what has no counterpart (SuperGlue: Sarlin et al., CVPR 2020).

Being left over is a surprise only where it is rare: :class:`MatchStatistics` are of each template
matched with the others (ours; the paper scores neither missing nor extra objects).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, FiniteFloat
from pydantic.dataclasses import dataclass as checked
from torch import Tensor

from fmlad.io.tensors import TensorReader

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

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


@checked(frozen=True)
class Affinity:
    """The units of the three terms, and the score of being left over.

    Attributes:
        shortfall: Normal ``1 - cosine`` of matched objects.
        units: Normal differences of looks, ``(7,)``; empty where form does not count.
        spread: Of places, in halves of the longer side; None where place does not count.
        dustbin: Score of an object that has no counterpart.
        stray: Share of matched objects that lie in another place.
    """

    shortfall: Positive
    units: tuple[Positive, ...]
    spread: Positive | None
    dustbin: FiniteFloat
    stray: Annotated[float, Field(gt=0, lt=1)] = STRAY

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


ITERATIONS = 200  # of Sinkhorn (SuperGlue: 100)
LAST = 2000  # of Sinkhorn in the log domain, at the temperature itself
RESIDUAL = 1e-6  # of the marginals at which Sinkhorn stops early
SAFE = 200.0  # temperatures of range up to which double precision needs no logarithms
ENOUGH = 1e-2  # the same where only decisions are wanted


@dataclass(frozen=True)
class Assignment:
    """Who belongs to whom.

    Attributes:
        pairs: int64 ``(m, 2)``: query object and reference object, each at most once.
        nearest: int64 ``(M,)``: for every query object the reference object it is most likely to
            be, matched or not; -1 where there is none.
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
        """Reference objects that nobody matched."""
        return np.setdiff1d(np.arange(self.plan.shape[1] - 1), self.pairs[:, 1])


def transport(
    scores: Floats, dustbin: float, temperature: float, residual: float = RESIDUAL
) -> Floats:
    """The soft partial assignment ``(M + 1, N + 1)``.

    Args:
        scores: Affinity of each pair, ``(M, N)``, both at least 1.
        dustbin: Score of being left over.
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


def match(scores: Floats, dustbin: float, temperature: float) -> Assignment:
    """One-to-one matches out of the soft assignment.

    An object would be matched when more of its mass goes to objects than to the dustbin, so that
    the likes among which it is spread do not count against it: of five pins before six equal ones,
    none prefers the dustbin to all of them together. Matches are mutual best ones, taken in rounds,
    so that equals do not block each other; the sixth pin is then left over.

    Args:
        scores: ``(M, N)``; either may be 0.
        dustbin: Score of being left over.
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


UNKNOWN = -1.0  # two templates that were not compared
CHANCE = 0.5  # half a match and half a failure that were never seen


@dataclass(frozen=True)
class MatchStatistics:
    """Results of matching templates with each other.

    Attributes:
        found: Per template ``(n, Z)``: 1 where its object has a like in the other template, 0 where
            it has none, ``UNKNOWN`` where the two were not compared.
        surplus: ``(Z, Z)``: weight of the objects of the first template, taken as a query, that are
            left over before the second; ``UNKNOWN`` where not compared.
    """

    found: tuple[Floats, ...]
    surplus: Floats

    def missing(self, template: int, exclude: frozenset[int]) -> Floats:
        """Surprise in nats, ``(n,)``, at a query that lacks each object of a template."""
        known = self._known(self.found[template], exclude)
        times, seen = (known == 1).sum(1), (known >= 0).sum(1)
        if not known.shape[1]:  # one template: absence is judged by the object's weight alone
            return np.full(len(known), math.log(1 / CHANCE))
        return np.asarray(-np.log(1 - (times + CHANCE) / (seen + 1)), dtype=np.float64)

    def extra(self, exclude: frozenset[int]) -> float:
        """Surprise in nats at one object that no template has."""
        kept = [i for i in range(len(self.surplus)) if i not in exclude]
        values = self.surplus[np.ix_(kept, kept)]
        values = values[values >= 0]
        if not len(values):
            return math.log(1 / CHANCE)
        rate = (values.sum() + CHANCE) / (len(values) + 1)
        return math.log(1 + 1 / rate)

    def unknown(self) -> MatchStatistics:
        """As if no two templates had been compared."""
        found = tuple(np.full_like(one, UNKNOWN) for one in self.found)
        return MatchStatistics(found, np.full_like(self.surplus, UNKNOWN))

    def _known(self, found: Floats, exclude: frozenset[int]) -> Floats:
        kept = [i for i in range(found.shape[1]) if i not in exclude]
        columns = found[:, kept]
        return columns[:, (columns >= 0).all(0)] if len(columns) else columns[:, :0]

    def tensors(self) -> dict[str, Tensor]:
        """float32 copies, to be saved."""
        named = {f"found.{i}": _saved(found) for i, found in enumerate(self.found)}
        return {**named, "surplus": _saved(self.surplus)}

    @classmethod
    def restore(cls, reader: TensorReader, objects: Sequence[int]) -> MatchStatistics:
        """Inverse of :meth:`tensors`, given the number of objects of each template.

        Raises:
            CorruptDetectorError: A tensor is missing or of another shape.
        """
        count = len(objects)
        found = tuple(
            reader.take(f"statistics.found.{i}", (number, count)).cpu().double().numpy()
            for i, number in enumerate(objects)
        )
        surplus = reader.take("statistics.surplus", (count, count)).cpu().double().numpy()
        return cls(found, surplus)


def _saved(array: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
