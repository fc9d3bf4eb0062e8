"""Maps and typed differences of a prediction, and the labels of matched objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from fmlad.draw import UNMATCHED
from fmlad.findings import Kind
from fmlad.memory.change import smoothed
from fmlad.methods.protocol import Difference
from fmlad.methods.sam_lad.matching import ReferenceMatch
from fmlad.methods.sam_lad.naming import Name, PartNames
from fmlad.methods.sam_lad.rematching import FloatMap, Rematched, Scores
from fmlad.objects.appearance import COLOUR, SIZE
from fmlad.objects.feature_maps import ObjectMaps, on_grid
from fmlad.objects.instances import as_box
from fmlad.objects.names import describe
from fmlad.prediction import Segmentation

OWNED = 0.5  # share of a cell from which it is painted as an object's
CLEAR = 1.0  # natural units of appearance from which an object is of another colour or size
FOREIGN = 2.0  # standard deviations from which an object is reported by itself
MOST = 20  # differences reported at most


def painted(
    maps: ObjectMaps, best: Rematched, objects: Scores, unmatched: float, smoothing: float
) -> dict[str, FloatMap]:
    """Maps ``(h, w)`` of the branches ``matching``, ``object`` and ``measure``.

    Where objects overlap, the larger value counts (the paper's sums in equations 13 to 15 would
    count a box and what lies in it twice).

    Args:
        maps: The query's objects; ``objects``: each of them, measured.
        best: The match that costs least.
        unmatched: Weight c of equation 14.
        smoothing: Gaussian sigma in cells, on ``measure``.
    """
    match = best.match
    matching, whole, places = (torch.zeros(maps.grid) for _ in range(3))
    for mask, value in zip(maps.masks, match.extra + match.moved, strict=True):
        matching = torch.maximum(matching, float(value) * (mask >= OWNED))
    for gone in np.flatnonzero(match.missing):
        there = torch.from_numpy(on_grid(match.reference.masks[gone], maps.grid)) >= OWNED
        matching = torch.maximum(matching, float(match.missing[gone]) * there)
    z_scores = list(zip(objects, _weighted(maps, objects), strict=True))
    z_scores += [(one, _gone(row, best)) for row, one in best.absent.items()]
    for one, z_score in z_scores:
        if one is not None:
            block, owned = one.measured.block, one.measured.weight >= OWNED
            whole[block] = torch.maximum(whole[block], z_score * owned)
    for one, objectness in zip(objects, maps.objects.objectness.tolist(), strict=True):
        if one is not None:
            weight = objectness * (1.0 if one.matched else unmatched) / one.peak
            block = one.measured.block
            values = one.measured.distances * one.measured.weight * weight
            places[block] = torch.maximum(places[block], values)
    maps_by_branch = {"matching": matching, "object": whole, "measure": smoothed(places, smoothing)}
    return {branch: values.numpy() for branch, values in maps_by_branch.items()}


def found_differences(
    maps: ObjectMaps,
    matches: Sequence[ReferenceMatch],
    best: Rematched,
    objects: Scores,
    names: PartNames,
) -> list[Difference]:
    """Typed differences, highest score first: of matching, and of whole objects.

    The match that costs least, ``best``, names what is missing and extra; ``objects`` has None for
    those that are not reported.
    """
    match, z_scores = best.match, _weighted(maps, objects)
    named = names.of_image(maps.objects)
    reported: set[int] = set()
    found: list[Difference] = []
    for gone in np.flatnonzero(match.missing).tolist():
        name = names.of_template(match.number, gone)
        instead = _instead(gone, maps, match, reported)
        if instead is None:
            found.append(_by_larger(_missing(gone, maps, match, name), _gone(gone, best)))
        else:
            reported.add(instead)
            exchanged = _exchanged(gone, instead, maps, match, name)
            found.append(_by_larger(exchanged, z_scores[instead]))
    for row in sorted(set(range(len(maps))) - reported):
        kind: Kind = "misplaced"
        score, reason = 0.0, ""
        if match.extra[row] > 0:
            kind, score = "extra", match.extra[row]
        elif match.moved[row] > 0:
            score = match.moved[row]
        elif z_scores[row] <= FOREIGN:
            continue
        elif _belongs_elsewhere(row, matches):
            reason = "it looks like what belongs in another place"
        else:
            kind, reason = "defect", "it does not look like what belongs in its place"
        found.append(_by_larger(_about(maps, row, kind, score, named[row], reason), z_scores[row]))
    found.sort(key=lambda difference: -difference.score)
    return found[:MOST]


def matched_objects(maps: ObjectMaps, best: ReferenceMatch) -> Segmentation:
    """A label per matched object, that of its partner in the best reference, at the image's size.

    The same labels belong to the reference's objects (:func:`reference_objects`), so that a pair
    has one colour; objects without a partner share the last label, ``"unmatched"``.
    """
    return labelled(maps, best.assignment.partner, best.reference)


def reference_objects(best: ReferenceMatch) -> Segmentation:
    """The reference's objects under the labels of :func:`matched_objects`."""
    partner = np.arange(len(best.reference))
    partner[best.assignment.left_over] = -1
    return labelled(best.reference, partner, best.reference)


