"""The histogram and the composition bank over the parts of some shots.

PSAD's histogram and composition banks (Kim et al., AAAI 2024, section 3.4) over unnamed parts, at
every level of similarity, with positions where the shots are arranged alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fmlad.findings import Kind
from fmlad.methods.banks.composition import Composition
from fmlad.objects.appearance import SIZE, SIZE_UNIT, Objects
from fmlad.objects.arrangement import pairs
from fmlad.objects.arrays import Floats, Ints
from fmlad.objects.counts import CountLaw, count_laws, spread_surprise
from fmlad.objects.names import part_descriptions, part_names
from fmlad.objects.parts import UNKNOWN, Group, Parts
from fmlad.objects.places import Slots

LEAST = 0.25  # nats below which a deviation is not worth keeping
CHANCE = 1.5  # nats of the most surprising of all counts, places and sizes of a normal image
MOST_PLACE = 5.0  # nats that a place or size contributes at most
SIZE_SPREAD = 0.15  # prior standard deviation of the log of a part's area
ODD_ONES = 0.7  # of the largest distance of a member, from which another deviates too
GROWN = 0.05  # log of the area by which one part may differ from image to image
STEADY = 0.5  # share of lawful groups from which a level gives the parts their names
POOLED, FEW = 1, 2  # level whose groups share their objectness; the finest with so few shots
FORM_LEVEL = 3  # level at which such a group must have one form as well
DOUBTFUL, SURE = 0.3, 0.7  # mean objectness of a group that makes its members' 0, and 1
UNSURE = 0.02  # chance from which an object may as well belong elsewhere
UNKNOWN_LAWFUL = 0.9  # prior belief that the count of unknown objects follows a law: mostly none
LAW = 0.5  # belief in a law from which a part serves as a landmark


@dataclass(frozen=True)
class Deviation:
    """One way in which an image departs from the shots.

    Attributes:
        branch: ``"histogram"``, ``"composition"`` or ``"combination"``.
        kind: What sort of difference.
        group: Group number, or None for objects similar to nothing in the shots.
        level: Level of the group.
        score: Nats beyond chance; for the composition bank, distance in units of the distance
            between shots.
        rows: The image's objects concerned.
        absent: Points of the shots without a counterpart here.
        expected: Count or area of the shots, where it is about one.
        observed: Count or area here.
        reported: Whether it may become a difference; another deviation covers it otherwise.
    """

    branch: str
    kind: Kind
    group: int | None
    level: int
    score: float
    rows: tuple[int, ...] = ()
    absent: tuple[int, ...] = ()
    expected: float | None = None
    observed: float | None = None
    reported: bool = True


class PartsModel:
    """Parts with their count laws, sizes, slots and embeddings."""

    def __init__(self, shots: Sequence[Objects], places: Sequence[Floats] | None, hierarchy: bool):
        """Learns from the objects of each shot.

        ``places`` are their positions in one common frame, ``(n, 2)`` a shot; None where place
        means nothing. Without ``hierarchy`` they are counted at the finest level alone.
        """
        self._unpooled = Parts(shots, hierarchy)
        self._group_objectness = self._pool_objectness()
        self.parts = Parts([self.pooled(objects) for objects in shots], hierarchy)
        self.placed = places is not None
        self.places = np.concatenate(places if places is not None else [s.places for s in shots])
        groups = self.parts.groups
        self.laws: list[CountLaw] = []
        self.unknown_laws: list[CountLaw] = []
        self.order: list[float] = []  # per level, the share of the objects whose counts have a law
        total = float(self.parts.objectness.sum())
        for number, level in enumerate(self.parts.levels):
            counts = [group.counts for group in groups if group.level == number]
            laws = count_laws(counts, level.lawful)
            self.laws += laws
            self.unknown_laws += count_laws([level.unknown], UNKNOWN_LAWFUL)
            held = sum(law.lawful * c.sum() for law, c in zip(laws, counts, strict=True))
            self.order.append(float(held) / max(total, 1e-6))
        self.names = part_names(self.parts, self.naming_level())
        self.descriptions = part_descriptions(self.parts)
        self.composition = Composition(
            [self._embeddings_of(group) for group in groups], self.parts.feature_unit
        )
        self.slots = [self._slots(number) if self.placed else None for number in range(len(groups))]

    def pooled(self, objects: Objects) -> Objects:
        """Objects with the objectness of their group: a faint pin among pins is a pin.

        Unknown and rare ones keep their own, and so do all with one shot.
        """
        if not self._group_objectness or not len(objects):
            return objects
        objectness = objects.objectness.copy()
        pooling = _pooling_groups(self._unpooled, self._unpooled.assign(objects))
        for row, groups in enumerate(pooling):
            objectness[row] = self._group_objectness.get(groups, objectness[row])
        return replace(objects, objectness=objectness)

    def similar(self, one: Objects, other: Objects) -> npt.NDArray[np.bool_]:
        """Which objects of two images belong to one part with a steady count, ``(n, m)``."""
        first, second = self.parts.assign(one), self.parts.assign(other)
        result = np.zeros((len(one), len(other)), bool)
        for number, (group, law) in enumerate(zip(self.parts.groups, self.laws, strict=True)):
            if group.facet != "any" and law.lawful > LAW:
                rows, columns = first[group.level] == number, second[group.level] == number
                result |= np.outer(rows, columns)
        return result

    def deviations(
        self, objects: Objects, places: Floats | None, loose: bool = True
    ) -> list[Deviation]:
        """All deviations of an image's objects, the largest first.

        Args:
            objects: Of the image.
            places: In the common frame; None where the image does not register.
            loose: Whether places weigh the less the more freely the shots' objects lie.
        """
        owner = self.parts.assign(objects)
        belongs, unknown = self.parts.shares(objects)
        found: list[Deviation] = []
        for number, group in enumerate(self.parts.groups):
            rows = np.flatnonzero(owner[group.level] == number)
            found += self._counts(number, rows, objects, places, belongs[:, number], loose)
            if len(rows):
                found += self._sizes(number, rows, objects)
                found += self._embeddings(number, rows, objects)
        for level in range(len(self.parts.levels)):
            rows = np.flatnonzero(owner[level] == UNKNOWN)
            found += self._unknown_objects(level, rows, objects, unknown[:, level])
        found = [
            replace(one, score=one.score - CHANCE) if one.branch == "histogram" else one
            for one in found
        ]
        kept = [deviation for deviation in found if deviation.score > LEAST]
        return sorted(kept, key=lambda deviation: -deviation.score)

    def disagreement(self, objects: Objects) -> float:
        """Nats by which counts and sizes of an image's objects depart from the shots', 0 or more.

        The sum of all deviations of the level that has most, so that each wrong object counts.
        """
        nats = np.zeros(len(self.parts.levels))
        for one in self.deviations(self.pooled(objects), None):
            nats[one.level] += one.score * (one.branch == "histogram")
        return float(nats.max())

    def naming_level(self) -> int:
        """The finest level at which most objects belong to groups with a law, else the coarsest."""
        steady = [number for number, share in enumerate(self.order) if share >= STEADY]
        return steady[0] if steady else len(self.parts.levels) - 1

    def _counts(
        self,
        number: int,
        rows: Ints,
        objects: Objects,
        places: Floats | None,
        belongs: Floats,
        loose: bool,
    ) -> list[Deviation]:
        law, slots = self.laws[number], self.slots[number]
        count = float(objects.objectness[rows].sum())
        score = law.surprise(count, *_at_the_border(rows, objects, belongs))
        members = self._typical_members(number)
        found, surplus, absent = [], rows, members
        if slots is not None and places is not None and len(rows):
            slot, row, surprise = slots.match(places[rows])
            surplus = np.delete(rows, row)
            absent = absent[np.setdiff1d(np.arange(len(slots.seen)), slot)]
            # One of many slots is off by chance (Bonferroni, in nats).
            likely = np.maximum(surprise - np.log1p(len(slots.seen)), 0)
            # A place weighs no more than a count, and nothing where the count follows no law.
            capped = np.minimum(likely, MOST_PLACE) * law.lawful
            if loose:
                capped *= slots.steady[slot] ** 2  # of the place, and of the slot
            weighted = capped * objects.objectness[rows[row]]
            found += [
                self._displaced(
                    number, int(rows[row[i]]), int(members[slot[i]]), objects, float(weighted[i])
                )
                for i in np.flatnonzero(weighted > LEAST)
            ]
        elif len(rows) and len(absent):
            surplus, absent = self._leftovers(number, rows, absent, objects)
        if score > LEAST:
            surplus = surplus if len(surplus) else rows
            change = (law.expected, count)
            found.append(
                self._deviation(number, "extra", score, surplus, (), *change)
                if count > law.expected
                else self._deviation(number, "missing", score, (), absent, *change)
            )
        return found

    def _deviation(
        self,
        number: int,
        kind: Kind,
        score: float,
        rows: Ints | Sequence[int] = (),
        absent: Ints | Sequence[int] = (),
        expected: float | None = None,
        observed: float | None = None,
    ) -> Deviation:
        """A deviation of the histogram bank about a group."""
        concerned, gone = tuple(int(i) for i in rows), tuple(int(i) for i in absent)
        level = self.parts.groups[number].level
        return Deviation(
            "histogram", kind, number, level, score, concerned, gone, expected, observed
        )

    def _displaced(
        self, number: int, row: int, slot: int, objects: Objects, score: float
    ) -> Deviation:
        """An object off its place; ``resized`` where its area explains that."""
        group = self.parts.groups[number]
        sizes = self.parts.appearance[group.members, SIZE] * SIZE_UNIT
        here = float(objects.appearance[row, SIZE]) * SIZE_UNIT
        if abs(here - sizes.mean()) > GROWN + 2 * sizes.std():
            expected, observed = float(np.exp(sizes.mean())), float(np.exp(here))
            return self._deviation(number, "resized", score, [row], [slot], expected, observed)
        return self._deviation(number, "misplaced", score, [row], [slot])

    def _unknown_objects(
        self, level: int, rows: Ints, objects: Objects, unknown: Floats
    ) -> list[Deviation]:
        count = float(objects.objectness[rows].sum())
        law = self.unknown_laws[level]
        # Where the counts of known parts follow no law, unknown objects weigh nothing.
        score = law.surprise(count, *_at_the_border(rows, objects, unknown)) * self.order[level]
        if count <= law.expected or score <= LEAST:
            return []
        found, expected = tuple(rows.tolist()), law.expected
        return [Deviation("histogram", "extra", None, level, score, found, (), expected, count)]

    def _sizes(self, number: int, rows: Ints, objects: Objects) -> list[Deviation]:
        """Total area of the group, where the shots have its count."""
        group = self.parts.groups[number]
        count = objects.objectness[rows].sum()
        members = [
            group.members[self.parts.shot[group.members] == shot]
            for shot in np.flatnonzero(np.abs(group.counts - count) < 0.5)
        ]
        members = [m for m in members if len(m)]
        if not members or group.facet == "any":
            return []
        seen = np.array([[_log_area(self.parts.appearance[m, SIZE])] for m in members])
        here = _log_area(objects.appearance[rows, SIZE])
        score = spread_surprise(np.array([here]), seen, SIZE_SPREAD)
        score = max(0.0, score - float(np.log1p(len(self.parts.groups))))
        score = min(score, MOST_PLACE) * float(objects.objectness[rows].mean())
        score *= self.laws[number].lawful
        if score <= LEAST:
            return []
        expected, observed = float(np.exp(seen.mean())), float(np.exp(here))
        return [self._deviation(number, "resized", score, rows, (), expected, observed)]

    def _embeddings(self, number: int, rows: Ints, objects: Objects) -> list[Deviation]:
        """Mean features of a part.

        Also where its count is wrong, so that the score does not depend on right counts; but then
        the count alone is reported.
        """
        group, law = self.parts.groups[number], self.laws[number]
        if group.facet != "appearance":
            return []
        reported = abs(float(objects.objectness[rows].sum()) - law.expected) < 0.5
        score = self.composition.distance(number, _embedding(objects, rows))
        # The members of a part without a law differ: its mean features weigh nothing.
        score *= float(objects.objectness[rows].mean()) * law.lawful
        apart = objects.features[rows][:, None] - self.parts.features[group.members][None]
        gaps = np.linalg.norm(apart, axis=-1).min(1)
        odd = tuple(rows[gaps >= ODD_ONES * gaps.max()].tolist())
        found = Deviation("composition", "recoloured", number, group.level, score, odd)
        return [replace(found, reported=reported)]

    def _pool_objectness(self) -> dict[tuple[int, ...], float]:
        """Groups of one appearance and form -> objectness of their members, 0.001 to 1."""
        if len(self._unpooled.shots) == 1:
            return {}
        objectness: dict[tuple[int, ...], list[float]] = defaultdict(list)
        owner = np.stack([level.owner for level in self._unpooled.levels])
        members = _pooling_groups(self._unpooled, owner)
        for groups, one in zip(members, self._unpooled.objectness.tolist(), strict=True):
            if min(groups) >= 0:
                objectness[groups].append(one)
        return {
            groups: float(np.clip((np.mean(found) - DOUBTFUL) / (SURE - DOUBTFUL), 1e-3, 1))
            for groups, found in objectness.items()
        }

    def _embeddings_of(self, group: Group) -> Floats:
        """Mean embedding of a group in each shot that has it, ``(k_j, C)``."""
        parts = self.parts
        rows = [
            _embedding(objects, parts.row[members])
            for shot, objects in enumerate(parts.shots)
            if len(members := group.members[parts.shot[group.members] == shot])
        ]
        return np.array(rows, dtype=np.float64).reshape(len(rows), parts.features.shape[1])

    def _slots(self, number: int) -> Slots | None:
        group = self.parts.groups[number]
        if group.facet == "any":
            return None
        shots = range(len(self.parts.shots))
        members = [group.members[self.parts.shot[group.members] == shot] for shot in shots]
        return Slots.learn([self.places[m] for m in members])

    def _typical_members(self, number: int) -> Ints:
        """The group's objects in the first shot with the typical count (as in ``Slots.learn``)."""
        group = self.parts.groups[number]
        shots = self.parts.shot[group.members]
        counts = np.bincount(shots, minlength=len(self.parts.shots))
        base = int(np.argmin(np.abs(counts - int(np.median(counts)))))
        return np.asarray(group.members[shots == base], dtype=np.int64)

    def _leftovers(
        self, number: int, rows: Ints, absent: Ints, objects: Objects
    ) -> tuple[Ints, Ints]:
        """Without places: what stays unpaired when the most similar are paired."""
        facet = self.parts.groups[number].facet
        gaps = self.parts.distances(objects, "appearance" if facet == "any" else facet)
        first, second = pairs(gaps[rows][:, absent])
        return np.delete(rows, first), np.delete(absent, second)


