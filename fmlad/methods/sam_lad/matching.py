"""Descriptors (DCGA, section 3.5.1), and matching of objects (OMM, section 3.5.2).

DCGA as published does not type-check (equations 4, 5 and 8), and read charitably it forgets the
object that it describes: the adjacency of equation 6 has a zero diagonal and nothing is added back.
``"literal"`` is that reading; ``"residual"`` keeps the object itself and adds the similar objects
of the image; ``"gmp"`` and ``"gap"`` are the plain poolings that the paper compares with.

Equation 10 compares descriptors by their cosine alone, which cannot tell equal pins apart.
:class:`Affinity` has three terms in nats, each in units learned from the shots (ours): descriptor,
form and place. Equation 9 is a partial assignment with dustbins, ``objects.assignment.match``.
:class:`MatchStatistics` hold how rare it is between shots that an object stays unmatched (ours; the
paper scores neither missing nor extra objects).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field, FiniteFloat
from pydantic.dataclasses import dataclass as checked
from torch import Tensor

from fmlad.io.tensors import TensorReader
from fmlad.memory.templates import TemplateIndex
from fmlad.objects.arrays import Floats, Ints
from fmlad.objects.assignment import Assignment, match
from fmlad.objects.feature_maps import ObjectMaps

Mode = Literal["residual", "literal", "gmp", "gap"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

# The two 1 -> 1 convolutions of DCGA are one scalar each, and no trained values were published: 1
# is the neutral choice.
W1 = W2 = 1.0
LEAST = 1e-6  # similarity of objects that have nothing in common


@dataclass(frozen=True)
class ObjectDescriptors:
    """What is compared of the objects of one image.

    Attributes:
        descriptors: float64 ``(n, C)``, of norm 1 (0 where there is nothing to normalise).
        appearance: float64 ``(n, 7)``, ``Objects.appearance``.
        places: float64 ``(n, 2)``, ``Objects.places``.
    """

    descriptors: Floats
    appearance: Floats
    places: Floats

    def __len__(self) -> int:
        return len(self.appearance)


def describe(image: ObjectMaps, mode: Mode) -> ObjectDescriptors:
    """Descriptors of an image's objects, computed once."""
    if mode not in image.memo:
        pooled = pool(image.level, image.masks, "gap" if mode == "gap" else "gmp")
        vectors = attend(pooled, mode).cpu().double().numpy()
        objects = image.objects
        image.memo[mode] = ObjectDescriptors(vectors, objects.appearance, objects.places)
    return cast(ObjectDescriptors, image.memo[mode])


def pool(level: Tensor, masks: Tensor, how: Literal["gmp", "gap"]) -> Tensor:
    """Object feature maps pooled over the image, ``(n, C)``.

    Of features ``(1, C, h, w)`` and ``masks``, shares ``(n, h, w)`` of each cell in [0, 1]: the
    global maximum (SAM-LAD), or the mean over the mask.
    """
    rows = [level.new_zeros(0, level.shape[1])]
    for shares, mask in zip(masks, masks.to(level), strict=True):
        cells = torch.nonzero(shares > 0)
        if not len(cells):
            cells = cells.new_zeros(1, 2)
        (top, left), (bottom, right) = cells.amin(0).tolist(), (cells.amax(0) + 1).tolist()
        part = level[0, :, top:bottom, left:right] * mask[top:bottom, left:right]
        if how == "gap":
            rows.append(part.sum(dim=(1, 2))[None] / mask.sum().clamp_min(LEAST))
        else:  # outside its box an object's map is 0, which the maximum must not overlook
            outside = int(part.shape[1:] != level.shape[2:])
            rows.append(F.pad(part.flatten(1), (0, outside)).amax(1)[None])
    return torch.cat(rows)


def attend(pooled: Tensor, mode: Mode) -> Tensor:
    """DCGA, Eqs. 4 to 8: pooled objects ``(n, C)`` of an image to descriptors of norm 1."""
    if mode in ("gmp", "gap") or len(pooled) == 0:
        return F.normalize(pooled, dim=1)
    # G(f, A): with A = diag(softmax(w f)) (equations 4 and 5) graph attention is this product.
    attended = pooled * torch.softmax(W1 * pooled, dim=1)
    if mode == "literal":
        return F.normalize(literal_adjacency(pooled) @ torch.sigmoid(pooled * attended), dim=1)
    gated = pooled * torch.sigmoid(pooled * F.relu(W2 * attended))
    return F.normalize(gated + adjacency(pooled) @ gated, dim=1)


