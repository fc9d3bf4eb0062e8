"""A query before one of its references: who is whom, who is missing, extra or misplaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmlad.methods.sam_lad.descriptors import Mode
from fmlad.methods.sam_lad.matching import UNKNOWN, Affinity, Assignment, MatchStatistics, match
from fmlad.methods.sam_lad.object_maps import Align, Measured, ObjectMaps, compare
from fmlad.methods.sam_lad.pooled_gaussian import NOBODY, Scorer
from fmlad.methods.sam_lad.templates import TemplateIndex

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

COMPARED = 16  # templates that each template is matched with at fit time
MEASURED = 64  # matched objects that set the unit of measurement
MATCHED = 0.5  # share of the references from which an object counts as matched
PEAK = 2.0  # normal ratio of an object's largest distance to its mean one
TYPICAL, SHRINK = 0.15, 4.0  # relative spread of normal distances, and how many it stands for


@dataclass(frozen=True)
class Matcher:
    """How objects are matched: everything that was learned and chosen for it.

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
        here, there = query.described(self.mode), reference.described(self.mode)
        return match(self.affinity.scores(here, there), self.affinity.dustbin, self.temperature)

    @property
    def arranged(self) -> bool:
        """Whether place counts."""
        return self.affinity.spread is not None

    def gaps(self, query: ObjectMaps, reference: ObjectMaps) -> Floats:
        """Distances ``(M, N)`` between places, in halves of the longer side."""
        return self.affinity.gaps(query.described(self.mode), reference.described(self.mode))


@dataclass(frozen=True)
class Comparison:
    """A query before one reference.

    Attributes:
        number: Of the template.
        reference: Its objects.
        found: Who is whom.
        missing: Nats ``(N,)`` that the absence of each reference object is worth; 0 if present.
        extra: Nats ``(M,)`` that each query object without a like is worth; 0 if matched.
        moved: Nats ``(M,)`` that the displacement of each matched query object is worth.
        stands: ``(M,)``: the reference object that each query object is measured by; -1 for none.
    """

    number: int
    reference: ObjectMaps
    found: Assignment
    missing: Floats
    extra: Floats
    moved: Floats
    stands: Ints

    @property
    def cost(self) -> float:
        """All that speaks against the query being like this reference, in nats."""
        return float(self.missing.sum() + self.extra.sum() + self.moved.sum())


def before(
    query: ObjectMaps,
    number: int,
    template: ObjectMaps,
    matcher: Matcher,
    statistics: MatchStatistics,
    exclude: frozenset[int],
) -> Comparison:
    """Compares a query with one template.

    An object without a partner is measured by what it is most like; where the shots are arranged,
    an object is always measured by what belongs in its place, be it like it or not.
    """
    found = matcher(query, template)
    partner = found.partner
    missing = np.zeros(len(template))
    left = found.left_over
    missing[left] = (statistics.missing(number, exclude) * template.objects.objectness)[left]
    extra = np.where(partner < 0, statistics.extra(exclude) * query.objects.objectness, 0.0)
    moved = np.zeros(len(query))
    stands = np.where(partner >= 0, partner, found.nearest)
    if matcher.arranged and len(template):
        gaps = matcher.gaps(query, template)
        pairs = tuple(found.pairs.T)
        sure = query.objects.objectness[pairs[0]]
        moved[pairs[0]] = matcher.affinity.misplaced(gaps[pairs]) * sure
        stands = _in_place(stands, gaps, matcher.affinity.reach)
    return Comparison(number, template, found, missing, extra, moved, stands.astype(np.int64))


def _in_place(stands: Ints, gaps: Floats, reach: float) -> Ints:
    """What belongs in each object's place, where what it stands for ``(M,)`` lies elsewhere."""
    there = np.take_along_axis(gaps, np.maximum(stands, 0)[:, None], 1)[:, 0]
    here = (gaps.min(1) <= reach) & ((there > reach) | (stands < 0))
    return np.where(here, gaps.argmin(1), stands)


