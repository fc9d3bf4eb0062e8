"""Findings: one named difference each, how they are read off a map, and which say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import cast

import numpy as np
import numpy.typing as npt

from fmlad.schema import FindingJson
from fmlad.sentences import KINDS, Box, Facts, Kind, renamed, sentence

__all__ = ["KINDS", "Box", "Finding", "Kind", "around", "defects", "finding", "merged"]

# A defect reaches down its flanks to this share of the threshold: its box then holds all of it, and
# the crumbs of one defect are one finding.
FLANK = 0.9
MOST_BOXES = 6  # beyond, one box around all
# Two boxes are about one thing if so much of the smaller one is shared, and one is at most so many
# times as large as the other: a scratch on a tray is not the tray.
SHARED, LARGER = 0.5, 8.0
NAMED = 0.25  # share of a defect's score from which a named difference takes its place


@dataclass(frozen=True)
class Finding:
    """One named difference between the query and the shots.

    Attributes:
        kind: ``"missing"``, ``"extra"``, ``"misplaced"``, ``"resized"``, ``"recoloured"`` or
            ``"defect"``.
        part: The part concerned: the user's name for it, or ``"part A"``; None for a plain defect.
        expected: What the shots have (a count, say), or None; ``observed``: the query.
        box: ``xyxy`` in input pixels, around all of ``boxes``; None where no place can be named.
        score: In units of the prediction's score; comparable within one prediction.
        text: One plain sentence.
        boxes: Each object concerned, or the place of each that is absent, by itself.
    """

    kind: Kind
    part: str | None
    expected: float | None
    observed: float | None
    box: Box | None
    score: float
    text: str
    boxes: tuple[Box, ...] = ()

    def to_dict(self) -> FindingJson:
        """JSON-ready."""
        return cast(FindingJson, asdict(self))


def finding(
    facts: Facts, score: float, size: tuple[int, int], names: Mapping[str, str] | None = None
) -> Finding:
    """Facts in words.

    Args:
        facts: About an image of ``size`` ``(H, W)``.
        score: In units of the prediction's score.
        size: Of the image.
        names: The user's names for unnamed parts.
    """
    facts = renamed(facts, names or {})
    box = around(facts.boxes)
    boxes = facts.boxes if len(facts.boxes) <= MOST_BOXES or box is None else (box,)
    text = sentence(facts, size)
    return Finding(facts.kind, facts.part, facts.expected, facts.observed, box, score, text, boxes)


def defects(
    anomaly_map: npt.NDArray[np.float32], threshold: float, limit: int = 10
) -> list[Finding]:
    """Regions of a map ``(H, W)`` that exceed a threshold, highest peak first, as ``defect``.

    One finding per 8-connected region of the pixels above ``FLANK`` times the threshold that holds
    one above it; boxes are tight around the region.
    """
    from scipy import ndimage

    labels, count = ndimage.label(anomaly_map > FLANK * threshold, structure=np.ones((3, 3)))
    if count == 0:
        return []
    peaks = np.asarray(ndimage.maximum(anomaly_map, labels, index=np.arange(1, count + 1)))
    boxes = ndimage.find_objects(labels)
    found = []
    size = anomaly_map.shape[0], anomaly_map.shape[1]
    order = np.argsort(-peaks, kind="stable")
    for index in order[peaks[order] > threshold][:limit]:
        rows, columns = boxes[index]
        box = (float(columns.start), float(rows.start), float(columns.stop), float(rows.stop))
        found.append(finding(Facts(kind="defect", boxes=(box,)), float(peaks[index]), size))
    return found


def merged(findings: Sequence[Finding]) -> list[Finding]:
    """Findings that say each thing once, the most important first.

    A plain defect where a named difference lies is that difference, if this one is not far weaker;
    of others that lie at one place the most important stays.
    """
    ordered = sorted(findings, key=lambda one: -one.score)
    typed = [one for one in ordered if one.kind != "defect"]
    raised = {id(one): one for one in ordered}
    for place in [one for one in ordered if one.kind == "defect"]:
        same = [one for one in typed if one.score >= NAMED * place.score and _within(place, [one])]
        if same:
            known = raised[id(same[0])]
            raised[id(same[0])] = replace(known, score=max(known.score, place.score))
            del raised[id(place)]
    kept: list[Finding] = []
    for one in sorted(raised.values(), key=lambda one: -one.score):
        if not _within(one, kept):
            kept.append(one)
    return kept


def _within(one: Finding, others: Sequence[Finding]) -> bool:
    """Whether each of its boxes is about the same as some box of others."""
    known = [box for other in others for box in other.boxes]
    same = [any(about_the_same(box, other) for other in known) for box in one.boxes]
    return bool(same) and all(same)


def about_the_same(one: Box, other: Box) -> bool:
    """Whether two boxes are of much the same place and size."""
    (a, b), shared = (_area(one), _area(other)), _area(_common(one, other))
    small, large = min(a, b), max(a, b)
    return shared >= SHARED * small and shared > 0 and large <= LARGER * small


def around(boxes: Sequence[Box] | npt.NDArray[np.float64]) -> Box | None:
    """The smallest box ``xyxy`` around some boxes ``(n, 4)``; None without any."""
    if not len(boxes):
        return None
    corners = np.array(boxes, dtype=np.float64)
    (left, top), (right, bottom) = corners[:, :2].min(0).tolist(), corners[:, 2:].max(0).tolist()
    return left, top, right, bottom


def _common(one: Box, other: Box) -> Box:
    left, top = max(one[0], other[0]), max(one[1], other[1])
    return left, top, min(one[2], other[2]), min(one[3], other[3])


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])
