"""Mean and std of RGB by which a network's pixels are normalised, as its own folder says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

from fmlad.backbones.hub import loading, unavailable

RGB: TypeAlias = tuple[float, float, float]
Colours: TypeAlias = tuple[RGB, RGB]  # of pixels in [0, 1]


def colours(mean: Any, std: Any, where: object, source: str, family: str) -> Colours:
    """Mean and std, three numbers each; WeightsUnavailableError, naming ``where``, without them."""
    try:
        (r, g, b), (sr, sg, sb) = (map(float, values) for values in (mean, std))
    except (TypeError, ValueError):
        sr = sg = sb = 0.0
    if min(sr, sg, sb) <= 0:
        why = f"{where} does not say the mean and std of the pixels it was trained on"
        raise unavailable(source, why, family)
    return (r, g, b), (sr, sg, sb)


def preprocessor_colours(
    folder: Path, source: str, family: str, default: Colours | None = None
) -> Colours:
    """From the preprocessor's file; newer folders nest it in the processor's.

    Args:
        folder: A model's, as transformers saves it.
        source: As users wrote it, for the messages.
        family: The backbone's prefix, likewise.
        default: Where there is no such file; None: that is an error.

    Raises:
        WeightsUnavailableError: They are not there, or cannot be read.
    """
    path, nested = folder / "preprocessor_config.json", folder / "processor_config.json"
    if not path.is_file() and nested.is_file():
        path = nested
    if default is not None and not path.is_file():
        return default
    found = read_json(path, source, family) if path.is_file() else {}
    found = found.get("image_processor") or found
    return colours(found.get("image_mean"), found.get("image_std"), path, source, family)


def read_json(path: Path, source: str, family: str) -> dict[str, Any]:
    """A JSON object from a model folder; WeightsUnavailableError where there is none."""
    with loading(source, path, family):
        return dict(json.loads(path.read_text(encoding="utf-8")))
