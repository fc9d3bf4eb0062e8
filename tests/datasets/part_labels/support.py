"""Small images and labels as people have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fmlad.datasets.annotations import image_size
from fmlad.datasets.part_labels import Shot

SIZE = (20, 30)  # height, width


def shot(path: Path, size: tuple[int, int] = SIZE, orientation: int | None = None) -> Shot:
    """Writes an image and gives it as a shot, of the size that it is seen in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.full((*size, 3), 120, np.uint8))
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.save(path, exif=exif)
    return Shot(str(path), path, image_size(path))


def label(path: Path, values: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    image.save(path, **options)
    return path


def numbers(*boxes: tuple[int, int, int, int, int], size: tuple[int, int] = SIZE) -> np.ndarray:
    """uint8 label of boxes ``(class, x1, y1, x2, y2)``."""
    found = np.zeros(size, np.uint8)
    for value, x1, y1, x2, y2 in boxes:
        found[y1:y2, x1:x2] = value
    return found


def write_json(path: Path, data: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")
    return path
