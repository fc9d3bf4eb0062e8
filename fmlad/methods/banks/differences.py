"""From deviations of parts to differences, each with a name, a box and its place on the map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from fmlad.findings import Box, Kind
from fmlad.memory.change import changed
from fmlad.methods.banks.config import BOUNDS
from fmlad.methods.banks.object_memory import Framed
from fmlad.methods.banks.parts_model import LEAST, Deviation
from fmlad.methods.protocol import Difference
from fmlad.objects.appearance import COLOUR, SIZE, MaskedObjects
from fmlad.objects.arrays import Bools, Floats, Ints
from fmlad.objects.instances import as_box, resized
from fmlad.objects.names import describe
from fmlad.objects.parts import UNKNOWN
from fmlad.prediction import Segmentation

FINER = 0.4  # share of a coarser level's score from which a finer level replaces it
SHARED = 0.5  # share of common objects from which two deviations are one difference
BESIDE = 1.0  # distance between box centres, in box sizes, up to which two boxes are one place
CLEAR = 1.0  # units of appearance from which a replaced object is recoloured or resized
HOLDER = 0.25  # share of the image from which an object is painted only when alone
SURE = 0.5  # objectness from which an object is part of the segmentation
MOST = 20  # differences reported at most


@dataclass(frozen=True)
class Scene:
    """An image with its objects, placed in the frame of the shots.

    Attributes:
        seen: Its objects and their masks.
        framed: The parts of the shots.
        transform: ``(2, 3)`` from its positions to the common frame; None without one.
        size: Height and width in pixels.
    """

    seen: MaskedObjects
    framed: Framed
    transform: Floats | None
    size: tuple[int, int]

    @cached_property
    def owners(self) -> Ints:
        """Group of each object at each level, ``(levels, n)``."""
        return self.framed.model.parts.assign(self.seen.objects)

    def boxes(self, deviation: Deviation) -> Floats:
        """Boxes ``(n, 4)`` of what is concerned: present objects, then places of absent ones."""
        present = self.seen.objects.boxes[list(deviation.rows)].reshape(-1, 4)
        if deviation.kind in ("misplaced", "resized"):
            return present
        return np.concatenate([present, self.boxes_of_absent(deviation.absent)])

    def boxes_of_absent(self, points: Sequence[int]) -> Floats:
        """Boxes ``(n, 4)`` of some objects of the shots, moved into this image."""
        longer = max(self.size)
        half = np.array([self.size[1], self.size[0]]) / longer
        found = [self.framed.box_in(point, self.transform, half, longer) for point in points]
        return np.reshape(np.array(found, dtype=np.float64), (-1, 4))


def differences(deviations: Sequence[Deviation], scene: Scene) -> list[Difference]:
    """Differences, highest score first; deviations about the same objects become one."""
    kept: list[Deviation] = []
    left = [deviation for deviation in deviations if deviation.reported]
    # Banks have units of their own: their least scales make them comparable.
    left.sort(key=lambda deviation: -deviation.score / BOUNDS[deviation.branch][0])
    while left and len(kept) < MOST:
        first = left[0]
        same = [d for d in left if d is first or _about_the_same(d, first, scene)]
        able = [d for d in same if d.branch == first.branch and d.score >= FINER * first.score]
        able = able or [first]
        # The finest level gives the name, the highest score stays.
        named = min(able, key=lambda d: (d.group is None, d.level))
        kept.append(replace(named, score=first.score))
        left = [d for d in left if not any(d is other for other in same)]
    return _paired(kept, scene)


def paint(
    deviations: Sequence[Deviation], scene: Scene, size: tuple[int, int], branch: str
) -> npt.NDArray[np.float32]:
    """Map ``(h, w)`` of one branch: each place has the highest score of its deviations."""
    result = np.zeros(size, np.float32)
    for deviation in reversed(deviations):
        if deviation.branch != branch:
            continue
        for row in _contents(deviation.rows, scene):
            _raise(result, resized(scene.seen.masks[row], size), deviation.score)
            box = scene.seen.objects.boxes[row]
            _raise(result, _ellipse(box, scene.size, size, 0.5), deviation.score)
        if deviation.kind == "missing":
            for box in scene.boxes(deviation):
                _raise(result, _ellipse(box, scene.size, size, 1.0), deviation.score)
    return result


def _contents(rows: Sequence[int], scene: Scene) -> list[int]:
    """Objects of a deviation without large ones that may hold the others."""
    small = [row for row in rows if scene.seen.masks[row].mean() < HOLDER]
    return small or list(rows)


def segmentation(scene: Scene) -> Segmentation:
    """Parts at the level that names them, at the image's size."""
    model, seen = scene.framed.model, scene.seen
    level = model.naming_level()
    numbers = [i for i, group in enumerate(model.parts.groups) if group.level == level]
    names = ["background", *(model.names[i] for i in numbers), "other", "unknown"]
    owner = scene.owners[level]
    labels = np.zeros(scene.size, np.uint16)
    counts = dict.fromkeys(names[1:], 0)
    areas = seen.masks.sum(axis=(1, 2)) if len(seen.masks) else np.zeros(0)
    for row in np.argsort(-areas, kind="stable"):
        if seen.objects.objectness[row] < SURE:
            continue
        if owner[row] in numbers:
            label = 1 + numbers.index(int(owner[row]))
        else:
            label = len(names) - (1 if owner[row] == UNKNOWN else 2)
        # A gap between objects of one part keeps them separate.
        place, mask, around = _enlarged(seen.masks[row], scene.size)
        local = labels[place]
        local[around & (local == label)] = 0
        local[mask] = label
        counts[names[label]] += 1
    kept = {name: n for name, n in counts.items() if n or name not in ("other", "unknown")}
    return Segmentation(labels, names, kept)


