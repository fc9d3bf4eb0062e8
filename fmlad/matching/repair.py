"""Second thoughts about objects: pieces of one, and objects that are there but were not cut out.

Proposals err: a digit falls apart, two touching ones become one. Before an object counts as extra
or missing, its features are asked. Pieces in one place that together measure as what belongs there
are that object; a missing object whose place measures as it should is not missing (ours). Only
where the shots are arranged: elsewhere no place can be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from fmlad.matching.assignment import Assignment
from fmlad.matching.comparison import Comparison, Judged, judged
from fmlad.matching.likeness import Likeness
from fmlad.matching.object_maps import Align, ObjectMaps
from fmlad.segmentation.describe import Objects

NORMAL = 1.5  # standard deviations up to which something measures as what belongs there
DOUBTS = 8  # missing objects of one reference that may be doubted; where more lack, they lack
ROOM = 1.5  # boxes of a reference object within which its pieces lie

Rows = tuple[int, ...]


@dataclass(frozen=True)
class Surveyor:
    """Measures places of a query that are no objects of its own.

    Attributes:
        query: The query's objects.
        comparisons: With each reference.
        likeness: How far a place reaches.
        align: As in the measurement of objects.
        epsilon: Ridge of the covariance.
        usual: Usual mean distance of an object to a single like of it.
    """

    query: ObjectMaps
    comparisons: Sequence[Comparison]
    likeness: Likeness
    align: Align
    epsilon: float
    usual: float

    def together(self, rows: Rows) -> Judged | None:
        """Some objects of the query, measured as one."""
        boxes = self.query.objects.boxes[list(rows)]
        box = np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])
        return self._measured(box, self.query.masks[list(rows)].amax(0))

    def place_of(self, reference: ObjectMaps, row: int) -> Judged | None:
        """The place where a reference object should be."""
        height, width = self.query.size
        box = reference.box(row) * [width, height, width, height]
        size = self.query.masks.shape[1:]
        mask = torch.nn.functional.interpolate(
            reference.masks[row][None, None], (size[0], size[1]), mode="bilinear"
        )[0, 0]
        return self._measured(box, mask)

    def _measured(self, box: npt.NDArray[np.float64], mask: torch.Tensor) -> Judged | None:
        height, width = self.query.size
        half = np.array([width, height]) / max(width, height)
        place = (box[:2] + box[2:]) / [width, height] - 1
        kept = self.query.objects.rows(np.zeros(len(self.query), bool))
        whole = Objects(
            np.zeros((1, kept.looks.shape[1])),
            np.zeros((1, kept.features.shape[1])),
            box[None],
            (place * half)[None],
            np.ones(1),
        )
        maps = ObjectMaps(self.query.level, whole, mask[None], self.query.size)
        stands = []
        for comparison in self.comparisons:
            places = comparison.reference.objects.places
            gaps = np.linalg.norm(places - whole.places, axis=1)
            near = int(gaps.argmin()) if len(gaps) and gaps.min() <= self.likeness.reach else -1
            stands.append(replace(comparison, stands=np.array([near]), found=_nobody(comparison)))
        return judged(maps, 0, stands, self.align, self.epsilon, self.usual)


def _nobody(comparison: Comparison) -> Assignment:
    """One object that was matched with nothing."""
    columns = comparison.found.plan.shape[1]
    nowhere = np.array([-1], np.int64)
    return Assignment(np.zeros((0, 2), np.int64), nowhere, np.zeros((2, columns)))


@dataclass(frozen=True)
class Revised:
    """A comparison after second thoughts.

    Attributes:
        comparison: Without pieces and objects that were not cut out.
        joined: Groups of the query's objects that are one object each.
        absent: The places of reference objects that are missing still.
    """

    comparison: Comparison
    joined: dict[Rows, Judged]
    absent: dict[int, Judged]


def revised(surveyor: Surveyor) -> list[Revised]:
    """All comparisons of a query, after second thoughts."""
    known: dict[Rows, Judged | None] = {}
    results = []
    for comparison in surveyor.comparisons:
        missing, extra = comparison.missing.copy(), comparison.extra.copy()
        joined: dict[Rows, Judged] = {}
        absent: dict[int, Judged] = {}
        for row, rows in _pieces(surveyor.query, comparison).items():
            if len(rows) < 2:
                continue
            if rows not in known:
                known[rows] = surveyor.together(rows)
            one = known[rows]
            if one is not None and one.odds <= NORMAL:
                extra[list(rows)] = 0
                missing[row] = 0
                joined[rows] = one
        doubted = np.flatnonzero(missing).tolist()
        for row in doubted if len(doubted) <= DOUBTS else []:
            place = surveyor.place_of(comparison.reference, row)
            if place is not None and place.odds <= NORMAL:
                missing[row] = 0
            elif place is not None:
                absent[row] = place
        kept = replace(comparison, missing=missing, extra=extra)
        results.append(Revised(kept, joined, absent))
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
