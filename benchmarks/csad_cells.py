"""CSAD's cells: segmenter and students trained apart, with raw scores and maps of every image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.csad_labels import best_iou
from benchmarks.csad_rows import PARTS, SETTINGS, SPREAD, STUDENTS, setting_name
from benchmarks.trained_scenes import NORMAL, Opened, Raw, fitted, halved
from fmlad.methods.csad.config import CANDIDATES, CsadConfig
from fmlad.methods.csad.localisation import Compared
from fmlad.methods.csad.method import Csad
from fmlad.methods.csad.patch_histogram import (
    chosen_grids,
    fitted_models,
    joint_distance,
    patch_histogram,
)
from fmlad.objects.instances import resized
from fmlad.views import ImageView


def parts_cell(of: Opened, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Scores of every setting of the histograms by group, and maps of the method's own."""
    unlike, true = PARTS[name]
    changes = {group: {**dict(options.get(group, {})), **o} for group, o in unlike.items()}
    config = CsadConfig(**{**options, **changes, "branches": ("histogram",)})
    whole, aside = fitted(of, Csad(config), true)
    own: Any = whole.state.histograms
    classes = own.segmenter.classes

    def labels(views: Sequence[ImageView]) -> list[Any]:
        found = []
        for view in views:
            found.append(own.segmenter.predict_maps(whole.state.encoder.levels(view)))
            view.release()
        return found

    apart = {id(view) for view in aside}
    train = labels([view for view in of.train if id(view) not in apart])
    maps = {NORMAL: labels(aside), **{group: labels(views) for group, views in of.tests.items()}}
    spread = chosen_grids(train, classes, CANDIDATES)
    scores: dict[str, Raw] = {group: {} for group in maps}
    for grids, joined in SETTINGS:
        cells: Any = spread if grids == SPREAD else dict.fromkeys(grids)
        models = fitted_models(train, maps[NORMAL], classes, cells, config.inverse, joined)
        for group, found in maps.items():
            scores[group][setting_name(grids, joined)] = [
                joint_distance(models, one, classes, joined) for one in found
            ]
    painted = {
        group: [_painted(one, own, config) for one in found] for group, found in maps.items()
    }
    true_aside = [of.labels[row] for row, view in enumerate(of.train) if id(view) in apart]
    sized = [resized(one, maps[NORMAL][0].shape) for one in true_aside]
    return {
        "classes": classes,
        "grids": {str(grid): int(counted.sum()) for grid, counted in spread.items()},
        "IoU": best_iou(maps[NORMAL], sized),
        "scores": scores,
        "maps": painted,
    }


def _painted(labels: Any, own: Any, config: CsadConfig) -> Any:
    """Map of the branch, as the method makes it."""
    classes = own.segmenter.classes
    nearest = own.nearest(patch_histogram(labels, classes, 1))
    score = joint_distance(own.models, labels, classes, config.joint)
    small = resized(labels, nearest.shape)
    return Compared.of(small, nearest, score, own.models, classes).painted().astype(np.float16)


def students_cell(of: Opened, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Scores and maps of the students, by group."""
    students = {**dict(options.get("students", {})), **STUDENTS[name]}
    config = CsadConfig(**{**options, "branches": ("students",), "students": students})
    whole, aside = fitted(of, Csad(config))
    scores: dict[str, Raw] = {}
    maps: dict[str, list[Any]] = {}
    for group, views in {NORMAL: aside, **of.tests}.items():
        found = [whole.method.evidence(view, whole.state) for view in views]
        scores[group] = {"students": [one.scores["students"] for one in found]}
        maps[group] = [halved(one.maps["students"]) for one in found]
        for view in views:
            view.release()
    return {"scores": scores, "maps": maps}