def literal_adjacency(pooled: Tensor) -> Tensor:
    """Equations 6 and 7, ``(n, n)``: cosines over their row sum, zero on the diagonal.

    The row sum may be near zero where cosines are negative; a single object gets zero.
    """
    unit = F.normalize(pooled, dim=1)
    cosine = (unit @ unit.T).fill_diagonal_(0)
    total = cosine.sum(1, keepdim=True)
    return torch.where(total == 0, torch.zeros_like(cosine), cosine / total)


def adjacency(pooled: Tensor) -> Tensor:
    """Equations 6 and 7 with cosines that are never negative, ``(n, n)``, rows of sum 1 or 0."""
    unit = F.normalize(pooled, dim=1)
    cosine = ((unit @ unit.T).clamp_min(0) + LEAST).fill_diagonal_(0)
    return cosine / cosine.sum(1, keepdim=True).clamp_min(LEAST)


SPREADS = (0.03, 0.06, 0.12, 0.25)  # halves of the longer side
STRAY = 0.1  # share of normal objects that may lie anywhere, at most
FAR = 4.0  # spreads from which an object is in another place
AREA = 3.0  # of a 4 : 3 picture in these units, over which a place by chance is spread
UNITS = (0.5, 3.0)  # least and largest unit of appearance, in natural ones
LEAST_SHORTFALL = 1e-3  # of a cosine
FURTHEST = -60.0  # nats, the least score of a pair
MARGIN = 3.0  # nats from the worst match between shots down to the dustbin
PAIRS = 40  # of shots, that are compared at most
WORST = 0.02  # share of the matches between shots that may be mistakes


@checked(frozen=True)
class Affinity:
    """Units of the three terms, and the score of an object without a partner.

    Attributes:
        shortfall: Normal ``1 - cosine`` of matched objects.
        units: Normal differences of appearance, ``(7,)``; empty where form does not count.
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

        If ``place`` may count, it does under the spread that explains the shots best.
        """
        pairs = [(q, r) for q in shots for r in shots if q is not r and min(len(q), len(r)) > 0]
        if len(pairs) > PAIRS:  # an even selection: the same every time
            pairs = [pairs[i] for i in np.linspace(0, len(pairs) - 1, PAIRS).astype(int)]
        units = (1.0,) * (shots[0].appearance.shape[1] if form else 0)
        if not pairs:
            # One shot: units as people would choose them, and place up to a hand's precision.
            return cls(0.05, units, 0.12 if place else None, -12.0)
        affinity = cls(0.1, units, None, FURTHEST)
        for _ in range(2):
            matched = [(q, r, *_best(affinity.scores(q, r))) for q, r in pairs]
            cosines = [(q.descriptors[i] * r.descriptors[j]).sum(1) for q, r, i, j in matched]
            shortfall = max(float(np.median(1 - np.concatenate(cosines))), LEAST_SHORTFALL)
            if form:
                apart = [np.abs(q.appearance[i] - r.appearance[j]) for q, r, i, j in matched]
                median = 1.5 * np.median(np.concatenate(apart), axis=0)
                units = tuple(np.clip(median, *UNITS).tolist())
            affinity = cls(shortfall, units, None, FURTHEST)
        spreads = (None, *SPREADS) if place else (None,)
        candidates = [cls(shortfall, units, spread, FURTHEST) for spread in spreads]
        affinity = max(candidates, key=lambda one: sum(float(s.sum()) for s in one._matched(pairs)))
        if affinity.spread is not None:
            gaps = np.concatenate(
                [affinity.gaps(q.places, r.places)[_best(affinity.scores(q, r))] for q, r in pairs]
            )
            far = float((gaps > affinity.reach).sum())
            affinity = replace(affinity, stray=min((far + 0.5) / (len(gaps) + 1), STRAY))
        # A match must outbid the whole dustbin, which holds as much as there are objects.
        crowd = math.log(1 + float(np.median([len(shot) for shot in shots])))
        worst = float(np.quantile(np.concatenate(affinity._matched(pairs)), WORST))
        return replace(affinity, dustbin=max(worst - MARGIN - crowd, FURTHEST / 2))

    def scores(self, query: ObjectDescriptors, reference: ObjectDescriptors) -> Floats:
        """Log likelihood ratio of each pair, ``(M, N)`` in nats, never below ``FURTHEST``."""
        total = (query.descriptors @ reference.descriptors.T - 1) / self.shortfall
        if self.units:
            apart = (query.appearance[:, None] - reference.appearance[None]) / np.array(self.units)
            total = total - 0.5 * np.square(apart).sum(-1)
        total = np.maximum(total, FURTHEST)
        if self.spread is not None:  # a displacement under the spread against one by chance
            gaps = self.gaps(query.places, reference.places)
            near = np.exp(-0.5 * np.square(gaps / self.spread)) / (2 * math.pi * self.spread**2)
            total = total + np.log((1 - self.stray) * AREA * near + self.stray)
        return np.asarray(np.maximum(total, FURTHEST), dtype=np.float64)

    def _matched(
        self, pairs: Sequence[tuple[ObjectDescriptors, ObjectDescriptors]]
    ) -> list[Floats]:
        """Scores of the best one-to-one matches of each pair of images."""
        return [scores[_best(scores)] for scores in (self.scores(q, r) for q, r in pairs)]

    @staticmethod
    def gaps(query: Floats, reference: Floats) -> Floats:
        """Distances ``(M, N)`` between places, in halves of the longer side."""
        return np.asarray(np.linalg.norm(query[:, None] - reference[None], axis=-1), np.float64)

    @property
    def arranged(self) -> bool:
        """Whether place counts."""
        return self.spread is not None

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


