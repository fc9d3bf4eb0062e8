"""Scenes: procedural images whose rules and annotations are known, `scenes-v1`.

Five categories after MVTec LOCO's, rendered from nothing but random numbers; see `docs/scenes.md`.
"""

from fmlad.datasets.scenes.model import Anomaly, CategorySpec, DefectKind, Scene, SceneObject
from fmlad.datasets.scenes.render import (
    FOLDERS,
    SCENE_CATEGORIES,
    SCENES_VERSION,
    render_scene,
    scene_spec,
)
from fmlad.datasets.scenes.sheet import contact_sheet, outlined
from fmlad.datasets.scenes.write import DEFAULT_COUNTS, make_scenes

__all__ = [
    "DEFAULT_COUNTS",
    "FOLDERS",
    "SCENES_VERSION",
    "SCENE_CATEGORIES",
    "Anomaly",
    "CategorySpec",
    "DefectKind",
    "Scene",
    "SceneObject",
    "contact_sheet",
    "make_scenes",
    "outlined",
    "render_scene",
    "scene_spec",
]