def _enlarged(mask: Bools, size: tuple[int, int]) -> tuple[tuple[slice, slice], Bools, Bools]:
    """A mask at another size ``(height, width)``, its outline smooth.

    Returns:
        Rows and columns that hold it there, the mask within them, and with a cell around it.
    """
    from PIL import Image
    from scipy.ndimage import binary_dilation

    wide = np.zeros_like(mask)
    inside, part = [], []
    for axis, length in enumerate(size):
        cells = mask.shape[axis]
        there = np.flatnonzero(mask.any(1 - axis))
        low, high = (int(there[0]), int(there[-1]) + 1) if len(there) else (0, 0)
        inside.append(slice(max(low - 1, 0), high + 1))
        # Two cells around it and two pixels, so that nothing outside changes it.
        scale = length / cells
        start = max(0, int((low - 2) * scale) - 2)
        part.append((start, min(length, max(start + 1, int((high + 2) * scale) + 3)), 1 / scale))
    where = (inside[0], inside[1])
    wide[where] = binary_dilation(mask[where])
    (top, bottom, down), (left, right, across) = part
    corner = min(right * across, mask.shape[1]), min(bottom * down, mask.shape[0])
    box = (left * across, top * down, *corner)
    found = []
    for one in (mask, wide):
        picture = Image.fromarray(one.view(np.uint8) * 255)
        large = picture.resize((right - left, bottom - top), Image.Resampling.BILINEAR, box)
        found.append(np.asarray(np.asarray(large) > 127, dtype=bool))
    return (slice(top, bottom), slice(left, right)), found[0], found[1]


def _about_the_same(one: Deviation, other: Deviation, scene: Scene) -> bool:
    if max(_overlap(one.rows, other.rows), _overlap(one.absent, other.absent)) >= SHARED:
        return True
    if one.group is None or other.group is None or one.kind != other.kind:
        return False
    groups = scene.framed.model.parts.groups
    return _overlap(groups[one.group].members, groups[other.group].members) >= SHARED


def _overlap(one: Sequence[int] | Ints, other: Sequence[int] | Ints) -> float:
    """Common share of the smaller set, in [0, 1]."""
    if len(one) == 0 or len(other) == 0:
        return 0.0
    return len(np.intersect1d(one, other)) / min(len(one), len(other))


def _paired(deviations: list[Deviation], scene: Scene) -> list[Difference]:
    """A missing and an extra object in its place, or similar to it, are one replaced object.

    So are a missing one and one in its place whose size or colour goes with nothing in the shots.
    """
    found: list[Difference] = []
    used: set[int] = set()
    for number, missing in enumerate(deviations):
        if missing.kind != "missing" or not missing.absent or number in used:
            continue
        for index, extra in enumerate(deviations):
            another = extra.kind == "extra" and extra.rows
            changed_one = extra.branch == "combination" and len(extra.rows) == 1
            if not (another or changed_one) or index in used or number in used:
                continue
            kind = _replaced(missing, extra, scene)
            if kind is not None:
                used |= {number, index}
                found.append(_difference(missing, scene, kind, extra))
    found += [
        _difference(deviation, scene, deviation.kind, None)
        for number, deviation in enumerate(deviations)
        if number not in used
    ]
    return sorted(found, key=lambda difference: -difference.score)


def _replaced(missing: Deviation, extra: Deviation, scene: Scene) -> Kind | None:
    """How an extra object differs from the missing one it replaces; None if it does not."""
    parts = scene.framed.model.parts
    gone = parts.appearance[list(missing.absent)].mean(0)
    here = scene.seen.objects.appearance[list(extra.rows)].mean(0)
    colour = float(np.linalg.norm((here - gone)[list(COLOUR[:3])]))
    size = abs(float(here[SIZE] - gone[SIZE]))
    in_place = scene.transform is not None and _in_place(missing, extra, scene)
    if in_place or (colour < CLEAR) != (size < CLEAR):
        if colour >= max(CLEAR, size):
            return "recoloured"
        if size >= CLEAR:
            return "resized"
    return None