def labelled(
    maps: ObjectMaps, partner: npt.NDArray[np.integer], reference: ObjectMaps
) -> Segmentation:
    """Objects under the label of their partner ``(n,)`` in a reference; -1: unmatched."""
    names = ["background"]
    rows = reference.objects.appearance[:, None]
    names += [f"{n}: {describe(row) or 'object'}" for n, row in enumerate(rows, start=1)]
    names.append(UNMATCHED)
    chosen = np.where(partner >= 0, partner + 1, len(names) - 1)
    labels = np.zeros(maps.size, np.uint16)
    for row in np.argsort(-maps.masks.sum((1, 2)).numpy(), kind="stable"):
        labels[on_grid(maps.masks[row], maps.size) >= OWNED] = chosen[row]
    found, counts = np.unique(chosen, return_counts=True)
    order = {names[label]: int(n) for label, n in zip(found, counts, strict=True)}
    return Segmentation(labels, names, order)


def _weighted(maps: ObjectMaps, objects: Scores) -> list[float]:
    """z-score times objectness of each object; 0 for None."""
    objectness = maps.objects.objectness.tolist()
    return [one.z_score * w if one else 0.0 for one, w in zip(objects, objectness, strict=True)]


def _instead(gone: int, maps: ObjectMaps, match: ReferenceMatch, reported: set[int]) -> int | None:
    """An extra object that stands where a missing one should."""
    box = match.reference.objects.boxes[gone]
    side = float((box[2:] - box[:2]).max()) * 2 / max(match.reference.size)
    for row in np.flatnonzero((match.extra > 0) & (match.counterparts == gone)).tolist():
        apart = maps.objects.places[row] - match.reference.objects.places[gone]
        if row not in reported and float(np.linalg.norm(apart)) <= side:
            return int(row)
    return None


def _missing(gone: int, maps: ObjectMaps, match: ReferenceMatch, name: Name) -> Difference:
    height, width = maps.size
    places = match.reference.boxes() * [width, height, width, height]
    peers = tuple(as_box(box) for box in places)
    part, words = name
    return Difference(
        branch="matching", score=float(match.missing[gone]), kind="missing",
        part=part or "object", description=words, boxes=(peers[gone],), peers=peers,
    )  # fmt: skip


def _exchanged(
    gone: int, instead: int, maps: ObjectMaps, match: ReferenceMatch, name: Name
) -> Difference:
    """A missing object of the reference, where an extra one of the query stands."""
    here, there = maps.objects.appearance[instead], match.reference.objects.appearance[gone]
    colour = float(np.linalg.norm((here - there)[list(COLOUR[:3])]))
    size = abs(float(here[SIZE] - there[SIZE]))
    kind: Kind = "defect"
    if max(colour, size) >= CLEAR:
        kind = "recoloured" if colour >= size else "resized"
    score = max(match.missing[gone], match.extra[instead])
    found = _about(maps, instead, kind, score, name)
    words = describe(maps.objects.appearance[[instead]])
    return replace(found, instead=f"a {words} one" if words else "another object")


def _gone(row: int, best: Rematched) -> float:
    """z-score of a missing object's place and the nats of its absence, added; 0 if not measured.

    Nats and standard deviations are near enough to each other to be added.
    """
    if row not in best.absent:
        return 0.0
    objectness = float(best.match.reference.objects.objectness[row])
    return best.absent[row].z_score * objectness + float(best.match.missing[row])


def _by_larger(difference: Difference, z_score: float) -> Difference:
    """A difference under the branch with the larger score, in nats or standard deviations."""
    if z_score <= difference.score:
        return difference
    return replace(difference, branch="object", score=float(z_score))


def _belongs_elsewhere(row: int, matches: Sequence[ReferenceMatch]) -> bool:
    """Whether an object resembles what lies in another place, in half of the references."""
    nearest = [(one.assignment.nearest[row], one.counterparts[row]) for one in matches]
    return 2 * sum(int(found >= 0 and found != own) for found, own in nearest) > len(matches)


def _about(
    maps: ObjectMaps, row: int, kind: Kind, score: float, name: Name, reason: str = ""
) -> Difference:
    """A difference about one object of the image."""
    part, words = name
    return Difference(
        branch="matching", score=float(score), kind=kind,
        part=part if kind == "extra" else part or "object", description=words,
        boxes=(as_box(maps.objects.boxes[row]),), reason=reason,
    )  # fmt: skip
