"""A handful of normal images in; whether a new image is wrong, where, and what, out.

>>> import fmlad
>>> detector = fmlad.Detector.from_shots("normal_images/", profile="builtin")  # doctest: +SKIP
>>> print(detector.predict("query.jpg").explain())  # doctest: +SKIP

Everything is imported on first use, so that ``import fmlad`` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fmlad._version import __version__

# Public name -> module that defines it. A module of its own name stands for itself.
_HOMES = {
    "Detector": "fmlad.detector",
    "Failure": "fmlad.prediction",
    "Finding": "fmlad.findings",
    "Prediction": "fmlad.prediction",
    "PromptSet": "fmlad.prompts",
    "Segmentation": "fmlad.prediction",
    "list_backbones": "fmlad.profiles",
    "list_methods": "fmlad.methods.registry",
    "list_profiles": "fmlad.profiles",
    "list_prompt_sets": "fmlad.prompts",
    "look": "fmlad.backbone_outputs",
    "to_frame": "fmlad.table",
}
_MODULES = ("bench", "datasets", "errors", "metrics")

__all__ = [
    "Detector",
    "Failure",
    "Finding",
    "Prediction",
    "PromptSet",
    "Segmentation",
    "__version__",
    "bench",
    "datasets",
    "errors",
    "list_backbones",
    "list_methods",
    "list_profiles",
    "list_prompt_sets",
    "look",
    "metrics",
    "to_frame",
]

if TYPE_CHECKING:
    from fmlad import bench, datasets, errors, metrics
    from fmlad.backbone_outputs import look
    from fmlad.detector import Detector
    from fmlad.findings import Finding
    from fmlad.methods.registry import list_methods
    from fmlad.prediction import Failure, Prediction, Segmentation
    from fmlad.profiles import list_backbones, list_profiles
    from fmlad.prompts import PromptSet, list_prompt_sets
    from fmlad.table import to_frame


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"fmlad.{name}")
    else:
        raise AttributeError(f"module 'fmlad' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