def _in_place(missing: Deviation, extra: Deviation, scene: Scene) -> bool:
    first = scene.boxes(missing)[0]
    second = scene.seen.objects.boxes[extra.rows[0]]
    gap = np.abs((first[:2] + first[2:]) - (second[:2] + second[2:])) / 2
    size = np.maximum(first[2:] - first[:2], second[2:] - second[:2])
    return bool((gap <= BESIDE * size).all())


def _difference(
    deviation: Deviation, scene: Scene, kind: Kind, instead: Deviation | None
) -> Difference:
    model, group = scene.framed.model, deviation.group
    expected, observed = deviation.expected, deviation.observed
    if observed is not None and kind in ("missing", "extra"):
        observed = float(round(observed))
    score = deviation.score
    if instead is not None and instead.branch == deviation.branch:  # else in other units
        score = max(score, instead.score)
    boxes = _as_boxes(scene.boxes(instead or deviation))
    rows = list(deviation.rows if instead is None else instead.rows)
    words = describe(scene.seen.objects.appearance[rows]) if rows else ""
    reason = ""
    if instead is None and deviation.branch == "combination":
        what = "colour" if kind == "recoloured" else "size and proportions"
        reason = f"its {what} do not go with the rest as in the normal images"
    elif instead is None and kind == "recoloured":
        reason = "it does not look as in the normal images"
    return Difference(
        branch=deviation.branch,
        score=score,
        kind=kind,
        part=None if group is None else model.names[group],
        description=words if group is None else model.descriptions[group],
        expected=None if instead else expected,
        observed=None if instead else observed,
        measure="ratio" if kind == "resized" else "count",
        boxes=boxes,
        peers=() if kind in ("extra", "misplaced") else _peers(deviation, scene, boxes),
        instead=f"a {words} one" if instead is not None and words else "",
        reason=reason,
    )


def _peers(deviation: Deviation, scene: Scene, boxes: Sequence[Box]) -> tuple[Box, ...]:
    """Where all objects of the form of the deviation's part lie, or should.

    A person counts rows of pins, not of yellow pins.
    """
    if deviation.group is None or not len(scene.seen.objects):
        return ()
    parts = scene.framed.model.parts
    forms = [number for number, level in enumerate(parts.levels) if level.facet == "form"]
    level, owner = deviation.level, deviation.group
    if forms:
        owners = parts.levels[forms[-1]].owner[parts.groups[deviation.group].members]
        owners = owners[owners >= 0]
        if len(owners):
            level, owner = forms[-1], int(np.bincount(owners).argmax())
    here = scene.owners[level] == owner
    present = _as_boxes(scene.seen.objects.boxes[here])
    return (*present, *(box for box in boxes if box not in present))


def _as_boxes(boxes: Floats) -> tuple[Box, ...]:
    return tuple(as_box(box) for box in boxes)


def _raise(target: npt.NDArray[np.float32], where: Bools, value: float) -> None:
    target[where] = np.maximum(target[where], np.float32(value))


def _ellipse(box: Floats, image: tuple[int, int], size: tuple[int, int], scale: float) -> Bools:
    """The ellipse in a box of an image, on a grid ``size`` over it; at least one cell."""
    unit = np.array([size[1] / image[1], size[0] / image[0]])
    low, high = box[:2] * unit, box[2:] * unit
    centre, radius = (low + high) / 2, np.maximum((high - low) / 2 * scale, 0.71)
    y, x = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    squares = ((x - centre[0]) / radius[0]) ** 2 + ((y - centre[1]) / radius[1]) ** 2
    return np.asarray(squares <= 1, dtype=bool)


def confirmed(
    deviations: Sequence[Deviation], scene: Scene, patches: npt.NDArray[np.float32], alone: bool
) -> list[Deviation]:
    """Deviations without those objects whose patches did not change, the largest first.

    ``patches`` and ``alone`` as in :func:`fmlad.memory.change.changed`.
    """
    kept = []
    for deviation in deviations:
        if deviation.branch == "combination":  # of patches that the shots have, each for itself
            kept.append(deviation)
            continue
        rows = list(deviation.rows)
        present = changed(scene.seen.objects.boxes[rows], scene.size, patches, alone)
        absent = changed(scene.boxes_of_absent(deviation.absent), scene.size, patches, alone)
        sure = np.concatenate([present, absent])
        if len(sure):
            deviation = replace(
                deviation,
                rows=tuple(row for row, c in zip(rows, present, strict=True) if c > 0),
                absent=tuple(a for a, c in zip(deviation.absent, absent, strict=True) if c > 0),
                score=deviation.score * float(sure.mean()),
            )
        if deviation.score > LEAST:
            kept.append(deviation)
    return sorted(kept, key=lambda deviation: -deviation.score)
