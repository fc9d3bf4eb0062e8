"""labelme: a JSON file an image, with polygons and other shapes."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, FiniteFloat, ValidationError

from fmlad.datasets.part_labels.classes import find_classes
from fmlad.datasets.part_labels.model import Reading, Shot, Size, some
from fmlad.datasets.part_labels.shapes import (
    Bools,
    Drawing,
    Point,
    Shape,
    circle,
    painted,
    polygon,
    rectangle,
)
from fmlad.errors import OptionError

_IGNORED = "__ignore__"
_CORNERS = {"rectangle": 2, "circle": 2, "mask": 2}
_WITHOUT_AREA = ("line", "linestrip", "point", "points")


class _ShapeJson(BaseModel):
    label: str
    points: list[tuple[FiniteFloat, FiniteFloat]]
    shape_type: str | None = "polygon"
    mask: str | None = None


class _FileJson(BaseModel):
    shapes: list[_ShapeJson]
    imagePath: str | None = None
    imageHeight: int | None = None
    imageWidth: int | None = None


def is_labelme(data: Any) -> bool:
    """Whether a JSON file's content is labelme's."""
    return isinstance(data, Mapping) and "shapes" in data


def image_of(data: Mapping[str, Any]) -> str:
    """File name of the image that was drawn on, or ""."""
    path = data.get("imagePath")
    return PureWindowsPath(path).name if isinstance(path, str) else ""


def read_labelme(
    folder: Path, files: Mapping[Path, Mapping[str, Any]], shots: Sequence[Shot]
) -> Reading:
    """Labels from labelme's files, by their own names or else the names of their images.

    Shapes are painted in the order of the file: later ones lie on top. ``labels.txt`` (or another
    file of class names beside them) says which classes there are and in which order; without it,
    classes are those that are drawn, in order of name.

    Args:
        folder: For messages, and where class names may lie.
        files: JSON content of each file.
        shots: The shots.
    """
    source = f"labelme files in {folder}"
    reading = Reading(source, [None] * len(shots))
    try:
        classes = find_classes(folder)
    except OptionError as error:
        reading.problems.append(str(error))
        return reading
    drawings: list[Drawing | None] = [None] * len(shots)
    used: set[Path] = set()
    for index, shot in enumerate(shots):
        found = _of_shot(shot, files)
        used |= set(found)
        if len(found) > 1:
            reading.problems.append(
                f"{shot.name} has {len(found)} labels, {some(found)}; keep one of them."
            )
        elif found:
            try:
                drawings[index] = _drawing(found[0], files[found[0]])
            except OptionError as error:
                reading.problems.append(str(error))
    names = None if classes is None else classes.names
    where = f"the {source}" if classes is None else classes.file
    more = painted(source, drawings, shots, names, where)
    more.by_stem = True
    more.problems = [*reading.problems, *more.problems]
    more.spare = [path.name for path in files if path not in used]
    return more


def _of_shot(shot: Shot, files: Mapping[Path, Mapping[str, Any]]) -> list[Path]:
    if shot.path is None:
        return []
    name, stem = shot.path.name.casefold(), shot.path.stem.casefold()
    own = [path for path in files if path.stem.casefold() == stem]
    return own or [path for path, data in files.items() if image_of(data).casefold() == name]


def _drawing(file: Path, data: Mapping[str, Any]) -> Drawing:
    try:
        content = _FileJson.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise OptionError(
            f"{file} is no labelme file: {place}: {first['msg']}. Save it with labelme again."
        ) from error
    shapes = [_shape(file, n, one) for n, one in enumerate(content.shapes, start=1)]
    high, wide = content.imageHeight, content.imageWidth
    size = (high, wide) if high is not None and wide is not None else None
    return Drawing(file, size, shapes)


def _shape(file: Path, number: int, one: _ShapeJson) -> Shape:
    kind, points = one.shape_type or "polygon", one.points
    what = f"shape {number} ({one.label!r})"
    if kind in _WITHOUT_AREA:
        raise OptionError(
            f"{file}: {what} is a {kind}, which has no area. Draw it as a polygon, rectangle or "
            "circle, or take it out."
        )
    if one.label.strip() == _IGNORED:
        raise OptionError(
            f"{file}: {what} is to be ignored, but each pixel needs a class. Take it out (what "
            "nothing covers is background), or name the class."
        )
    if kind in _CORNERS and len(points) != _CORNERS[kind]:
        raise OptionError(
            f"{file}: {what} is a {kind} with {len(points)} points; expected {_CORNERS[kind]}. "
            "Draw it again."
        )
    if kind == "rectangle":
        return Shape(one.label, what, partial(rectangle, points[0], points[1]))
    if kind == "circle":
        return Shape(one.label, what, partial(circle, points[0], points[1]))
    if kind == "mask":
        return Shape(one.label, what, partial(_mask, one.mask or "", points[0]))
    if kind in ("polygon", "oriented_rectangle"):
        return Shape(one.label, what, partial(polygon, points))
    raise OptionError(
        f"{file}: {what} is of the unknown kind {kind!r}; expected polygon, rectangle, circle or "
        "mask. Draw it as a polygon."
    )


def _mask(encoded: str, corner: Point, size: Size) -> Bools:
    """A mask that is written as a PNG, its upper left corner at a pixel."""
    try:
        data = base64.b64decode(re.sub(r"\s", "", encoded), validate=True)
        with Image.open(io.BytesIO(data)) as image:
            if image.height > size[0] or image.width > size[1]:
                raise ValueError("it is larger than the image")
            mask = np.asarray(image.convert("L")) > 0
    except Exception as error:
        raise ValueError(f"has a mask that cannot be read ({error}); draw it again") from error
    x, y = (round(value) for value in corner)
    inside = np.zeros(size, bool)
    top, left = max(y, 0), max(x, 0)
    cut = mask[top - y : max(size[0] - y, 0), left - x : max(size[1] - x, 0)]
    inside[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    return inside
