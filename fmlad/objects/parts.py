"""Unnamed parts: the objects of all shots, grouped at several levels of similarity.

Objects are compared by two facets, because the shots do not say which of them a rule is about:
``"appearance"`` (colour, form and features) and ``"form"`` alone. Each gives levels from fine to
coarse; above them all stands "any object". A group must recur in at least half of the shots (CSAD's
rule, section 3.1); other objects are counted at coarser levels only.

How little the counts of a group vary over the shots decides how much it contributes (``counts``).
Six dice of changing colours: the counts of colours vary, that of objects of this form does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fmlad.objects.appearance import FORM, Objects
from fmlad.objects.arrangement import distances
from fmlad.objects.arrays import Floats, Ints

Facet = Literal["appearance", "form", "any"]

# Facet, cut of the dendrogram in units of the spread within a part, and prior belief that the
# counts of a group at this level follow a law (ours). Finest level first.
LEVELS: tuple[tuple[Facet, float, float], ...] = (
    ("appearance", 3.0, 0.1),
    ("appearance", 6.0, 0.2),
    ("form", 1.5, 0.2),
    ("form", 3.0, 0.3),
    ("any", math.inf, 0.9),
)
UNKNOWN, RARE = -1, -2  # similar to nothing in the shots; similar to what did not recur
MOST_SPREAD = 3.0  # a column's learned unit is at most this many natural ones
BORDER = 0.1  # width of the border between two groups, in reaches of their level (ours)
LINKED = 2500  # objects that are clustered at most; beyond, an even selection of them


@dataclass(frozen=True)
class Group:
    """Objects that are similar at one level.

    Attributes:
        level: Index into ``LEVELS``.
        facet: Of that level.
        counts: float64 ``(k,)``, sum of the objectness per shot.
        members: Rows of ``Parts`` points.
    """

    level: int
    facet: Facet
    counts: Floats
    members: Ints


@dataclass(frozen=True)
class Level:
    """One partition of the shots' objects.

    Attributes:
        facet: What objects are compared by.
        reach: Distance within which a new object belongs to its nearest shot object's group.
        lawful: Prior belief that counts follow a law at this level.
        owner: int64 ``(N,)``: group number of each point, or ``RARE``.
        unknown: float64 ``(k,)``: objectness of each shot's objects that are similar to none of the
            other shots'; empty with one shot.
    """

    facet: Facet
    reach: float
    lawful: float
    owner: Ints
    unknown: Floats


class Parts:
    """The hierarchy over the objects of some shots.

    Attributes:
        shots: Objects of each shot.
        shot: int64 ``(N,)``, the shot of each point.
        groups: All groups of all levels, finest level first.
        levels: The levels.
    """

    def __init__(self, shots: Sequence[Objects], hierarchy: bool = True) -> None:
        """Groups the objects of one or more shots."""
        self.shots = tuple(shots)
        self.shot = np.repeat(np.arange(len(shots)), [len(s) for s in shots]).astype(np.int64)
        self.row = np.concatenate([np.arange(len(s)) for s in shots]).astype(np.int64)
        self.objectness = np.concatenate([s.objectness for s in shots])
        appearance = self.appearance = np.concatenate([s.appearance for s in shots])
        features = self.features = np.concatenate([s.features for s in shots])
        self._units = _learned_units(appearance, self.shot)
        self.feature_unit = _nearest_other(features, self.shot)
        facets: tuple[Facet, ...] = ("appearance", "form")
        self._points = {facet: self._space(appearance, features, facet) for facet in facets}
        self.groups: list[Group] = []
        self.levels: list[Level] = []
        for facet, cut, lawful in LEVELS if hierarchy else LEVELS[:1]:
            self._add_level(facet, cut, lawful)

    def assign(self, objects: Objects) -> Ints:
        """Group of each object at each level, ``(levels, n)``; ``UNKNOWN`` or ``RARE`` if none."""
        found = np.full((len(self.levels), len(objects)), UNKNOWN, np.int64)
        nearest: dict[Facet, tuple[Ints, Floats]] = {}
        for number, level in enumerate(self.levels):
            if level.facet == "any":
                found[number] = len(self.groups) - 1
            elif len(self.shot) and len(objects):
                if level.facet not in nearest:
                    gaps = self.distances(objects, level.facet)
                    nearest[level.facet] = gaps.argmin(1), gaps.min(1)
                which, gap = nearest[level.facet]
                found[number] = np.where(gap <= level.reach, level.owner[which], UNKNOWN)
        return found

    def shares(self, objects: Objects) -> tuple[Floats, Floats]:
        """Chance that each object belongs to each group; 0 or 1 only far from the borders.

        Returns:
            Chances ``(n, groups)`` in [0, 1], and ``(n, levels)`` of being similar to no group.
        """
        from scipy.special import expit

        belongs = np.ones((len(objects), len(self.groups)))
        unknown = np.zeros((len(objects), len(self.levels)))
        gaps: dict[Facet, Floats] = {}
        for number, level in enumerate(self.levels):
            if level.facet == "any":
                continue
            if not len(self.shot):
                unknown[:, number] = 1.0
                continue
            if level.facet not in gaps:
                gaps[level.facet] = self.distances(objects, level.facet)
            owners = np.unique(level.owner)
            nearest = np.stack([gaps[level.facet][:, level.owner == o].min(1) for o in owners], 1)
            width = BORDER * level.reach
            least = nearest.min(1, keepdims=True)
            ratios = np.exp((least - nearest) / width)
            known = expit((level.reach - least) / width)
            share = known * ratios / ratios.sum(1, keepdims=True)
            belongs[:, owners[owners != RARE]] = share[:, owners != RARE]
            unknown[:, number] = 1 - known[:, 0]
        return belongs, unknown

    def distances(self, objects: Objects, facet: Facet) -> Floats:
        """Distance of each object to each point, ``(n, N)``, in units of within-part spread."""
        here = self._space(objects.appearance, objects.features, facet)
        return distances(here, self._points[facet])

    def _space(self, appearance: Floats, features: Floats, facet: Facet) -> Floats:
        scaled = appearance / self._units
        if facet == "form":
            return np.asarray(scaled[:, FORM])
        return np.concatenate([scaled, features / self.feature_unit], axis=1)

    def _add_level(self, facet: Facet, cut: float, lawful: float) -> None:
        shots, number = len(self.shots), len(self.shot)
        owner = np.full(number, RARE, np.int64)
        if facet == "any":
            labels = np.zeros(number, np.int64)
        else:
            labels = _clusters(self._points[facet], cut)
        for label in range(labels.max() + 1 if number else int(facet == "any")):
            members = np.flatnonzero(labels == label)
            counts: Floats = np.bincount(
                self.shot[members], self.objectness[members], minlength=shots
            ).astype(np.float64)
            recurs = 2 * len(np.unique(self.shot[members])) >= shots
            if recurs or facet == "any":
                owner[members] = len(self.groups)
                self.groups.append(Group(len(self.levels), facet, counts, members))
        self.levels.append(Level(facet, cut, lawful, owner, self._unknown(facet, cut)))

    def _unknown(self, facet: Facet, reach: float) -> Floats:
        """Objectness of the objects of each shot that are similar to none of the other shots'."""
        if len(self.shots) == 1 or facet == "any":
            return np.zeros(0 if len(self.shots) == 1 else len(self.shots))
        points = self._points[facet]
        alone = np.ones(len(points), bool)
        for shot in range(len(self.shots)):
            mine = self.shot == shot
            if mine.any() and not mine.all():
                alone[mine] = distances(points[mine], points[~mine]).min(1) > reach
        return np.bincount(
            self.shot[alone], self.objectness[alone], minlength=len(self.shots)
        ).astype(np.float64)


