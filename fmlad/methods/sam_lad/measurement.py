"""Anomaly Measurement Module (AMM, section 3.6): objects against Gaussians of their counterparts.

Eqs. 11 and 12, a Gaussian of the k references at a place, are ``memory.mahalanobis.measure``. The
paper compares the same place of two images; :func:`compare` first brings a place in one object to
the same place in the other (ours). :class:`ObjectScorer` gives the z-score of one object.

:class:`PooledGaussian` measures whole objects (ours): from few references a Gaussian of a place
cannot tell how an object may vary. But objects vary alike, so the differences between matched
objects of the shots, all together, give one covariance for all of them. Where the shots are
arranged, an object also resembles its counterparts more than what lies elsewhere; the ratio is
added, because a changed order leaves every object a good one of its kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fmlad.io.tensors import TensorReader
from fmlad.memory.mahalanobis import LEAST_SQUARE, Metric, measure
from fmlad.methods.sam_lad.matching import ReferenceMatch
from fmlad.objects.arrays import Floats, Ints
from fmlad.objects.feature_maps import LEAST_SIDE, ObjectMaps, counterpart_places, sampled

Align = Literal["box", "orientation", "none"]

EDGE = 0.25  # share of a cell from which it counts as the object's


class Counterpart(NamedTuple):
    """An object of a template: the template's number and maps, and the object's row."""

    number: int
    image: ObjectMaps
    row: int


@dataclass(frozen=True)
class PlaceDistances:
    """Distances of the places of one query object.

    Attributes:
        block: Rows and columns of the query's grid that were compared.
        distances: Mahalanobis distances there, ``(rows, columns)``; 0 where nothing counts.
        weight: How much of each cell counts, in [0, 1].
        baseline: Mean distance over the object of some references from the others; NaN with
            one.
        peaks: The same, of the largest distance instead of the mean.
    """

    block: tuple[slice, slice]
    distances: Tensor
    weight: Tensor
    baseline: Floats
    peaks: Floats

    @property
    def mean(self) -> float:
        """Mean distance over the object."""
        total = self.weight.sum().clamp_min(1e-9)
        return float((self.distances * self.weight).sum() / total)


def compare(
    query: ObjectMaps, row: int, counterparts: Sequence[Counterpart], align: Align, epsilon: float
) -> PlaceDistances:
    """Measures one query object by the Gaussian of its counterparts, place by place.

    Places and masks are handled on the CPU, features where they lie; the distances come back in one
    transfer.

    Args:
        query: The query's objects, and ``row``: which of them.
        counterparts: At least one.
        align: How places are brought together: by the boxes (shift and zoom), by the masks (turn
            as well), or not at all. Without alignment maps are cut off at the masks, as published;
            with it what is around an object is compared too, as far as it belongs to one of them.
        epsilon: Ridge of the covariance.
    """
    block = query.block(row)
    points, mine = query.centres(*block), query.masks[row][block]
    here = query.level[0][:, block[0], block[1]].flatten(1).T
    known, masks = [], []
    for _, image, other in counterparts:
        features, mask = _aligned(query, row, image, other, points, align, here)
        known.append(features * mask[:, None].to(features) if align == "none" else features)
        masks.append(mask)
    weight = mine.flatten()
    if align == "none":
        here = here * weight[:, None].to(here)
    else:
        weight = torch.maximum(weight, torch.stack(masks).mean(0))
    weight = torch.where(weight >= EDGE, weight, torch.zeros_like(weight))
    measured = measure(here, torch.stack(known), epsilon)
    distances, *several = torch.cat([one.reshape(-1, len(here)) for one in measured]).cpu()
    others = torch.stack(several)
    baseline = ((others * weight).sum(1) / weight.sum().clamp_min(1e-9)).double().numpy()
    peaks = (others * weight).amax(1).double().numpy()
    distances = (distances * (weight > 0)).reshape(mine.shape)
    return PlaceDistances(block, distances, weight.reshape(mine.shape), baseline, peaks)


def _aligned(
    query: ObjectMaps,
    row: int,
    image: ObjectMaps,
    other: int,
    points: Tensor,
    align: Align,
    here: Tensor,
) -> tuple[Tensor, Tensor]:
    """Features ``(P, C)`` and mask ``(P,)`` of a counterpart at the query's places."""
    spots = [points]
    if align != "none":
        poses, halves = (query.pose_of_box(row), image.pose_of_box(other)), (query.half, image.half)
        turns = [0.0]
        if align == "orientation":
            turned = query.pose_of_mask(row), image.pose_of_mask(other)
            if all(pose.elongated for pose in turned):  # an axis has no direction: both are tried
                poses, turns = turned, [0.0, math.pi]
        spots = [counterpart_places(points, poses, halves, turn) for turn in turns]
    found = [sampled(image.level, spot) for spot in spots]
    best = 0
    if len(spots) > 1:
        best = int(torch.stack([(one - here).square().sum() for one in found]).argmin())
    return found[best], sampled(image.masks[other][None, None], spots[best], "zeros")[:, 0]


