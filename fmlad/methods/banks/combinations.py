"""The combination bank: which attributes of which objects go together (ours).

Products come in types: a yellow cable joins connectors of two clamps, a red one those of five. Each
object of an image with a red cable and two clamps is known, their combination is not. Objects are
compared through their counterparts in the shots (``counterparts``), not through parts, because a
part is of one colour and size. Three statistics, each in nats:

- ``extents``: size and proportions of an object, against those of its counterparts;
- ``relations``: their difference between two objects, where it varies much less over the shots than
  the two do: connectors of one size, whatever the size;
- ``together``: the combination of all attributes, by kernels ``K`` about the shots: ``sum over
  attributes of max over shots of log(K) - max over shots of the sum of log(K)``, 0 where one and
  the same shot has all of them. How far it counts is decided by the shots, each left out in turn:
  their pointwise mutual information, ``log(mean of the product of K) - sum of log(mean of K)``,
  summed, is the evidence that attributes go together at all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logsumexp

from fmlad.findings import Kind
from fmlad.objects.appearance import RED_GREEN, SIZE, SIZE_UNIT, YELLOW_BLUE, Objects
from fmlad.objects.arrays import Floats, Ints
from fmlad.objects.counterparts import NOBODY, counterparts
from fmlad.objects.counts import PRIOR_SPREAD_WEIGHT, spread_surprise
from fmlad.objects.places import Slots

COLOURS, LOG_AREA, LOG_ASPECT = slice(0, 2), 2, 3
FORMS = slice(2, 4)
# Standard deviations believed before any is seen: units of colour, logs of area and aspect (ours).
SPREADS = np.array([0.5, 0.5, 0.08, 0.03])
OUTLINE = 2.0  # pixels by which the outline of one object may differ: short sides are uncertain
SAME = 3.0  # squared distance, in spreads, within which an attribute is the same
MUTATED = 0.01  # kernel of an attribute that no shot has
CHANCE = 1.0  # nats of a normal image whose nearest shot is not the nearest in everything
PRIOR_TYPES = 0.1  # belief that attributes go together before any shot is seen
PRIOR_RELATION = 0.1  # belief that an attribute of two objects goes together
MOST = 3.0  # nats of one extent or relation: no more than a count
MOST_OBJECTS = 12  # objects that are compared; in crowds, combinations are chance


@dataclass(frozen=True)
class Unlike:
    """One way in which an image's objects do not go together.

    Attributes:
        kind: ``"resized"`` or ``"recoloured"``.
        score: Nats.
        rows: The image's objects concerned.
        slots: Their counterparts, rows of the shot :attr:`Combinations.base`.
    """

    kind: Kind
    score: float
    rows: tuple[int, ...]
    slots: tuple[int, ...]


class Combinations:
    """Attributes of the objects of some shots, and how they vary together."""

    def __init__(self, shots: Sequence[Objects]) -> None:
        """Learns from the objects of each shot."""
        counts = np.array([len(objects) for objects in shots])
        self.base = int(np.argmin(np.abs(counts - np.median(counts))))
        self._objects = shots[self.base]
        number = len(self._objects)
        self._values = np.full((len(shots), number, len(SPREADS)), np.nan)
        if len(shots) < 2 or not 0 < number <= MOST_OBJECTS:
            self._values = self._values[:0]
            return
        places: list[list[Floats]] = [[] for _ in range(number)]
        for shot, objects in enumerate(shots):
            self._values[shot], partner = self._matched(objects)
            for slot in np.flatnonzero(partner != NOBODY):
                places[slot].append(objects.places[partner[slot]])
        # Where objects lie freely, a counterpart is any object of the same form.
        steady = Slots.of([np.array(seen) for seen in places]).steady
        self._steady = steady * np.median(steady)
        sides = self._objects.boxes[:, 2:] - self._objects.boxes[:, :2]
        short = OUTLINE / np.maximum(sides.min(1), 1)
        self._spreads = SPREADS + short[:, None] * np.array([0, 0, 1, 1])
        self._units = np.maximum(self._spreads, _within_types(self._values))
        self._types = self._belief_in_types()

    def unlike(
        self, objects: Objects, extents: bool = True, relations: bool = True, together: bool = True
    ) -> list[Unlike]:
        """What is unlike the shots in an image's objects; empty after a single shot."""
        if not len(self._values) or not len(objects):
            return []
        here, partner = self._matched(objects)
        found: list[Unlike] = []
        if extents:
            found += self._extents(here, partner)
        if relations:
            found += self._relations(here, partner)
        if together:
            found += self._together(here, partner)
        weights = objects.objectness
        return [
            Unlike(one.kind, one.score * float(weights[list(one.rows)].min()), one.rows, one.slots)
            for one in found
        ]

    def _matched(self, objects: Objects) -> tuple[Floats, Ints]:
        """Attributes ``(slots, 4)`` of an image, NaN where there is no counterpart, and rows."""
        partner = counterparts(self._objects, objects)
        values = _attributes(objects)[partner] if len(objects) else np.zeros((len(partner), 4))
        values[partner == NOBODY] = np.nan
        return values, partner

    def _extents(self, here: Floats, partner: Ints) -> list[Unlike]:
        found = []
        tests = math.log1p(2 * len(here))
        # An object of another colour may be of another type, with other extents.
        known = np.exp(self._kernels(here, self._values)[..., 0].max(0))
        for slot, attribute in itertools.product(range(len(here)), (LOG_AREA, LOG_ASPECT)):
            seen = self._seen(slot)[:, attribute]
            if partner[slot] == NOBODY or len(seen) < 2:
                continue
            spread = self._spreads[slot, attribute]
            score = min(_surprise(here[slot, attribute], seen, spread) - tests, MOST)
            # Where types differ in it, another value may be one more type.
            varied = 4 * spread**2 / max(float(seen.var(ddof=1)), 1e-9)
            score *= float(known[slot] * self._steady[slot]) * min(1.0, varied)
            found.append(Unlike("resized", score, (int(partner[slot]),), (slot,)))
        return found

    def _relations(self, here: Floats, partner: Ints) -> list[Unlike]:
        found = []
        present = np.flatnonzero(partner != NOBODY)
        pairs = list(itertools.combinations(range(len(here)), 2))
        tests = math.log1p(2 * len(pairs))
        prior = math.log(PRIOR_RELATION / (1 - PRIOR_RELATION))
        for one, other in pairs:
            both = ~np.isnan(self._values[:, [one, other], LOG_AREA]).any(1)
            if one not in present or other not in present or both.sum() < 3:
                continue
            for attribute in (LOG_AREA, LOG_ASPECT):
                first, second = self._values[both][:, [one, other], attribute].T
                gaps, unit = first - second, float(self._spreads[[one, other], attribute].max())
                # Log of the Bayes factor of equal changes against independent ones, roughly.
                spread = _variance(gaps, unit)
                free = first.var(ddof=1) + second.var(ddof=1)
                gain = (both.sum() - 1) / 2 * math.log(max(free / spread, 1e-9)) - tests
                belief = float(expit(prior + gain)) * float(self._steady[[one, other]].min())
                gap = here[one, attribute] - here[other, attribute]
                score = belief * min(_surprise(gap, gaps, unit) - tests, MOST)
                rows = int(partner[one]), int(partner[other])
                found.append(Unlike("resized", score, rows, (one, other)))
        return found

    def _together(self, here: Floats, partner: Ints) -> list[Unlike]:
        if self._types < 0.01:
            return []
        kernels = self._kernels(here, self._values)
        apart = kernels.max(0).sum() - kernels.sum((1, 2)).max()
        score = self._types * (float(apart) - CHANCE)
        if score <= 0:
            return []
        # Against the shot that has most of it, the attribute that another shot has.
        nearest = int(kernels.sum((1, 2)).argmax())
        lost = kernels.max(0) - kernels[nearest]
        slot, facet = np.unravel_index(int(lost.argmax()), lost.shape)
        kind: Kind = "recoloured" if facet == 0 else "resized"
        return [Unlike(kind, score, (int(partner[slot]),), (int(slot),))]

    def _belief_in_types(self) -> float:
        """Belief, in [0, 1], that attributes go together, by the shots left out in turn."""
        shots = range(len(self._values))
        evidence = sum(
            _mutual(self._kernels(self._values[shot], np.delete(self._values, shot, axis=0)))
            for shot in shots
        )
        return float(expit(math.log(PRIOR_TYPES / (1 - PRIOR_TYPES)) + evidence))

    def _kernels(self, here: Floats, shots: Floats) -> Floats:
        """Log kernel of colour and of form, ``(shots, slots, 2)``; 0 without a counterpart."""
        squares = np.nan_to_num(np.square((here[None] - shots) / self._units))
        squares = np.stack([squares[..., facet].sum(-1) for facet in (COLOURS, FORMS)], -1)
        squares = np.maximum(squares - SAME, 0)
        logs = np.logaddexp(math.log(1 - MUTATED) - squares / 2, math.log(MUTATED))
        return np.asarray(logs * self._steady[:, None], np.float64)

    def _seen(self, slot: int) -> Floats:
        values = self._values[:, slot]
        return np.asarray(values[~np.isnan(values).any(1)])


