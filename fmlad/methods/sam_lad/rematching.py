"""Objects measured again before they count (ours): in other boxes, and by the patches of the image.

Proposals err: a digit falls apart, two touching ones become one. Rematching: where the shots are
arranged, pieces in one place that together measure as what belongs there are that object, and a
missing object whose place measures as it should is not missing.

Confirmation: where an image registers to the shots pixel by pixel, an object in an unchanged box is
normal, however it was cut, and only cells that changed count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

from fmlad.findings import around
from fmlad.memory.change import changed, sureness
from fmlad.memory.patch_branch import PatchComparison
from fmlad.memory.patch_memory import PatchMemory
from fmlad.methods.sam_lad.matching import ReferenceMatch
from fmlad.methods.sam_lad.measurement import (
    Counterpart,
    ObjectScore,
    ObjectScorer,
    counterparts_of,
)
from fmlad.objects.appearance import Objects
from fmlad.objects.arrays import Floats
from fmlad.objects.feature_maps import ObjectMaps, on_grid

NORMAL = 1.5  # standard deviations up to which something measures as what belongs there
MOST = 8  # missing or displaced objects of one reference that are rematched; more are no mistake
ROOM = 1.5  # boxes of a reference object within which its pieces lie

FloatMap = npt.NDArray[np.float32]
Rows = tuple[int, ...]
Scores = Sequence[ObjectScore | None]
"""One entry an object of the query; None where nothing is to be said of it."""


@dataclass(frozen=True)
class Rematched:
    """A match with a reference, after rematching.

    Attributes:
        match: Without pieces, and objects that were not cut out or cut elsewhere.
        joined: Groups of the query's objects that are one object each.
        absent: The places of reference objects that are missing still.
    """

    match: ReferenceMatch
    joined: Mapping[Rows, ObjectScore] = field(default_factory=dict)
    absent: Mapping[int, ObjectScore] = field(default_factory=dict)


@dataclass(frozen=True)
class Rematcher:
    """Measures objects of a query, and places of it that are no objects of its own.

    Attributes:
        query: The query's objects.
        matches: With each reference.
        scorer: Of objects.
        reach: Displacement from which an object is in another place.
    """

    query: ObjectMaps
    matches: Sequence[ReferenceMatch]
    scorer: ObjectScorer
    reach: float
    _known: dict[tuple[object, ...], ObjectScore | None] = field(default_factory=dict, repr=False)

    def alone(self) -> list[ObjectScore | None]:
        """Each object of the query as it was cut; None where no reference has any object."""
        found = []
        for row in range(len(self.query)):
            partners = sum(int(one.assignment.partner[row] >= 0) for one in self.matches)
            own = counterparts_of(row, self.matches)
            found.append(self.scorer(self.query, row, own, partners))
        return found

    def rematched(self, alone: Scores) -> list[Rematched]:
        """All matches, after rematching; ``alone`` are the objects, measured as they were cut."""
        return [self._rematched(match, alone) for match in self.matches]

    def reconsidered(self, alone: Scores, chosen: Rematched) -> list[ObjectScore | None]:
        """Each object, measured by the cut of the lowest z-score.

        Of objects that are one in the best match, ``chosen``, the first stands for all, and None
        for the others.
        """
        found = list(alone)
        for row, one in enumerate(alone):
            if one is not None and one.z_score > NORMAL:
                other = self._in_boxes_of(counterparts_of(row, self.matches))
                if other is not None and other.z_score < one.z_score:
                    found[row] = replace(other, matched=one.matched)
        for rows, whole in chosen.joined.items():
            for row in rows:
                found[row] = None
            found[rows[0]] = whole
        return found

    def together(self, rows: Rows) -> ObjectScore | None:
        """Some objects of the query, measured as one."""
        if ("pieces", *rows) not in self._known:
            which = list(rows)
            box = np.array(around(self.query.objects.boxes[which]))
            place = (box[:2] + box[2:]) / self.query.size[::-1] - 1
            belonging, mask = self._belonging(place * self.query.half), self.query.masks[which]
            self._known["pieces", *rows] = self._measured(box, mask.amax(0), belonging)
        return self._known["pieces", *rows]

    def _rematched(self, match: ReferenceMatch, alone: Scores) -> Rematched:
        missing, extra, moved = (a.copy() for a in (match.missing, match.extra, match.moved))
        partner, joined, absent = match.assignment.partner, {}, {}
        for row, rows in _pieces(self.query, match).items():
            one = self.together(rows) if len(rows) > 1 else None
            apart = max((piece.z_score for i in rows if (piece := alone[i])), default=0.0)
            # However anomalous, it is one object where the pieces are more anomalous still.
            if one is not None and (one.z_score <= NORMAL or one.z_score < apart):
                extra[list(rows)] = moved[list(rows)] = 0
                missing[row] = 0
                joined[rows] = one
        displaced = np.flatnonzero(moved)
        for mine in displaced if len(displaced) <= MOST else []:
            place = self._place_of(match.reference, int(partner[mine]))
            if place is not None and place.z_score <= NORMAL:
                moved[mine] = 0  # what was matched is there still, and was cut elsewhere
        absences = np.flatnonzero(missing).tolist()
        for row in absences if len(absences) <= MOST else []:
            place = self._place_of(match.reference, row)
            if place is not None and place.z_score <= NORMAL:
                missing[row] = 0
            elif place is not None:
                absent[row] = place
        return Rematched(replace(match, missing=missing, extra=extra, moved=moved), joined, absent)

    def _place_of(self, reference: ObjectMaps, row: int) -> ObjectScore | None:
        """The place where a reference object should be, by the larger of both measures.

        Nothing at all is near the mean of much that varies: as a whole it may look normal.
        """
        found = self._in_boxes_of(self._belonging(reference.objects.places[row]))
        return found and replace(found, whole=max(found.z_score, found.by_places))

    def _belonging(self, place: Floats) -> list[Counterpart]:
        """The reference objects that belong in a place."""
        found = []
        for one in self.matches:
            gaps = np.linalg.norm(one.reference.objects.places - place, axis=1)
            if len(gaps) and gaps.min() <= self.reach:
                found.append(Counterpart(one.number, one.reference, int(gaps.argmin())))
        return found

    def _in_boxes_of(self, counterparts: Sequence[Counterpart]) -> ObjectScore | None:
        """What lies in the query where reference objects lie: in the box of the lowest z-score."""
        key = tuple(value for one in counterparts for value in (one.number, one.row))
        if key not in self._known:
            self._known[key] = self._in_best_box(counterparts)
        return self._known[key]

    def _in_best_box(self, counterparts: Sequence[Counterpart]) -> ObjectScore | None:
        if not counterparts:
            return None
        boxes = np.array([image.boxes()[row] for _, image, row in counterparts])
        z_scores = self.scorer.z_scores(self.query, boxes, counterparts)
        best = 0 if z_scores is None else int(z_scores.argmin())
        _, image, row = counterparts[best]
        height, width = self.query.size
        mask = torch.from_numpy(on_grid(image.masks[row], self.query.grid))
        return self._measured(boxes[best] * [width, height, width, height], mask, counterparts)

    def _measured(
        self, box: Floats, mask: torch.Tensor, counterparts: Sequence[Counterpart]
    ) -> ObjectScore | None:
        """One object with a box in pixels and a mask, as matched with its counterparts."""
        blank = np.zeros((1, 7))
        whole = Objects(blank, blank[:, :0], box[None], blank[:, :2], np.ones(1))
        image = replace(self.query, objects=whole, masks=mask[None], memo={})
        return self.scorer(image, 0, counterparts, len(counterparts))


def _pieces(query: ObjectMaps, match: ReferenceMatch) -> dict[int, Rows]:
    """Per reference object the query objects that may be pieces of it: its partner and extras."""
    places = match.reference.objects.places
    found: dict[int, list[int]] = {}
    for row in np.flatnonzero(match.extra) if len(places) else []:
        gaps = np.linalg.norm(places - query.objects.places[row], axis=1)
        near = int(gaps.argmin())
        box = match.reference.objects.boxes[near]
        side = float((box[2:] - box[:2]).max()) / max(match.reference.size)  # half of it
        if gaps[near] <= ROOM * side:
            found.setdefault(near, []).append(int(row))
    for mine, theirs in match.assignment.pairs.tolist():
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

    patches: FloatMap
    alone: bool

    @classmethod
    def of(cls, compared: PatchComparison | None, bank: PatchMemory | None) -> Confirmation | None:
        """None where there is no patch bank, or the image does not register."""
        if compared is None or bank is None or not compared.registered or bank.baseline <= 0:
            return None
        return cls(compared.distances / np.float32(bank.baseline), bank.shots == 1)

    def of_matches(self, query: ObjectMaps, found: Sequence[Rematched]) -> list[Rematched]:
        """Matches, each absence, extra object or displacement times how surely its box changed."""
        here, results = self._changed(query.objects.boxes, query), []
        for one in found:
            match = one.match
            there = self._changed(match.reference.objects.boxes, match.reference)
            absent = {
                row: replace(place, whole=place.z_score * float(there[row]))
                for row, place in one.absent.items()
            }
            extra, moved = match.extra * here, match.moved * here
            kept = replace(match, missing=match.missing * there, extra=extra, moved=moved)
            results.append(replace(one, match=kept, absent=absent))
        return results

    def of_objects(self, query: ObjectMaps, objects: Scores) -> list[ObjectScore | None]:
        """Objects, each z-score times how surely the place of the object changed."""
        (height, width), (rows, columns) = query.size, query.grid
        scale = np.array([width / columns, height / rows] * 2)
        found: list[ObjectScore | None] = []
        for one in objects:
            if one is not None:
                y, x = one.measured.block
                box = np.array([[x.start, y.start, x.stop, y.stop]]) * scale
                one = replace(one, whole=one.z_score * float(self._changed(box, query)[0]))
            found.append(one)
        return found

    def of_maps(self, maps: Mapping[str, FloatMap]) -> dict[str, FloatMap]:
        """Maps times how surely each cell changed."""
        sure = sureness(self.patches, self.alone)
        return {k: one * on_grid(sure, (one.shape[0], one.shape[1])) for k, one in maps.items()}

    def _changed(self, boxes: Floats, image: ObjectMaps) -> Floats:
        """How surely boxes ``(n, 4)`` in pixels of the query or a reference changed, ``(n,)``."""
        return changed(boxes, image.size, self.patches, self.alone)
