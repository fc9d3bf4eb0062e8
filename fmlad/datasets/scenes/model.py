"""What is known about a scene: its objects, its one anomaly, and the mask that scores it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from fmlad.datasets.scenes.canvas import Bools, Stage

Box = tuple[int, int, int, int]

FINDING_KINDS = ("missing", "extra", "misplaced", "resized", "recoloured", "defect")


@dataclass(frozen=True)
class DefectKind:
    """One way to be wrong, as `defects_config.json` lists it.

    Attributes:
        name: Its name, snake case.
        kind: The kind of finding, one of `FINDING_KINDS`.
        saturation: Pixels of the mask that suffice, or a share of it if `relative`.
        relative: Whether `saturation` is a share.
    """

    name: str
    kind: str
    saturation: float = 1.0
    relative: bool = True


@dataclass(frozen=True)
class Mark:
    """A category's note of the anomaly that it has just built.

    Attributes:
        region: (H, W) bool, the pixels that count as anomalous by the rules in `docs/scenes.md`.
        part: The part concerned.
        expected: How many of it there should be (in `slot`, if given); None where no count is.
        observed: How many there are.
        slot: The place concerned.
    """

    region: Bools
    part: str
    expected: int | None
    observed: int | None
    slot: str | None = None


@dataclass(frozen=True)
class Anomaly:
    """The one thing wrong with a scene; `kind` is the vocabulary of `Finding.kind`."""

    kind: str
    part: str
    expected: int | None
    observed: int | None
    box: Box
    name: str
    slot: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "kind": self.kind,
            "part": self.part,
            "expected": self.expected,
            "observed": self.observed,
            "box": list(self.box),
            "name": self.name,
            "slot": self.slot,
        }


@dataclass(frozen=True)
class SceneObject:
    """One visible object: `id` is its value in the instance map, `box` xyxy pixels."""

    id: int
    kind: str
    slot: str | None
    box: Box
    area: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "id": self.id,
            "kind": self.kind,
            "slot": self.slot,
            "box": list(self.box),
            "area": self.area,
        }


@dataclass(frozen=True)
class CategorySpec:
    """A category: its size, its words, its ways to be wrong, and who paints it.

    Attributes:
        name: Its name.
        width: Pixels.
        height: Pixels.
        parts: Names of the kinds of objects; label i + 1 in the part maps.
        slots: (part, slot) pairs; label i + 1 in the slot maps.
        logical: Ways to break the rule.
        structural: Ways to be damaged.
        targets: The parts that damage may hit.
        build: Paints a scene. Takes the stage, the name of a logical defect or None, and the
            product variant (any integer >= 0, taken modulo the number of types) or None for a
            random one. Returns the mark of the anomaly, None for a normal scene.
    """

    name: str
    width: int
    height: int
    parts: tuple[str, ...]
    slots: tuple[tuple[str, str | None], ...]
    logical: tuple[DefectKind, ...]
    structural: tuple[DefectKind, ...]
    targets: tuple[str, ...]
    build: Callable[[Stage, str | None, int | None], Mark | None]

    def defects_config(self) -> list[dict[str, Any]]:
        """The content of `defects_config.json`: one distinct pixel value per defect, from 255."""
        return [
            {
                "defect_name": defect.name,
                "pixel_value": 255 - index,
                "saturation_threshold": defect.saturation
                if defect.relative
                else round(defect.saturation),
                "relative_saturation": defect.relative,
            }
            for index, defect in enumerate((*self.logical, *self.structural))
        ]

    def pixel_value(self, name: str) -> int:
        """Value of a defect in the ground-truth masks."""
        names = [defect.name for defect in (*self.logical, *self.structural)]
        return 255 - names.index(name)


@dataclass(frozen=True)
class Scene:
    """One rendered image with all that is true of it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        instances: (H, W) uint8, 0 = background, else the `id` of the object on top.
        objects: The visible objects, by id.
        anomaly: What is wrong, None for a normal scene.
        mask: (H, W) bool, the anomalous pixels; all False for a normal scene.
    """

    spec: CategorySpec
    split: str
    type: str
    index: int
    image: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.uint8]
    objects: tuple[SceneObject, ...]
    anomaly: Anomaly | None
    mask: Bools

    @property
    def stem(self) -> str:
        """File name without its ending."""
        return f"{self.index:03d}"

    def part_map(self) -> npt.NDArray[np.uint8]:
        """(H, W) uint8: 0 = background, else 1 + index into the category's parts."""
        table = np.zeros(256, dtype=np.uint8)
        for item in self.objects:
            table[item.id] = 1 + self.spec.parts.index(item.kind)
        return np.asarray(table[self.instances])

    def slot_map(self) -> npt.NDArray[np.uint8]:
        """(H, W) uint8: 0 = background, else 1 + index into the (part, slot) pairs."""
        table = np.zeros(256, dtype=np.uint8)
        for item in self.objects:
            table[item.id] = 1 + self.spec.slots.index((item.kind, item.slot))
        return np.asarray(table[self.instances])

    def sidecar(self) -> dict[str, Any]:
        """The content of the object file, JSON-ready."""
        return {
            "image": f"{self.split}/{self.type}/{self.stem}.png",
            "size": [self.spec.width, self.spec.height],
            "objects": [item.to_dict() for item in self.objects],
            "anomaly": None if self.anomaly is None else self.anomaly.to_dict(),
        }


def box_of(mask: Bools) -> Box:
    """The xyxy box about the True pixels of an (H, W) mask, (0, 0, 0, 0) if there is none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return (0, 0, 0, 0)
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def visible_objects(stage: Stage) -> tuple[SceneObject, ...]:
    """The objects that still own pixels, with the box and area of what is seen of them."""
    areas = np.bincount(stage.ids.ravel(), minlength=len(stage.objects) + 1)
    found = ndimage.find_objects(stage.ids, max_label=len(stage.objects))
    objects = []
    for placed, slices in zip(stage.objects, found, strict=True):
        if slices is None:
            continue
        rows, columns = slices
        box = (int(columns.start), int(rows.start), int(columns.stop), int(rows.stop))
        area = int(areas[placed.ident])
        objects.append(SceneObject(placed.ident, placed.part, placed.slot, box, area))
    return tuple(objects)
