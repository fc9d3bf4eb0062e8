"""What ``sam-lad`` says and paints: differences, maps, and who was matched with whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from fmlad.draw import UNMATCHED
from fmlad.findings import Box, Kind
from fmlad.memory.change import smoothed
from fmlad.methods.protocol import Difference
from fmlad.methods.sam_lad.comparison import Comparison, ObjectScore
from fmlad.methods.sam_lad.object_maps import ObjectMaps
from fmlad.objects.appearance import COLOUR, SIZE
from fmlad.objects.names import describe
from fmlad.prediction import Segmentation

OWNED = 0.5  # share of a cell from which it is painted as an object's
CLEAR = 1.0  # natural units of look from which an object is of another colour or size
FOREIGN = 2.0  # standard deviations from which an object is worth a sentence of its own
MOST = 20  # differences reported at most

FloatMap = npt.NDArray[np.float32]


def painted(
    maps: ObjectMaps,
    best: Comparison,
    objects: Sequence[ObjectScore | None],
    absent: Mapping[int, ObjectScore],
    unmatched: float,
    smoothing: float,
) -> dict[str, FloatMap]:
    """Maps ``(h, w)`` of the branches ``matching``, ``object`` and ``measure``.

    Where objects overlap, the larger value counts (the paper's sums in equations 13 to 15 would
    count a box and what lies in it twice).
    """
    size = (maps.level.shape[-2], maps.level.shape[-1])
    matching, whole, places = (torch.zeros(size) for _ in range(3))
    masks = maps.masks
    for row in range(len(maps)):
        value = float(best.extra[row] + best.moved[row])
        matching = torch.maximum(matching, value * (masks[row] >= OWNED))
    for gone in np.flatnonzero(best.missing):
        there = torch.from_numpy(on_grid(best.reference.masks[gone].numpy(), size)) >= OWNED
        matching = torch.maximum(matching, float(best.missing[gone]) * there)
    for row, one in enumerate(objects):
        if one is None:
            continue
        weight = float(maps.objects.objectness[row])
        block, measured = one.measured.block, one.measured
        owned = measured.weight >= OWNED
        whole[block] = torch.maximum(whole[block], weight * one.z_score * owned)
        weight *= 1.0 if one.matched else unmatched
        values = measured.distances * measured.weight * (weight / one.peak)
        places[block] = torch.maximum(places[block], values)
    for number, one in absent.items():
        block = one.measured.block
        owned = one.measured.weight >= OWNED
        z_score = _gone(number, one, best)
        whole[block] = torch.maximum(whole[block], z_score * owned)
    return {
        "matching": matching.numpy(),
        "object": whole.numpy(),
        "measure": smoothed(places, smoothing).numpy(),
    }


def found_differences(
    maps: ObjectMaps,
    comparisons: Sequence[Comparison],
    best: Comparison,
    objects: Sequence[ObjectScore | None],
    absent: Mapping[int, ObjectScore],
) -> list[Difference]:
    """Typed differences, highest score first: of matching, and of whole objects.

    Args:
        maps: The query's objects.
        comparisons: With each reference.
        best: The one that costs least; it names what is missing and extra.
        objects: Each object, measured; None for those that need no word.
        absent: Places of missing objects, measured.
    """
    told: set[int] = set()
    found: list[Difference] = []
    objectness = maps.objects.objectness
    z_score = [one.z_score * objectness[row] if one else 0.0 for row, one in enumerate(objects)]
    for gone in np.flatnonzero(best.missing).tolist():
        instead = _instead(gone, maps, best, told)
        difference = _missing(gone, instead, maps, best)
        place = _gone(gone, absent[gone], best) if gone in absent else 0.0
        if instead is not None:
            told.add(instead)
            place = z_score[instead]
        found.append(_by_larger(difference, place))
    for row in range(len(maps)):
        name = _name(maps, row)
        if row in told:
            continue
        if best.extra[row] > 0:
            text = f"extra: '{name}' has no like among what the shots have there"
            difference = _about(maps, row, "extra", 0.0, 1.0, best.extra[row], text)
        elif best.moved[row] > 0:
            text = f"'{name}' is not where the shots have it"
            difference = _about(maps, row, "misplaced", None, None, best.moved[row], text)
        elif z_score[row] <= FOREIGN:
            continue
        elif _belongs_elsewhere(row, comparisons):
            text = f"'{name}' looks like what belongs in another place"
            difference = _about(maps, row, "misplaced", None, None, 0.0, text)
        else:
            text = f"'{name}' does not look like what belongs in its place"
            difference = _about(maps, row, "defect", None, None, 0.0, text)
        found.append(_by_larger(difference, z_score[row]))
    found.sort(key=lambda difference: -difference.score)
    return found[:MOST]


def matched_objects(maps: ObjectMaps, best: Comparison) -> Segmentation:
    """A label per matched object, that of its partner in the best reference, at the image's size.

    The same labels belong to the reference's objects (:func:`reference_objects`), so that a pair
    has one colour; objects without a partner share the last label, ``"unmatched"``.
    """
    partner = best.found.partner
    return labelled(maps, partner, best.reference)


def reference_objects(best: Comparison) -> Segmentation:
    """The reference's objects under the labels of :func:`matched_objects`."""
    partner = np.arange(len(best.reference))
    partner[best.found.left_over] = -1
    return labelled(best.reference, partner, best.reference)