def _best(scores: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-scores)
    return rows, columns


@dataclass(frozen=True)
class Matcher:
    """How objects are matched: what was learned and chosen for it.

    Attributes:
        affinity: Units and dustbin.
        mode: Descriptor.
        temperature: Of the soft assignment, on the affinity in nats.
    """

    affinity: Affinity
    mode: Mode
    temperature: float

    def __call__(self, query: ObjectMaps, reference: ObjectMaps) -> Assignment:
        """Matches two images' objects."""
        scores = self.affinity.scores(describe(query, self.mode), describe(reference, self.mode))
        return match(scores, self.affinity.dustbin, self.temperature)

    def in_place(self, counterparts: Ints, query: ObjectMaps, reference: ObjectMaps) -> Ints:
        """Counterparts ``(M,)``; where the shots are arranged, none that lies in another place.

        An object whose counterpart lies elsewhere, or that has none, gets the reference object in
        its own place, if there is one.
        """
        if not self.affinity.arranged or not len(reference):
            return counterparts
        gaps = self.affinity.gaps(query.objects.places, reference.objects.places)
        there = np.take_along_axis(gaps, np.maximum(counterparts, 0)[:, None], 1)[:, 0]
        reach = self.affinity.reach
        here = (gaps.min(1) <= reach) & ((there > reach) | (counterparts < 0))
        return np.where(here, gaps.argmin(1), counterparts).astype(np.int64)


COMPARED = 16  # templates that each template is matched with at fit time
UNKNOWN = -1.0  # two templates that were not compared
CHANCE = 0.5  # half a match and half a failure that were never seen


def match_templates(
    templates: Sequence[ObjectMaps], index: TemplateIndex, matcher: Matcher
) -> dict[tuple[int, int], Assignment]:
    """Matches each template with those nearest to it; by the numbers of both."""
    return {
        (number, other): matcher(template, templates[other])
        for number, template in enumerate(templates)
        for other in index.nearest(template.vector, COMPARED, frozenset({number}))
    }


