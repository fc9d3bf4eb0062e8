"""The histogram and the composition bank over the parts of some shots: what deviates, and how.

PSAD's histogram and composition banks (Kim et al., AAAI 2024, section 3.4) over parts that nobody
named, at every level of likeness, with places where the shots register to each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fmlad.findings import Kind
from fmlad.objects.appearance import SIZE, SIZE_UNIT, Floats, Objects
from fmlad.objects.counts import CountLaw, count_laws, spread_surprise
from fmlad.objects.names import part_names
from fmlad.objects.parts import UNKNOWN, Group, Ints, Parts
from fmlad.objects.places import Slots

LEAST = 0.25  # nats below which a deviation is not worth keeping
CHANCE = 1.5  # nats by which the oddest of all counts, places and sizes is odd in a normal image
MOST_PLACE = 5.0  # nats: beyond, it is rather another object than the same one elsewhere
SIZE_SPREAD = 0.15  # prior standard deviation of the log of a part's area
ODD_ONES = 0.7  # of the oddest member's distance, from which another is odd too
GROWN = 0.05  # log of the area by which one part may differ from image to image
STEADY = 0.5  # share of lawful groups from which a level gives the parts their names
KIND, FEW = 1, 2  # level at which an object is as surely one as its kind; the finest with few shots
FORM_LEVEL = 3  # level at which it must have the kind's form as well
DOUBTFUL, SURE = 0.3, 0.7  # mean weight of a kind that makes its objects none, and surely one
UNSURE = 0.02  # chance from which an object may as well belong elsewhere
STRANGERS = 0.9  # prior belief that as many things never seen turn up each time: mostly none
LAW = 0.5  # belief in a law from which a part serves as a landmark


@dataclass(frozen=True)
class Deviation:
    """One way in which an image departs from the shots.

    Attributes:
        branch: ``"histogram"`` or ``"composition"``.
        kind: What sort of difference.
        group: Group number, or None for objects unlike anything in the shots.
        level: Level of the group.
        expected: Count in the shots, where it is about counts.
        observed: Count here.
        rows: The image's objects concerned.
        absent: Points of the shots whose like is missing here.
        score: Nats beyond chance for the histogram bank, usual distances for the composition bank.
        told: Whether to tell people; another deviation says it better otherwise.
    """

    branch: str
    kind: Kind
    group: int | None
    level: int
    expected: float | None
    observed: float | None
    rows: tuple[int, ...]
    absent: tuple[int, ...]
    score: float
    told: bool = True


class PartsModel:
    """Parts with their count laws, sizes, slots and embeddings."""

    def __init__(self, shots: Sequence[Objects], places: Sequence[Floats] | None, hierarchy: bool):
        """Learns from the objects of some shots.

        Args:
            shots: Objects of each.
            places: Positions of the objects in one common frame, ``(n, 2)`` a shot; None where
                place means nothing.
            hierarchy: Whether to count at all levels or at the finest alone.
        """
        self._kinds = Parts(shots, hierarchy)
        self._sure = self._sureness()
        self.parts = Parts([self.settled(objects) for objects in shots], hierarchy)
        self.names = part_names(self.parts)
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
            self.unknown_laws += count_laws([level.unknown], STRANGERS)
            held = sum(law.lawful * c.sum() for law, c in zip(laws, counts, strict=True))
            self.order.append(float(held) / max(total, 1e-6))
        self.composition = Composition(
            [self._embeddings_of(group) for group in groups], self.parts.feature_unit
        )
        self.slots = [self._slots(number) if self.placed else None for number in range(len(groups))]

    def settled(self, objects: Objects) -> Objects:
        """Objects as surely objects as their kind: a faint pin among pins is a pin.

        Unknown and rare ones keep their weights, and so do all with one shot, whose kinds nothing
        confirms.
        """
        if not self._sure or not len(objects):
            return objects
        objectness = objects.objectness.copy()
        for row, kind in enumerate(self._kinds_of(self._kinds.assign(objects))):
            objectness[row] = self._sure.get(kind, objectness[row])
        return replace(objects, objectness=objectness)

    def like(self, one: Objects, other: Objects) -> npt.NDArray[np.bool_]:
        """Which objects of two images belong to one part with a steady count, ``(n, m)``."""
        first, second = self.parts.assign(one), self.parts.assign(other)
        result = np.zeros((len(one), len(other)), bool)
        for number, (group, law) in enumerate(zip(self.parts.groups, self.laws, strict=True)):
            if group.facet != "any" and law.lawful > LAW:
                rows, columns = first[group.level] == number, second[group.level] == number
                result |= np.outer(rows, columns)
        return result

    def deviations(self, objects: Objects, places: Floats | None) -> list[Deviation]:
        """All deviations of an image's objects, the largest first.

        Args:
            objects: Of the image.
            places: Their positions in the common frame; None where the image does not register.
        """
        owner = self.parts.assign(objects)
        belongs, unknown = self.parts.shares(objects)
        found: list[Deviation] = []
        for number, group in enumerate(self.parts.groups):
            rows = np.flatnonzero(owner[group.level] == number)
            found += self._counts(number, rows, objects, places, belongs[:, number])
            if len(rows):
                found += self._sizes(number, rows, objects)
                found += self._embeddings(number, rows, objects)
        for level in range(len(self.parts.levels)):
            rows = np.flatnonzero(owner[level] == UNKNOWN)
            found += self._strangers(level, rows, objects, unknown[:, level])
        found = [_beyond_chance(deviation) for deviation in found]
        kept = [deviation for deviation in found if deviation.score > LEAST]
        return sorted(kept, key=lambda deviation: -deviation.score)

    def naming_level(self) -> int:
        """The finest level at which most objects belong to groups with a law, else the coarsest."""
        steady = [number for number, share in enumerate(self.order) if share >= STEADY]
        return steady[0] if steady else len(self.parts.levels) - 1

    def _counts(
        self, number: int, rows: Ints, objects: Objects, places: Floats | None, belongs: Floats
    ) -> list[Deviation]:
        group, law, slots = self.parts.groups[number], self.laws[number], self.slots[number]
        count = float(objects.objectness[rows].sum())
        score = law.surprise(count, *_at_the_border(rows, objects, belongs))
        found, surplus, absent = [], rows, self._typical_members(number)
        if slots is not None and places is not None and len(rows):
            slot, row, surprise = slots.match(places[rows])
            surplus = np.delete(rows, row)
            absent = absent[np.setdiff1d(np.arange(len(slots.seen)), slot)]
            # A place is worth no more than a count, and nothing where not even the count is steady;
            # shaky objects shift nothing.
            # One of many slots is off by chance (Bonferroni, in nats).
            likely = np.maximum(surprise - np.log1p(len(slots.seen)), 0)
            capped = np.minimum(likely, MOST_PLACE) * law.lawful
            weighted = capped * objects.objectness[rows[row]]
            members = self._typical_members(number)
            found += [
                self._displaced(
                    number, int(rows[row[i]]), int(members[slot[i]]), objects, float(weighted[i])
                )
                for i in np.flatnonzero(weighted > LEAST)
            ]
        elif len(rows) and len(absent):
            surplus, absent = self._leftovers(number, rows, absent, objects)
        if score > LEAST:
            more = count > law.expected
            base = Deviation(
                "histogram", "extra" if more else "missing", number, group.level,
                law.expected, count, (), (), score,
            )  # fmt: skip
            found.append(
                replace(base, rows=tuple(surplus.tolist()) or tuple(rows.tolist()))
                if more
                else replace(base, absent=tuple(absent.tolist()))
            )
        return found

    def _displaced(
        self, number: int, row: int, slot: int, objects: Objects, score: float
    ) -> Deviation:
        """An object off its place; one that grew or shrank lies elsewhere for that reason."""
        group = self.parts.groups[number]
        sizes = self.parts.appearance[group.members, SIZE] * SIZE_UNIT
        here = float(objects.appearance[row, SIZE]) * SIZE_UNIT
        if abs(here - sizes.mean()) > GROWN + 2 * sizes.std():
            return Deviation(
                "histogram", "resized", number, group.level, float(np.exp(sizes.mean())),
                float(np.exp(here)), (row,), (slot,), score,
            )  # fmt: skip
        return Deviation(
            "histogram", "misplaced", number, group.level, None, None, (row,), (slot,), score
        )

    def _strangers(
        self, level: int, rows: Ints, objects: Objects, unknown: Floats
    ) -> list[Deviation]:
        count = float(objects.objectness[rows].sum())
        law = self.unknown_laws[level]
        # Where not even the known parts have steady counts, a new kind of part is no news.
        score = law.surprise(count, *_at_the_border(rows, objects, unknown)) * self.order[level]
        if count <= law.expected or score <= LEAST:
            return []
        return [
            Deviation(
                "histogram", "extra", None, level, law.expected, count, tuple(rows.tolist()), (),
                score,
            )
        ]  # fmt: skip

    def _sizes(self, number: int, rows: Ints, objects: Objects) -> list[Deviation]:
        """Area of the group as a whole, where the count is one of those seen."""
        group = self.parts.groups[number]
        count = objects.objectness[rows].sum()
        members = [
            group.members[self.parts.shot[group.members] == shot]
            for shot in np.flatnonzero(np.abs(group.counts - count) < 0.5)
        ]
        members = [m for m in members if len(m)]
        if not members or group.facet == "any":
            return []
        appearance = [self.parts.appearance[m, SIZE] for m in members]
        seen = np.array([[_log_area(look)] for look in appearance])
        here = _log_area(objects.appearance[rows, SIZE])
        score = spread_surprise(np.array([here]), seen, SIZE_SPREAD)
        score = max(0.0, score - float(np.log1p(len(self.parts.groups))))
        score = min(score, MOST_PLACE) * float(objects.objectness[rows].mean())
        score *= self.laws[number].lawful
        if score <= LEAST:
            return []
        return [
            Deviation(
                "histogram", "resized", number, group.level, float(np.exp(seen.mean())),
                float(np.exp(here)), tuple(rows.tolist()), (), score,
            )
        ]  # fmt: skip

    def _embeddings(self, number: int, rows: Ints, objects: Objects) -> list[Deviation]:
        """Mean look of a part, where it is one look.

        Also where its count is wrong, lest this be a score of right counts; but then the count is
        told, and not that the mean is another one.
        """
        group, law = self.parts.groups[number], self.laws[number]
        if group.facet != "look":
            return []
        told = abs(float(objects.objectness[rows].sum()) - law.expected) < 0.5
        score = self.composition.distance(number, _embedding(objects, rows))
        # Parts without a law are of all sorts: nothing is expected of their looks.
        score *= float(objects.objectness[rows].mean()) * law.lawful
        # It is about those members that are unlike the shots', not about their neighbours.
        apart = objects.features[rows][:, None] - self.parts.features[group.members][None]
        gaps = np.linalg.norm(apart, axis=-1).min(1)
        odd = rows[gaps >= ODD_ONES * gaps.max()]
        return [
            Deviation(
                "composition", "recoloured", number, group.level, None, None, tuple(odd.tolist()),
                (), score, told,
            )
        ]  # fmt: skip

    def _kinds_of(self, owner: Ints) -> list[tuple[int, ...]]:
        """Kind of each object from its groups ``(levels, n)``: of one look and of one form.

        The look alone would make a grey edge of the table as surely an object as a grey screw.
        """
        few = len(self._kinds.shots) <= FEW
        levels = [0 if few else min(KIND, len(owner) - 1)]
        levels += [FORM_LEVEL] if len(owner) > FORM_LEVEL else []
        return [tuple(int(group) for group in column) for column in owner[levels].T]

    def _sureness(self) -> dict[tuple[int, ...], float]:
        """Kind -> how surely its members are objects, from 0.001 to 1."""
        if len(self._kinds.shots) == 1:
            return {}
        objectness: dict[tuple[int, ...], list[float]] = defaultdict(list)
        kinds = self._kinds_of(np.stack([level.owner for level in self._kinds.levels]))
        for kind, weight in zip(kinds, self._kinds.objectness.tolist(), strict=True):
            if min(kind) >= 0:
                objectness[kind].append(weight)
        return {
            kind: float(np.clip((np.mean(found) - DOUBTFUL) / (SURE - DOUBTFUL), 1e-3, 1))
            for kind, found in objectness.items()
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
        """Without places: what stays unpaired when the most alike are paired."""
        facet = self.parts.groups[number].facet
        if facet == "any":
            facet = "look"
        gaps = self.parts.distances(objects, facet)[rows][:, absent]
        from scipy.optimize import linear_sum_assignment

        first, second = linear_sum_assignment(gaps)
        return np.delete(rows, first), np.delete(absent, second)


def _at_the_border(rows: Ints, objects: Objects, belongs: Floats) -> tuple[Floats, Floats]:
    """Chances that objects counted, ``rows``, do not belong, and that others do.

    A pin between two shades of yellow is one too few here and one too many there, and neither is
    news.
    """
    counted = np.zeros(len(objects), bool)
    counted[rows] = True
    near = (belongs > UNSURE) & (belongs < 1 - UNSURE) & (objects.objectness > DOUBTFUL)
    return 1 - belongs[counted & near], belongs[~counted & near]


def _beyond_chance(deviation: Deviation) -> Deviation:
    if deviation.branch != "histogram":
        return deviation
    return replace(deviation, score=deviation.score - CHANCE)


def _embedding(objects: Objects, rows: Ints) -> Floats:
    """Mean features ``(C,)`` of some objects of an image, weighted by how surely they are objects.

    Args:
        objects: Of the image.
        rows: Their indices, at least one.
    """
    objectness = objects.objectness[rows]
    return np.asarray(objectness @ objects.features[rows] / objectness.sum(), dtype=np.float64)


def _log_area(sizes: Floats) -> float:
    """Log of the sum of areas given as ``appearance[:, SIZE]``."""
    return float(np.logaddexp.reduce(sizes * SIZE_UNIT))


PRIOR_WEIGHT = 2.0  # the typical spread of all parts counts for this many shots


class Composition:
    """Mean embeddings of every part in every shot that has it."""

    def __init__(self, memory: Sequence[Floats], unit: float) -> None:
        """Remembers them.

        Args:
            memory: Per part ``(k_j, C)``, one row a shot that has it; ``k_j`` may be 0.
            unit: Positive; the spread to assume where shots tell none, and four times the least.
        """
        self._memory = list(memory)
        gaps = [_left_out(vectors) for vectors in self._memory]
        known = np.concatenate([g for g in gaps if len(g)]) if any(map(len, gaps)) else np.ones(0)
        typical = max(float(np.mean(known)) if len(known) else unit, 0.25 * unit)
        self._units = [
            (PRIOR_WEIGHT * typical + float(g.sum())) / (PRIOR_WEIGHT + len(g)) for g in gaps
        ]

    def distance(self, part: int, embedding: Floats) -> float:
        """To the nearest shot's, in units of what is usual between shots for this part."""
        memory = self._memory[part]
        if len(memory) == 0:
            return 0.0
        return float(np.linalg.norm(memory - embedding, axis=1).min() / self._units[part])


def _left_out(memory: Floats) -> Floats:
    """Distance of each vector to the nearest other one; empty for fewer than two."""
    if len(memory) < 2:
        return np.zeros(0)
    gaps = np.linalg.norm(memory[:, None] - memory[None], axis=-1)
    np.fill_diagonal(gaps, np.inf)
    return np.asarray(gaps.min(1), dtype=np.float64)