def on_grid(values: npt.NDArray[np.floating], size: tuple[int, int]) -> FloatMap:
    """A map ``(h, w)`` on another grid over the same image, bilinear."""
    if values.shape == size:
        return np.asarray(values, np.float32)
    small = torch.from_numpy(np.ascontiguousarray(values, np.float32))[None, None]
    return np.asarray(F.interpolate(small, size, mode="bilinear")[0, 0].numpy(), np.float32)


def labelled(
    maps: ObjectMaps, partner: npt.NDArray[np.integer], reference: ObjectMaps
) -> Segmentation:
    """Objects under the label of their partner ``(n,)`` in a reference; -1: unmatched."""
    names = ["background"]
    names += [f"{n}: {_name(reference, n - 1)}" for n in range(1, len(reference) + 1)]
    names.append(UNMATCHED)
    labels = np.zeros(maps.size, np.uint16)
    counts: dict[str, int] = {}
    for row in np.argsort(-maps.masks.sum((1, 2)).numpy(), kind="stable"):
        label = int(partner[row]) + 1 if partner[row] >= 0 else len(names) - 1
        large = on_grid(maps.masks[row].numpy(), maps.size)
        labels[large >= OWNED] = label
        counts[names[label]] = counts.get(names[label], 0) + 1
    order: Mapping[str, int] = {name: counts[name] for name in names if name in counts}
    return Segmentation(labels, names, order)


def _instead(gone: int, maps: ObjectMaps, best: Comparison, told: set[int]) -> int | None:
    """An extran object that stands where a missing one should."""
    rows = [
        row
        for row in np.flatnonzero(best.extra)
        if best.stands[row] == gone and int(row) not in told
    ]
    for row in rows:
        centres = maps.objects.places[row], best.reference.objects.places[gone]
        box = best.reference.objects.boxes[gone]
        side = float((box[2:] - box[:2]).max()) * 2 / max(best.reference.size)
        if float(np.linalg.norm(centres[0] - centres[1])) <= side:
            return int(row)
    return None


def _missing(gone: int, instead: int | None, maps: ObjectMaps, best: Comparison) -> Difference:
    name = _name(best.reference, gone)
    score = float(best.missing[gone])
    if instead is None:
        height, width = maps.size
        left, top, right, bottom = best.reference.box(gone)
        box: Box = (
            float(left * width), float(top * height), float(right * width), float(bottom * height)
        )  # fmt: skip
        text = f"missing: '{name}' of the shots has no like here"
        return Difference("missing", name, 1.0, 0.0, box, "matching", score, text)
    here, there = maps.objects.appearance[instead], best.reference.objects.appearance[gone]
    colour = float(np.linalg.norm((here - there)[list(COLOUR[:3])]))
    size = abs(float(here[SIZE] - there[SIZE]))
    other = _name(maps, instead)
    kind: Kind = "defect"
    text = f"a '{other}' stands where the shots have a '{name}'"
    if max(colour, size) >= CLEAR:
        kind = "recoloured" if colour >= size else "resized"
        word = "colour" if kind == "recoloured" else "size"
        text = f"'{name}' is of another {word}: a '{other}' is in its stead"
    score = max(score, float(best.extra[instead]))
    return _about(maps, instead, kind, None, None, score, text)


def _gone(row: int, place: ObjectScore, best: Comparison) -> float:
    """A missing object's place looks wrong, and nothing was found that could be it: both count.

    Nats and standard deviations are near enough to each other to be added.
    """
    z_score = place.z_score * float(best.reference.objects.objectness[row])
    return z_score + float(best.missing[row])


def _by_larger(difference: Difference, z_score: float) -> Difference:
    """The same thing may be seen by matching and by measurement: the clearer branch tells it.

    Nats and standard deviations are near enough to each other to be compared.
    """
    if z_score <= difference.score:
        return difference
    return replace(difference, branch="object", score=float(z_score))


def _belongs_elsewhere(row: int, comparisons: Sequence[Comparison]) -> bool:
    """Whether an object was matched with what lies in another place, in half of the references."""
    votes = 0
    for comparison in comparisons:
        nearest, stands = comparison.found.nearest[row], comparison.stands[row]
        votes += int(nearest >= 0 and nearest != stands)
    return 2 * votes > len(comparisons)


def _about(
    maps: ObjectMaps,
    row: int,
    kind: Kind,
    expected: float | None,
    observed: float | None,
    score: float,
    text: str,
) -> Difference:
    left, top, right, bottom = (float(value) for value in maps.objects.boxes[row])
    box: Box = (left, top, right, bottom)
    name = _name(maps, row)
    return Difference(kind, name, expected, observed, box, "matching", float(score), text)


def _name(maps: ObjectMaps, row: int) -> str:
    return describe(maps.objects.appearance[[row]])
