"""From (category, seed, split, type, index) to one rendered scene, without touching the disk."""

from __future__ import annotations

import numpy as np

from fmlad.datasets.scenes import (
    breakfast_box,
    juice_bottle,
    pushpins,
    screw_bag,
    splicing_connectors,
)
from fmlad.datasets.scenes.camera import camera
from fmlad.datasets.scenes.canvas import Stage
from fmlad.datasets.scenes.defects import damage
from fmlad.datasets.scenes.model import (
    Anomaly,
    CategorySpec,
    DefectKind,
    Mark,
    Scene,
    box_of,
    visible_objects,
)
from fmlad.errors import OptionError, UnknownNameError

SCENES_VERSION = "scenes-v1"

_SPECS = {
    spec.name: spec
    for spec in (
        breakfast_box.SPEC,
        juice_bottle.SPEC,
        pushpins.SPEC,
        screw_bag.SPEC,
        splicing_connectors.SPEC,
    )
}
SCENE_CATEGORIES: tuple[str, ...] = tuple(_SPECS)

# The folders that LOCO has, in the order in which they are written.
FOLDERS: tuple[tuple[str, str], ...] = (
    ("train", "good"),
    ("validation", "good"),
    ("test", "good"),
    ("test", "logical_anomalies"),
    ("test", "structural_anomalies"),
)


def scene_spec(category: str) -> CategorySpec:
    """Everything fixed about a category: size, parts, slots, defects.

    Raises:
        UnknownNameError: No such category.
    """
    if category not in _SPECS:
        raise UnknownNameError.of("scene category", category, SCENE_CATEGORIES)
    return _SPECS[category]


def render_scene(
    category: str,
    seed: int = 0,
    split: str = "train",
    type: str = "good",
    index: int = 0,
    *,
    defect: str | None = None,
) -> Scene:
    """Renders one scene and its annotations; its randomness hangs on these arguments alone.

    Args:
        category: One of `SCENE_CATEGORIES`.
        seed: Of all scenes, >= 0.
        split: `"train"`, `"validation"` or `"test"`.
        type: `"good"`, or `"logical_anomalies"` or `"structural_anomalies"` in the test split.
        index: Number of the image in its folder, from 0. The kinds of anomaly take turns by it.
        defect: A kind of anomaly by name instead of the one whose turn it is.

    Raises:
        UnknownNameError: No such category, folder or defect.
        OptionError: A negative seed or index, or a defect in a good image.
    """
    spec = scene_spec(category)
    if (split, type) not in FOLDERS:
        known = tuple("/".join(folder) for folder in FOLDERS)
        raise UnknownNameError.of("scene folder", f"{split}/{type}", known)
    if seed < 0 or index < 0:
        raise OptionError(f"seed={seed} and index={index} must both be 0 or more.")
    kind = _defect_kind(spec, type, index, defect)
    # The place in the fixed order, not Python's hash: the same stream in every process.
    stream = [
        seed,
        SCENE_CATEGORIES.index(category),
        FOLDERS.index((split, type)),
        index,
    ]
    rng = np.random.default_rng(stream)
    stage = Stage(rng, spec.width, spec.height)
    logical = kind.name if kind is not None and kind in spec.logical else None
    # Types take turns in the train split, so that any few shots in a row show all of them.
    mark = spec.build(stage, logical, index if split == "train" else None)
    if kind is not None and logical is None:
        mark = damage(stage, kind.name, spec.targets)
    return _finish(spec, stage, split, type, index, kind, mark)


def _defect_kind(
    spec: CategorySpec, type: str, index: int, defect: str | None
) -> DefectKind | None:
    if type == "good":
        if defect is not None:
            raise OptionError(
                f"A good scene has no defect, but defect={defect!r} was asked for; "
                'use type="logical_anomalies" or type="structural_anomalies" with split="test".'
            )
        return None
    kinds = spec.logical if type == "logical_anomalies" else spec.structural
    if defect is None:
        return kinds[index % len(kinds)]
    for kind in kinds:
        if kind.name == defect:
            return kind
    raise UnknownNameError.of(f"{type} defect", defect, [kind.name for kind in kinds])


def _finish(
    spec: CategorySpec,
    stage: Stage,
    split: str,
    type: str,
    index: int,
    kind: DefectKind | None,
    mark: Mark | None,
) -> Scene:
    image = camera(stage, stage.rng)
    anomaly = None
    mask = np.zeros((spec.height, spec.width), dtype=bool)
    if kind is not None and mark is not None:
        mask = mark.region
        anomaly = Anomaly(
            kind.kind, mark.part, mark.expected, mark.observed, box_of(mask), kind.name, mark.slot
        )
    return Scene(
        spec,
        split,
        type,
        index,
        image,
        stage.ids.astype(np.uint8),
        visible_objects(stage),
        anomaly,
        mask,
    )