CELLS = 6  # a side of the grid that boxes are brought to
MOST = 300  # differences that are remembered
LEAST_SHOTS = 3  # below, no shot can be measured by the variation of the others
SPREAD, PRIOR = 0.25, 8.0  # of baselines, and how many objects it stands for
FOREIGN = 3.0  # spreads from which a shot's object does not count as a counterpart
NOBODY = -1  # no counterpart
UNKNOWN = -1e6  # no baseline; in a file, which holds finite numbers alone


def box_vectors(maps: ObjectMaps, boxes: Floats) -> Floats:
    """Features in boxes, brought to a common grid; float64 ``(n, CELLS * CELLS * C)``.

    Of boxes ``(n, 4)``, ``xyxy`` in [0, 1]; a square of the longer side is read.
    """
    half = np.array(maps.half)
    low, high = boxes[:, :2], boxes[:, 2:]
    sides = np.maximum(((high - low) * half).max(1), LEAST_SIDE)
    steps = (np.arange(CELLS) + 0.5) / CELLS - 0.5
    offsets = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(1, -1, 2)
    points = ((low + high) / 2)[:, None] + offsets * sides[:, None, None] / half
    if not len(boxes):
        return np.zeros((0, CELLS * CELLS * maps.level.shape[1]))
    found = sampled(maps.level, torch.from_numpy(points.reshape(-1, 2)))
    return found.reshape(len(boxes), -1).double().cpu().numpy()


