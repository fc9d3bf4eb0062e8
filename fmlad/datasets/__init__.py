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
    "make_digits": "fmlad.datasets.digit_anatomy",
    "make_scenes": "fmlad.datasets.scenes",
    "render_digits": "fmlad.datasets.digit_anatomy",
    "render_scene": "fmlad.datasets.scenes",
}

__all__ = [
    "DIGITS_VERSION",
    "DIGIT_ANOMALIES",
    "SCENES_VERSION",
    "SCENE_CATEGORIES",
    "make_digits",
    "make_scenes",
    "render_digits",
    "render_scene",
]

if TYPE_CHECKING:
    from fmlad.datasets.digit_anatomy import (
        DIGIT_ANOMALIES,
        DIGITS_VERSION,
        make_digits,
        render_digits,
    )
    from fmlad.datasets.scenes import (
        SCENE_CATEGORIES,
        SCENES_VERSION,
        make_scenes,
        render_scene,
    )


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fmlad.datasets' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