def _clusters(points: Floats, cut: float) -> Ints:
    """Average-linkage clusters whose mean distance is at most ``cut``; labels ``(N,)`` from 0."""
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(points) < 2:
        return np.zeros(len(points), np.int64)
    step = math.ceil(len(points) / LINKED)
    chosen = points[::step]
    found = fcluster(linkage(chosen, "average"), cut, "distance")
    labels: Ints = np.asarray(found, dtype=np.int64) - 1
    if step == 1:
        return labels
    return np.asarray(labels[distances(points, chosen).argmin(1)], dtype=np.int64)


def _learned_units(appearance: Floats, shot: Ints) -> Floats:
    """Unit of each column: difference of the most similar objects of different shots, ``(7,)``.

    At least the natural unit, so that identical shots do not make every difference large, and at
    most ``MOST_SPREAD`` of it.
    """
    differences = []
    for number in np.unique(shot):
        mine, others = appearance[shot == number], appearance[shot != number]
        if len(others):
            gaps = np.linalg.norm(mine[:, None] - others[None], axis=-1)
            differences.append(np.abs(mine - others[gaps.argmin(1)]))
    if not differences:
        return np.ones(appearance.shape[1])
    spread = 1.5 * np.concatenate(differences).mean(0)
    return np.asarray(np.clip(spread, 1.0, MOST_SPREAD), dtype=np.float64)


def _nearest_other(features: Floats, shot: Ints) -> float:
    """Median distance of an object's features to the nearest of another shot.

    With one shot, to the nearest of its own other objects; 1 where there is nothing to compare.
    """
    gaps = []
    for number in np.unique(shot):
        mine, others = features[shot == number], features[shot != number]
        if len(others):
            gaps.append(distances(mine, others).min(1))
    if not gaps and len(features) > 1:
        own = np.linalg.norm(features[:, None] - features[None], axis=-1)
        np.fill_diagonal(own, np.inf)
        gaps.append(own.min(1))
    typical = float(np.median(np.concatenate(gaps))) if gaps else 1.0
    scale = float(np.linalg.norm(features, axis=1).mean()) if len(features) else 1.0
    return max(typical, 0.05 * scale, 1e-6)