@dataclass(frozen=True)
class PooledGaussian:
    """All objects of all templates as vectors, and one covariance for all of them.

    Attributes:
        vectors: float64 ``(T, D)``, of all objects of all templates in their order.
        places: float64 ``(T, 2)``, ``Objects.places``.
        owner: int64 ``(T,)``: template of each.
        pairs: int64 ``(p, 2)``: objects of two templates that were matched with each other.
        baseline: float64 ``(T,)``: surprise of each before the other templates; NaN without
            counterparts.
        reach: Displacement from which an object belongs elsewhere; infinite where none does.
    """

    vectors: Floats
    places: Floats
    owner: Ints
    pairs: Ints
    baseline: Floats
    reach: float
    _metrics: dict[frozenset[int], Metric] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, templates: Sequence[ObjectMaps], pairs: Ints, baseline: Floats, reach: float
    ) -> PooledGaussian:
        """Of templates; the rest as in the class."""
        vectors = [box_vectors(template, template.boxes()) for template in templates]
        places = np.concatenate([template.objects.places for template in templates])
        owner = np.repeat(np.arange(len(templates)), [len(template) for template in templates])
        return cls(np.concatenate(vectors), places, owner, pairs, baseline, reach)

    @classmethod
    def learn(
        cls, templates: Sequence[ObjectMaps], counterparts: Sequence[Ints], reach: float
    ) -> PooledGaussian | None:
        """Measures each template by the others; None where they are too few.

        ``counterparts`` has ``(n, Z)`` per template: each object's in each template, or ``NOBODY``.
        """
        ends = np.cumsum([len(template) for template in templates])
        starts = ends - [len(template) for template in templates]
        rows = [  # of ``vectors``
            np.where(found == NOBODY, NOBODY, found + starts) for found in counterparts
        ]
        pairs = [
            (starts[one] + row, other)
            for one, found in enumerate(rows)
            for row, others in enumerate(found)
            for other in others[:one]
            if other != NOBODY
        ]
        if len(templates) < LEAST_SHOTS or not pairs:
            return None
        if len(pairs) > MOST:  # an even selection: the same every time
            pairs = [pairs[i] for i in np.linspace(0, len(pairs) - 1, MOST).astype(int)]
        baseline = np.full(ends[-1], np.nan)
        blank = cls.of(templates, np.array(pairs, np.int64), baseline.copy(), reach)
        for at, own in enumerate(np.concatenate(rows)):
            number = int(blank.owner[at])
            own = np.delete(own, number)
            own, among = own[own != NOBODY], [i for i in range(len(templates)) if i != number]
            if len(own):
                out = frozenset({number})
                baseline[at] = blank.surprise(blank.vectors[[at]], own, among, out)[0]
        # To what a saved detector keeps, so that one loaded again gives the same scores.
        return replace(blank, baseline=baseline.astype(np.float32).astype(float), _metrics={})

    def rows(self, counterparts: Iterable[Counterpart]) -> Ints:
        """Rows of ``vectors`` of some objects."""
        starts = np.searchsorted(self.owner, [one.number for one in counterparts])
        return np.asarray(starts + [one.row for one in counterparts], np.int64)

    def z_score(
        self, vectors: Floats, own: Ints, among: Sequence[int], exclude: frozenset[int]
    ) -> Floats:
        """How far objects are from their counterparts, ``(m,)``, >= 0, in standard deviations.

        The unit is the spread of the baselines of all objects of all templates.

        Args:
            vectors: ``(m, D)``, of objects with the same counterparts.
            own: Rows of their counterparts, at least one.
            among: Templates whose objects may be rivals.
            exclude: Templates that do not count.
        """
        values = self.baseline[~np.isin(self.owner, list(exclude)) & np.isfinite(self.baseline)]
        if not len(values):
            return np.zeros(len(vectors))
        centre = float(np.median(values))
        robust = 1.4826 * float(np.median(np.abs(values - centre)))
        squares = len(values) * robust**2 + PRIOR * SPREAD**2
        spread = float(np.sqrt(squares / (len(values) + PRIOR)))
        foreign = (np.nan_to_num(self.baseline[own]) - centre) / spread > FOREIGN
        if 2 * foreign.sum() <= len(own):  # a shot's object that was cut wrongly does not count
            own = own[~foreign]
        return np.maximum((self.surprise(vectors, own, among, exclude) - centre) / spread, 0)

    def surprise(
        self, vectors: Floats, own: Ints, among: Sequence[int], exclude: frozenset[int]
    ) -> Floats:
        """Log distance to the counterparts' Gaussian, and log ratio of nearest one and rival."""
        metric = self._metric(exclude)
        mean = self.vectors[own].mean(0, keepdims=True)
        known = metric.known[own].mean(0, keepdims=True)
        apart = metric.squared(vectors, mean, known)[:, 0] / (1 + 1 / len(own))
        surprise = 0.5 * np.log(np.maximum(apart, LEAST_SQUARE))
        gaps = np.linalg.norm(self.places - self.places[own].mean(0), axis=1)
        rivals = np.flatnonzero((gaps > self.reach) & np.isin(self.owner, list(among)))
        if len(rivals):
            both = np.concatenate([own, rivals])
            squares = metric.squared(vectors, self.vectors[both], metric.known[both])
            nearest = squares[:, : len(own)].min(1), squares[:, len(own) :].min(1)
            surprise = surprise + 0.5 * np.log(nearest[0] / nearest[1])
        return np.asarray(surprise, dtype=np.float64)

    def _metric(self, exclude: frozenset[int]) -> Metric:
        if exclude not in self._metrics:
            self._metrics.clear()  # one takes 30 MB at true size
            out = np.isin(self.owner[self.pairs], list(exclude)).any(1)
            pairs = self.pairs[~out] if not out.all() else self.pairs
            differences = (self.vectors[pairs[:, 0]] - self.vectors[pairs[:, 1]]) / np.sqrt(2)
            self._metrics[exclude] = Metric.of(differences, self.vectors)
        return self._metrics[exclude]

    def tensors(self) -> dict[str, Tensor]:
        """float32, to be saved; vectors are made again from the templates."""
        baseline = np.where(np.isfinite(self.baseline), self.baseline, UNKNOWN)
        arrays = {"pairs": self.pairs, "baseline": baseline}
        return {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}

    @classmethod
    def restore(
        cls, reader: TensorReader, templates: Sequence[ObjectMaps], reach: float
    ) -> PooledGaussian:
        """Inverse of :meth:`tensors`.

        Raises:
            CorruptDetectorError: A tensor is missing or of another shape.
            ValueError: A pair is of objects that do not exist.
        """
        total = sum(len(template) for template in templates)
        pairs = reader.take("gaussian.pairs", (None, 2)).cpu().numpy().astype(np.int64)
        baseline = reader.take("gaussian.baseline", (total,)).cpu().double().numpy()
        if not len(pairs) or pairs.min() < 0 or pairs.max() >= total:
            raise ValueError("matched objects that do not exist")
        return cls.of(templates, pairs, np.where(baseline <= UNKNOWN, np.nan, baseline), reach)