def _attributes(objects: Objects) -> Floats:
    """Colour without lightness, log of area and of width over height, ``(n, 4)``."""
    appearance, boxes = objects.appearance, objects.boxes
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1)
    return np.column_stack(
        [
            appearance[:, [RED_GREEN, YELLOW_BLUE]],
            appearance[:, SIZE] * SIZE_UNIT,
            np.log(sides[:, 0] / sides[:, 1]),
        ]
    )


def _mutual(kernels: Floats) -> float:
    """Pointwise mutual information of an image's attributes, nats, of log kernels."""
    shots = math.log(len(kernels))
    joint = float(logsumexp(kernels.sum((1, 2)))) - shots
    return joint - float((logsumexp(kernels, axis=0) - shots).sum())


def _within_types(values: Floats) -> Floats:
    """Spread of each attribute between images of one type, ``(4,)``: that of the nearest shots."""
    gaps = np.abs(values[:, None] - values[None])
    gaps = np.where(np.isnan(gaps), np.inf, gaps)
    gaps[np.arange(len(values)), np.arange(len(values))] = np.inf
    nearest = gaps.min(1).reshape(-1, values.shape[-1])
    known = nearest[np.isfinite(nearest).all(1)]
    # Some shots are the only ones of their type: half of them tell.
    return np.asarray(np.median(known, axis=0) if len(known) else np.zeros(len(SPREADS)))


def _variance(values: Floats, spread: float) -> float:
    """Variance with the prior spread counted for some shots."""
    freedom = PRIOR_SPREAD_WEIGHT + len(values) - 1
    squares = PRIOR_SPREAD_WEIGHT * spread**2 + float(np.square(values - values.mean()).sum())
    return squares / freedom


def _surprise(value: float, seen: Floats, spread: float) -> float:
    return spread_surprise(np.array([value]), seen[:, None], spread)
