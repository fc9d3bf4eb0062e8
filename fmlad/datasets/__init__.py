"""Datasets: sample worlds made by the program, and real layouts on disk."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Public name -> module that defines it; imported on first use.
_HOMES = {
    "DIGITS_VERSION": "fmlad.datasets.digit_anatomy",
    "DIGIT_ANOMALIES": "fmlad.datasets.digit_anatomy",
    "SCENES_VERSION": "fmlad.datasets.scenes",
    "SCENE_CATEGORIES": "fmlad.datasets.scenes",
    "Dataset": "fmlad.datasets.model",
    "Sample": "fmlad.datasets.model",
    "Truth": "fmlad.datasets.model",
    "categories": "fmlad.datasets.catalogue",
    "list_datasets": "fmlad.datasets.catalogue",
    "load": "fmlad.datasets.catalogue",
    "make_digits": "fmlad.datasets.digit_anatomy",
    "make_scenes": "fmlad.datasets.scenes",
    "render_digits": "fmlad.datasets.digit_anatomy",
    "render_scene": "fmlad.datasets.scenes",
    "subtypes": "fmlad.datasets.catalogue",
}

__all__ = [
    "DIGITS_VERSION",
    "DIGIT_ANOMALIES",
    "SCENES_VERSION",
    "SCENE_CATEGORIES",
    "Dataset",
    "Sample",
    "Truth",
    "categories",
    "list_datasets",
    "load",
    "make_digits",
    "make_scenes",
    "render_digits",
    "render_scene",
    "subtypes",
]

if TYPE_CHECKING:
    from fmlad.datasets.catalogue import categories, list_datasets, load, subtypes
    from fmlad.datasets.digit_anatomy import (
        DIGIT_ANOMALIES,
        DIGITS_VERSION,
        make_digits,
        render_digits,
    )
    from fmlad.datasets.model import Dataset, Sample, Truth
    from fmlad.datasets.scenes import SCENE_CATEGORIES, SCENES_VERSION, make_scenes, render_scene


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fmlad.datasets' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