MATCHED = 0.5  # share of the references from which an object counts as matched
PEAK = 2.0  # normal ratio of an object's largest distance to its mean one
TYPICAL, SHRINK = 0.15, 4.0  # relative spread of normal distances, and how many it stands for


@dataclass(frozen=True)
class ObjectScore:
    """One query object, measured.

    Attributes:
        measured: Its distances.
        baseline: Mean distance that would be normal.
        spread: Standard deviation of it.
        peak: Largest distance that would be normal.
        matched: Whether the object has a partner in half of the references.
        whole: z-score by the pooled Gaussian; None without one.
    """

    measured: PlaceDistances
    baseline: float
    spread: float
    peak: float
    matched: bool
    whole: float | None = None

    @property
    def z_score(self) -> float:
        """How far the object is on the whole from what is normal, in standard deviations, >= 0."""
        return self.by_places if self.whole is None else self.whole

    @property
    def by_places(self) -> float:
        """The same by the mean of the places' distances."""
        return max(0.0, (self.measured.mean - self.baseline) / self.spread)


@dataclass(frozen=True)
class ObjectScorer:
    """Measures objects of a query by their counterparts in its references.

    Attributes:
        align: How places are brought together.
        epsilon: Ridge of the covariance of a place.
        baseline: Mean distance of a normal object to a single counterpart.
        gaussian: Of whole objects; None: the mean of the places' distances decides.
        among: Numbers of the references.
        exclude: Templates that do not count.
    """

    align: Align
    epsilon: float
    baseline: float
    gaussian: PooledGaussian | None
    among: Sequence[int]
    exclude: frozenset[int] = frozenset()

    def z_scores(
        self, query: ObjectMaps, boxes: Floats, counterparts: Sequence[Counterpart]
    ) -> Floats | None:
        """z-scores ``(m,)`` of what lies in boxes of a query; None without a pooled Gaussian."""
        if self.gaussian is None:
            return None
        own = self.gaussian.rows(counterparts)
        return self.gaussian.z_score(box_vectors(query, boxes), own, self.among, self.exclude)

    def __call__(
        self, query: ObjectMaps, row: int, counterparts: Sequence[Counterpart], partners: int
    ) -> ObjectScore | None:
        """Measures one query object; None without counterparts.

        Of its ``counterparts``, one in each reference that has any object, some are ``partners``.
        """
        count = len(counterparts)
        if count == 0:
            return None
        measured = compare(query, row, counterparts, self.align, self.epsilon)
        normal = self.baseline
        mean, spread, peak = normal, TYPICAL * normal, PEAK * normal
        if count > 1:
            # Distances of the references from each other, drawn towards what is typical.
            mean = float(((count - 1) * measured.baseline.mean() + normal) / count)
            peak = float(((count - 1) * measured.peaks.mean() + PEAK * normal) / count)
            squares = count * float(measured.baseline.var()) + SHRINK * (TYPICAL * mean) ** 2
            spread = math.sqrt(squares / (count + SHRINK))
        z_scores = self.z_scores(query, query.boxes()[[row]], counterparts)
        return ObjectScore(
            measured,
            max(mean, 1e-6),
            max(spread, 1e-6),
            max(peak, 1e-6),
            partners >= MATCHED * len(self.among),
            None if z_scores is None else float(z_scores[0]),
        )


def counterparts_of(row: int, matches: Sequence[ReferenceMatch]) -> list[Counterpart]:
    """Counterparts of a query object in all references that have any."""
    found = [Counterpart(one.number, one.reference, int(one.counterparts[row])) for one in matches]
    return [one for one in found if one.row >= 0]


def normal_distance(
    matched: Sequence[tuple[ObjectMaps, int, Counterpart]], align: Align, epsilon: float
) -> float:
    """Median over matched objects of the mean distance of an object to its single partner."""
    distances = [compare(image, row, [one], align, epsilon).mean for image, row, one in matched]
    return float(np.median(distances)) if distances else 1.0