@dataclass(frozen=True)
class ObjectScore:
    """One query object, measured.

    Attributes:
        measured: Its distances.
        baseline: Mean distance that would be normal.
        spread: Standard deviation of it.
        peak: Largest distance that would be normal.
        matched: Whether the object has a partner in half of the references.
        whole: How anomalous it is as a whole; None where the shots are too few to tell.
    """

    measured: Measured
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


def score_object(
    query: ObjectMaps,
    row: int,
    comparisons: Sequence[Comparison],
    align: Align,
    epsilon: float,
    baseline: float,
    scorer: Scorer | None = None,
) -> ObjectScore | None:
    """Measures one query object by its like in all references; None where none has any object.

    Args:
        query: The query's objects.
        row: Which of them.
        comparisons: With each reference.
        align: How places are brought together.
        epsilon: Ridge of the covariance.
        baseline: Mean distance of a normal object to a single like of it.
        scorer: Of whole objects; None: the mean of the places' distances tells.
    """
    known = [(c.reference, int(c.stands[row])) for c in comparisons if c.stands[row] >= 0]
    if not known:
        return None
    partners = sum(c.found.partner[row] >= 0 for c in comparisons)
    measured = compare(query, row, known, align, epsilon)
    count = len(known)
    if count == 1:
        mean, spread, peak = baseline, TYPICAL * baseline, PEAK * baseline
    else:
        # What the references are to each other, drawn towards what is typical while they are few.
        mean = float(((count - 1) * measured.baseline.mean() + baseline) / count)
        peak = float(((count - 1) * measured.peaks.mean() + PEAK * baseline) / count)
        seen = count * float(measured.baseline.var())
        spread = float(np.sqrt((seen + SHRINK * (TYPICAL * mean) ** 2) / (count + SHRINK)))
    matched = partners >= MATCHED * len(comparisons)
    whole = None
    if scorer is not None:
        likes = [(c.number, int(c.stands[row])) for c in comparisons if c.stands[row] >= 0]
        whole = float(scorer(query.box(row)[None], likes)[0])
    return ObjectScore(
        measured, max(mean, 1e-6), max(spread, 1e-6), max(peak, 1e-6), matched, whole
    )  # fmt: skip


def learn_statistics(
    templates: Sequence[ObjectMaps],
    index: TemplateIndex,
    matcher: Matcher,
    align: Align,
    epsilon: float,
    copies: Sequence[ObjectMaps] = (),
) -> tuple[MatchStatistics, float, list[Ints]]:
    """Matches templates with each other: what is usually found again, and how alike it is.

    Args:
        templates: All of them.
        index: Search among them.
        matcher: How objects are matched.
        align: How places are brought together.
        epsilon: Ridge of the covariance.
        copies: Gently altered copies of a single template, the only variation it can show.

    Returns:
        The match statistics, the mean distance of a normal object to a single like of it, and per
        template ``(n, Z)`` each object's like in each template, ``NOBODY`` for none.
    """
    count = len(templates)
    likes = [np.full((len(template), count), NOBODY) for template in templates]
    found = [np.full((len(template), count), UNKNOWN) for template in templates]
    surplus = np.full((count, count), UNKNOWN)
    distances: list[float] = []
    for number, template in enumerate(templates):
        for other in index.nearest(template.vector, COMPARED, frozenset({number})):
            result = matcher(template, templates[other])
            found[number][:, other] = result.partner >= 0
            stands = result.partner
            if matcher.arranged and len(templates[other]):
                gaps = matcher.gaps(template, templates[other])
                stands = _in_place(stands, gaps, matcher.affinity.reach)
            likes[number][:, other] = stands
            surplus[number, other] = template.objects.objectness[result.partner < 0].sum()
            share = -(-MEASURED // max(count, 1))
            for row, like in result.pairs[:share].tolist():
                if len(distances) < MEASURED:
                    known = [(templates[other], like)]
                    distances.append(compare(template, row, known, align, epsilon).mean)
    for copy in copies:
        for row, like in matcher(copy, templates[0]).pairs.tolist():
            distances.append(compare(copy, row, [(templates[0], like)], align, epsilon).mean)
    baseline = float(np.median(distances)) if distances else 1.0
    return MatchStatistics(tuple(found), surplus), baseline, likes
