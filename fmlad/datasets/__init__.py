"""Datasets: synthetic ones rendered by this package, and real layouts on disk."""

from typing import TYPE_CHECKING, Any

from fmlad.datasets.catalogue import categories, list_datasets, load, subtypes
from fmlad.datasets.digit_anatomy import DIGIT_ANOMALIES, DIGITS_VERSION, make_digits, render_digits
from fmlad.datasets.model import Annotation, Dataset, Sample

if TYPE_CHECKING:
    from fmlad.datasets.part_labels import PartLabels, read_part_labels
    from fmlad.datasets.scenes import SCENE_CATEGORIES, SCENES_VERSION, make_scenes, render_scene

__all__ = [
    "DIGITS_VERSION",
    "DIGIT_ANOMALIES",
    "SCENES_VERSION",
    "SCENE_CATEGORIES",
    "Annotation",
    "Dataset",
    "PartLabels",
    "Sample",
    "categories",
    "list_datasets",
    "load",
    "make_digits",
    "make_scenes",
    "read_part_labels",
    "render_digits",
    "render_scene",
    "subtypes",
]


def __getattr__(name: str) -> Any:
    """Imports the scenes when they are asked for, since they need scipy; and part labels."""
    if name not in __all__:
        raise AttributeError(f"module 'fmlad.datasets' has no attribute {name!r}")
    if name in ("PartLabels", "read_part_labels"):
        from fmlad.datasets import part_labels

        return getattr(part_labels, name)
    from fmlad.datasets import scenes

    return getattr(scenes, name)


def __dir__() -> list[str]:
    return __all__