@dataclass(frozen=True)
class MatchStatistics:
    """Results of matching templates with each other.

    Attributes:
        found: Per template ``(n, Z)``: 1 where its object has a partner in the other template, 0
            where it has none, ``UNKNOWN`` where the two were not compared.
        surplus: ``(Z, Z)``: objectness of the objects of the first template, taken as a query, that
            have no partner in the second; ``UNKNOWN`` where not compared.
    """

    found: tuple[Floats, ...]
    surplus: Floats

    @classmethod
    def learn(
        cls, templates: Sequence[ObjectMaps], matches: Mapping[tuple[int, int], Assignment]
    ) -> MatchStatistics:
        """From the results of :func:`match_templates`."""
        count = len(templates)
        found = tuple(np.full((len(template), count), UNKNOWN) for template in templates)
        surplus = np.full((count, count), UNKNOWN)
        for (number, other), one in matches.items():
            found[number][:, other] = one.partner >= 0
            objectness = templates[number].objects.objectness
            surplus[number, other] = objectness[one.partner < 0].sum()
        return cls(found, surplus)

    def missing(self, template: int, exclude: frozenset[int]) -> Floats:
        """Surprise in nats, ``(n,)``, at a query that lacks each object of a template."""
        known = np.delete(self.found[template], list(exclude), axis=1)
        known = known[:, (known >= 0).all(0)]
        if not known.shape[1]:  # one template: absence counts by the object's objectness alone
            return np.full(len(known), math.log(1 / CHANCE))
        times = (known == 1).sum(1)
        return np.asarray(-np.log(1 - (times + CHANCE) / (known.shape[1] + 1)), dtype=np.float64)

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

    def tensors(self) -> dict[str, Tensor]:
        """float32 copies, to be saved."""
        arrays = {f"found.{i}": found for i, found in enumerate(self.found)}
        arrays["surplus"] = self.surplus
        return {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}

    @classmethod
    def restore(cls, reader: TensorReader, objects: Sequence[int]) -> MatchStatistics:
        """Inverse of :meth:`tensors`, given the number of objects of each template.

        Raises:
            CorruptDetectorError: A tensor is missing or of another shape.
        """
        count = len(objects)
        shapes = {f"found.{i}": (number, count) for i, number in enumerate(objects)}
        shapes["surplus"] = (count, count)
        taken = [reader.take(f"statistics.{name}", shape) for name, shape in shapes.items()]
        *found, surplus = (one.cpu().double().numpy() for one in taken)
        return cls(tuple(found), surplus)


@dataclass(frozen=True)
class ReferenceMatch:
    """A query matched with one reference.

    Attributes:
        number: Of the template.
        reference: Its objects.
        assignment: Matched objects.
        missing: Nats ``(N,)`` that the absence of each reference object is worth; 0 if matched.
        extra: Nats ``(M,)`` that each query object without a partner is worth; 0 if matched.
        moved: Nats ``(M,)`` that the displacement of each matched query object is worth.
        counterparts: ``(M,)``: the reference object that each query object is measured by, be it
            its partner or not; -1 for none.
    """

    number: int
    reference: ObjectMaps
    assignment: Assignment
    missing: Floats
    extra: Floats
    moved: Floats
    counterparts: Ints

    @property
    def cost(self) -> float:
        """Nats of all missing, extra and displaced objects together."""
        return float(self.missing.sum() + self.extra.sum() + self.moved.sum())


def match_reference(
    query: ObjectMaps,
    number: int,
    template: ObjectMaps,
    matcher: Matcher,
    statistics: MatchStatistics,
    exclude: frozenset[int],
) -> ReferenceMatch:
    """Matches a query with one template.

    An object without a partner is measured by its nearest; where the shots are arranged, an object
    is always measured by what belongs in its place.
    """
    found, affinity = matcher(query, template), matcher.affinity
    partner, left, pairs = found.partner, found.left_over, tuple(found.pairs.T)
    missing, moved = np.zeros(len(template)), np.zeros(len(query))
    missing[left] = (statistics.missing(number, exclude) * template.objects.objectness)[left]
    objectness = query.objects.objectness
    extra = np.where(partner < 0, statistics.extra(exclude) * objectness, 0.0)
    gaps = affinity.gaps(query.objects.places, template.objects.places)
    moved[pairs[0]] = affinity.misplaced(gaps[pairs]) * objectness[pairs[0]]
    counterparts = np.where(partner >= 0, partner, found.nearest).astype(np.int64)
    counterparts = matcher.in_place(counterparts, query, template)
    return ReferenceMatch(number, template, found, missing, extra, moved, counterparts)