def _pooling_groups(parts: Parts, owner: Ints) -> list[tuple[int, ...]]:
    """Groups of each object that share their objectness, from all its groups ``(levels, n)``.

    One of appearance and one of form: by appearance alone, a grey edge of the table would get the
    objectness of grey screws.
    """
    levels = [0 if len(parts.shots) <= FEW else min(POOLED, len(owner) - 1)]
    levels += [FORM_LEVEL] if len(owner) > FORM_LEVEL else []
    return [tuple(int(group) for group in column) for column in owner[levels].T]


def _at_the_border(rows: Ints, objects: Objects, belongs: Floats) -> tuple[Floats, Floats]:
    """Chances that objects counted, ``rows``, do not belong, and that others do."""
    counted = np.zeros(len(objects), bool)
    counted[rows] = True
    near = (belongs > UNSURE) & (belongs < 1 - UNSURE) & (objects.objectness > DOUBTFUL)
    return 1 - belongs[counted & near], belongs[~counted & near]


def _embedding(objects: Objects, rows: Ints) -> Floats:
    """Mean features ``(C,)`` of some objects, ``rows``, weighted by objectness."""
    objectness = objects.objectness[rows]
    return np.asarray(objectness @ objects.features[rows] / objectness.sum(), dtype=np.float64)


def _log_area(sizes: Floats) -> float:
    """Log of the sum of areas given as ``appearance[:, SIZE]``."""
    return float(np.logaddexp.reduce(sizes * SIZE_UNIT))
