"""Objects measured again before they count (ours): in other boxes, and by the patches of the image.

Proposals err: a digit falls apart, two touching ones become one. Rematching: where the shots are
arranged, pieces in one place that together measure as what belongs there are that object, and a
missing object whose place measures as it should is not missing.

Confirmation, as in ``banks``: where an image registers to the shots pixel by pixel, what lies in an
unchanged box is as it should be, however it was cut, and only cells that changed count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

from fmlad.memory.change import changed, sureness
from fmlad.memory.patch_branch import PatchComparison
from fmlad.memory.patch_memory import PatchMemory
from fmlad.methods.sam_lad.comparison import Comparison, ObjectScore, score_object
from fmlad.methods.sam_lad.matching import Affinity, Assignment
from fmlad.methods.sam_lad.object_maps import Align, ObjectMaps
from fmlad.methods.sam_lad.pooled_gaussian import Scorer
from fmlad.methods.sam_lad.report import FloatMap, on_grid
from fmlad.objects.appearance import Floats, Objects

Ints = npt.NDArray[np.int64]

NORMAL = 1.5  # standard deviations up to which something measures as what belongs there
MOST = 8  # missing or displaced objects of one reference that are rematched; more are no mistake
ROOM = 1.5  # boxes of a reference object within which its pieces lie

Rows = tuple[int, ...]


@dataclass(frozen=True)
class Rematcher:
    """Measures objects of a query, and places of it that are no objects of its own.

    Attributes:
        query: The query's objects.
        comparisons: With each reference.
        affinity: How far a place reaches.
        align: As in the measurement of objects.
        epsilon: Ridge of the covariance.
        baseline: Normal mean distance of an object to a single like of it.
        scorer: Of whole objects; None: the mean of the places' distances tells.
    """

    query: ObjectMaps
    comparisons: Sequence[Comparison]
    affinity: Affinity
    align: Align
    epsilon: float
    baseline: float
    scorer: Scorer | None = None
    _asked: dict[Rows, ObjectScore | None] = field(default_factory=dict, repr=False)

    def alone(self, row: int) -> ObjectScore | None:
        """One object of the query; None where no reference has any."""
        return score_object(
            self.query, row, self.comparisons, self.align, self.epsilon, self.baseline, self.scorer
        )

    def together(self, rows: Rows) -> ObjectScore | None:
        """Some objects of the query, measured as one."""
        boxes = self.query.objects.boxes[list(rows)]
        box = np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])
        place = (box[:2] + box[2:]) / self.query.size[::-1] - 1
        mask = self.query.masks[list(rows)].amax(0)
        return self._measured(box, mask, self._belonging(place * self.query.half))

    def place_of(self, reference: ObjectMaps, row: int) -> ObjectScore | None:
        """The place where a reference object should be, by the larger of both measures.

        Nothing at all is near the mean of much that varies: as a whole it may look normal.
        """
        found = self._best(self._belonging(reference.objects.places[row]))
        if found is None:
            return None
        return replace(found, whole=max(found.z_score, found.by_places))

    def instead_of(self, row: int) -> ObjectScore | None:
        """The place of one of the query's objects, however that was cut out."""
        return self._best(np.array([c.stands[row] for c in self.comparisons], np.int64))

    def reconsidered(
        self, objects: Sequence[ObjectScore | None], chosen: Rematched
    ) -> list[ObjectScore | None]:
        """Each object, measured by the cut that speaks best for it.

        Args:
            objects: As they were cut out.
            chosen: What became of them before the best reference.

        Returns:
            Of objects that are one, the first stands for all, and None for the others.
        """
        found = list(objects)
        for row, one in enumerate(objects):
            if one is not None and one.z_score > NORMAL:
                other = self.instead_of(row)
                if other is not None and other.z_score < one.z_score:
                    found[row] = replace(other, matched=one.matched)
        for rows, whole in chosen.joined.items():
            for row in rows:
                found[row] = None
            found[rows[0]] = whole
        return found

    def as_they_are(self) -> list[Rematched]:
        """The comparisons without rematching."""
        return [Rematched(comparison, {}, {}) for comparison in self.comparisons]

    def _belonging(self, place: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Per comparison the reference object that belongs in a place; -1 for none."""
        found = []
        for comparison in self.comparisons:
            gaps = np.linalg.norm(comparison.reference.objects.places - place, axis=1)
            near = len(gaps) > 0 and gaps.min() <= self.affinity.reach
            found.append(int(gaps.argmin()) if near else -1)
        return np.array(found, np.int64)

    def _best(self, stands: npt.NDArray[np.int64]) -> ObjectScore | None:
        """What lies where the references have some objects: of their boxes, the one that fits."""
        asked = tuple(stands.tolist())
        if asked not in self._asked:
            self._asked[asked] = self._fitting(stands)
        return self._asked[asked]

    def _fitting(self, stands: npt.NDArray[np.int64]) -> ObjectScore | None:
        known = [
            (c.number, c.reference, int(row))
            for c, row in zip(self.comparisons, stands, strict=True)
            if row >= 0
        ]
        if not known:
            return None
        boxes = np.array([reference.box(row) for _, reference, row in known])
        best = 0
        if self.scorer is not None:
            likes = [(number, row) for number, _, row in known]
            best = int(self.scorer(boxes, likes).argmin())
        _, reference, row = known[best]
        height, width = self.query.size
        size = self.query.masks.shape[1:]
        mask = torch.nn.functional.interpolate(
            reference.masks[row][None, None], (size[0], size[1]), mode="bilinear"
        )[0, 0]
        return self._measured(boxes[best] * [width, height, width, height], mask, stands)

    def _measured(
        self, box: npt.NDArray[np.float64], mask: torch.Tensor, stands: npt.NDArray[np.int64]
    ) -> ObjectScore | None:
        kept = self.query.objects.rows(np.zeros(len(self.query), bool))
        height, width = self.query.size
        place = ((box[:2] + box[2:]) / [width, height] - 1) * self.query.half
        whole = Objects(
            np.zeros((1, kept.appearance.shape[1])),
            np.zeros((1, kept.features.shape[1])),
            box[None],
            place[None],
            np.ones(1),
        )
        maps = replace(self.query, objects=whole, masks=mask[None], _known={}, _axes={})
        before = [
            replace(comparison, stands=np.array([row]), found=_matched(comparison, int(row)))
            for comparison, row in zip(self.comparisons, stands, strict=True)
        ]
        return score_object(maps, 0, before, self.align, self.epsilon, self.baseline, self.scorer)


def _matched(comparison: Comparison, row: int) -> Assignment:
    """One object that was matched with what belongs in its place, if anything does."""
    pairs = np.array([[0, row]] if row >= 0 else np.zeros((0, 2)), np.int64)
    columns = comparison.found.plan.shape[1]
    return Assignment(pairs, np.array([row], np.int64), np.zeros((2, columns)))


@dataclass(frozen=True)
class Rematched:
    """A comparison after rematching.

    Attributes:
        comparison: Without pieces, and objects that were not cut out or cut elsewhere.
        joined: Groups of the query's objects that are one object each.
        absent: The places of reference objects that are missing still.
    """

    comparison: Comparison
    joined: dict[Rows, ObjectScore]
    absent: dict[int, ObjectScore]


def rematched(rematcher: Rematcher, alone: Sequence[ObjectScore | None]) -> list[Rematched]:
    """All comparisons of a query, after rematching.

    Args:
        rematcher: Of the query.
        alone: Each of its objects, measured as it was cut out.
    """
    known: dict[Rows, ObjectScore | None] = {}
    results = []
    for comparison in rematcher.comparisons:
        missing, extra = comparison.missing.copy(), comparison.extra.copy()
        moved, partner = comparison.moved.copy(), comparison.found.partner
        joined: dict[Rows, ObjectScore] = {}
        absent: dict[int, ObjectScore] = {}
        for row, rows in _pieces(rematcher.query, comparison).items():
            if len(rows) < 2:
                continue
            if rows not in known:
                known[rows] = rematcher.together(rows)
            one = known[rows]
            apart = max(
                (piece.z_score for i in rows if (piece := alone[i]) is not None), default=0.0
            )
            # Odd as it may be, it is one thing where the pieces are more anomalous still.
            if one is not None and (one.z_score <= NORMAL or one.z_score < apart):
                extra[list(rows)] = moved[list(rows)] = 0
                missing[row] = 0
                joined[rows] = one
        displaced = np.flatnonzero(moved).tolist()
        for mine in displaced if len(displaced) <= MOST else []:
            place = rematcher.place_of(comparison.reference, int(partner[mine]))
            if (
                place is not None and place.z_score <= NORMAL
            ):  # all is there: it was cut differently
                moved[mine] = 0
        absences = np.flatnonzero(missing).tolist()
        for row in absences if len(absences) <= MOST else []:
            place = rematcher.place_of(comparison.reference, row)
            if place is not None and place.z_score <= NORMAL:
                missing[row] = 0
            elif place is not None:
                absent[row] = place
        kept = replace(comparison, missing=missing, extra=extra, moved=moved)
        results.append(Rematched(kept, joined, absent))
    return results


def _pieces(query: ObjectMaps, comparison: Comparison) -> dict[int, Rows]:
    """Per reference object the query objects that may be pieces of it: its partner and extras."""
    places = comparison.reference.objects.places
    found: dict[int, list[int]] = {}
    if not len(places):
        return {}
    for row in np.flatnonzero(comparison.extra):
        gaps = np.linalg.norm(places - query.objects.places[row], axis=1)
        near = int(gaps.argmin())
        box = comparison.reference.objects.boxes[near]
        side = float((box[2:] - box[:2]).max()) / max(comparison.reference.size)  # half of it
        if gaps[near] <= ROOM * side:
            found.setdefault(near, []).append(int(row))
    for mine, theirs in comparison.found.pairs.tolist():
        if theirs in found:
            found[theirs].append(mine)
    return {row: tuple(sorted(rows)) for row, rows in found.items()}


@dataclass(frozen=True)
class Confirmation:
    """The patches of an image that registers to the shots.

    Attributes:
        patches: ``(h, w)``, distances to the same place over the normal one of a normal image.
        alone: Whether there is only one shot.
    """

    patches: npt.NDArray[np.float32]
    alone: bool

    @classmethod
    def of(cls, compared: PatchComparison | None, bank: PatchMemory | None) -> Confirmation | None:
        """None where there is no patch bank, or the image does not register."""
        if compared is None or bank is None or not compared.registered or bank.baseline <= 0:
            return None
        return cls(compared.distances / np.float32(bank.baseline), bank.shots == 1)

    def of_comparisons(self, query: ObjectMaps, found: Sequence[Rematched]) -> list[Rematched]:
        """Comparisons in which what did not change costs nothing."""
        here = self._changed(query)
        return [self._confirmed(one, here) for one in found]

    def of_objects(
        self, query: ObjectMaps, objects: Sequence[ObjectScore | None]
    ) -> list[ObjectScore | None]:
        """Objects, each z-score times how surely the place of the object changed."""
        return [None if one is None else self._scored(query, one) for one in objects]

    def of_maps(self, maps: Mapping[str, FloatMap]) -> dict[str, FloatMap]:
        """Maps in which only cells light up that changed."""
        sure = sureness(self.patches, self.alone).astype(np.float32)
        return {
            name: one * on_grid(sure, (one.shape[0], one.shape[1])) for name, one in maps.items()
        }

    def _confirmed(self, one: Rematched, here: Floats) -> Rematched:
        comparison: Comparison = one.comparison
        there = self._changed(comparison.reference)
        kept = replace(
            comparison,
            missing=comparison.missing * there,
            extra=comparison.extra * here,
            moved=comparison.moved * here,
        )
        absent = {
            row: replace(place, whole=place.z_score * float(there[row]))
            for row, place in one.absent.items()
        }
        return replace(one, comparison=kept, absent=absent)

    def _scored(self, query: ObjectMaps, one: ObjectScore) -> ObjectScore:
        rows, columns = one.measured.block
        height, width = query.size
        up, across = height / query.level.shape[-2], width / query.level.shape[-1]
        box = [columns.start * across, rows.start * up, columns.stop * across, rows.stop * up]
        sure = changed(np.array([box]), query.size, self.patches, self.alone)
        return replace(one, whole=one.z_score * float(sure[0]))

    def _changed(self, image: ObjectMaps) -> Floats:
        """How surely the place of each object of the query, or of a reference, changed."""
        return changed(image.objects.boxes, image.size, self.patches, self.alone)
