"""Regions as users give them: mask images, arrays, boxes, polygons, or files of these."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fmlad.errors import InvalidImageError, OptionError
from fmlad.io.images import load_image

Bools = npt.NDArray[np.bool_]
Size = tuple[int, int]
Point = tuple[float, float]

FORMS = (
    "a mask image, an array (H, W), boxes (x1, y1, x2, y2), polygons [(x, y), ...], or a JSON file "
    'with {"boxes": [...], "polygons": [...]}'
)
PROPORTION = 0.01  # by which a mask's aspect ratio may differ from the first shot's, plus a pixel
_BOX = re.compile(r"\s*-?[\d.]+\s*(,\s*-?[\d.]+\s*){3}")


def drawn(roi: Any, ignore: Any, size: Size, stored: int) -> Bools:
    """What lies in ``roi`` and not in ``ignore``, at most ``stored`` px on the longer side.

    Args:
        roi: In one of ``FORMS``; None: everything.
        ignore: The same; None: nothing.
        size: Height and width of the first shot, whose pixels coordinates are.
        stored: The limit.

    Raises:
        OptionError: One is unreadable or does not fit, or nothing or everything is inside.
    """
    scale = min(1.0, stored / max(size))
    small = max(1, round(scale * size[0])), max(1, round(scale * size[1]))
    inside = np.ones(small, bool)
    if roi is not None:
        inside &= _region("roi", roi, size, small)
    if ignore is not None:
        inside &= ~_region("ignore", ignore, size, small)
    given = " and ".join(n for n, one in (("roi=", roi), ("ignore=", ignore)) if one is not None)
    if not inside.any():
        raise OptionError(f"{given}: nothing is left inside; a part of the first shot must count.")
    if inside.all():
        raise OptionError(
            f"{given}: everything is left inside, so nothing would be left out; check the mask or "
            f"the coordinates (pixels of the first shot), or give neither."
        )
    return inside


def from_arguments(option: str, given: Sequence[str]) -> Any:
    """The value of repeated command-line options: one file, or boxes ``x1,y1,x2,y2``.

    Raises:
        OptionError: Boxes and files are mixed, or there are several files.
    """
    boxes = [text for text in given if _BOX.fullmatch(text)]
    if len(boxes) == len(given):
        return [_numbers(option, text) for text in given]
    if len(given) > 1:
        raise OptionError(
            f"{option} takes one file (a mask image or JSON), or boxes x1,y1,x2,y2; got {given!r}."
        )
    return given[0]


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(f"{option} got {text!r}; expected a box x1,y1,x2,y2.") from None


def _region(name: str, given: Any, size: Size, small: Size) -> Bools:
    """One argument, bool of the size ``small``."""
    if isinstance(given, str | os.PathLike) and Path(given).suffix.lower() == ".json":
        given = _read(name, Path(given))
    if isinstance(given, Mapping):
        return _shapes(name, _listed(name, given), size, small)
    if isinstance(given, np.ndarray):
        return _mask(name, given, size, small)
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        flat = len(given) == 4 and all(_is_number(one) for one in given)
        return _shapes(name, [given] if flat else given, size, small)
    try:
        pixels = load_image(given)
    except InvalidImageError as error:
        raise OptionError(f"{name}= cannot be read: {error} It takes {FORMS}.") from error
    return _mask(name, pixels.max(axis=2), size, small)


def _read(name: str, path: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OptionError(f"{name}={str(path)!r} cannot be read ({reason}).") from error
    if not isinstance(data, Mapping):
        raise OptionError(
            f"{name}={str(path)!r} holds a {type(data).__name__}; expected "
            f'{{"boxes": [...], "polygons": [...]}}.'
        )
    return data


def _listed(name: str, data: Mapping[str, Any]) -> list[Any]:
    """Boxes and polygons of a mapping."""
    known = ("boxes", "polygons")
    if unknown := [str(key) for key in data if key not in known]:
        raise OptionError(f"{name}= has {unknown}; expected 'boxes' and 'polygons' alone.")
    found: list[Any] = []
    for key in known:
        shapes = data.get(key, [])
        if not isinstance(shapes, Sequence) or isinstance(shapes, str):
            raise OptionError(f"{name}= has {shapes!r} as {key!r}; expected a list.")
        found += shapes
    return found


def _mask(name: str, mask: npt.NDArray[Any], size: Size, small: Size) -> Bools:
    """A mask ``(H, W)``, not zero is inside."""
    whole = mask.dtype == bool or np.issubdtype(mask.dtype, np.integer)
    if mask.ndim != 2 or not whole or 0 in mask.shape:
        raise OptionError(
            f"{name}= is an array {mask.shape} {mask.dtype}; expected a mask (H, W) of bool or "
            f"whole numbers. Give boxes and polygons as lists."
        )
    height, width = mask.shape
    # One pixel of the mask is allowed for its own rounding.
    error = abs(width * size[0] - height * size[1])
    if error > PROPORTION * height * size[1] + max(size) and mask.shape != size:
        raise OptionError(
            f"{name}= is {width} x {height} pixels (width x height); expected {size[1]} x "
            f"{size[0]} as the first shot, or the same proportions."
        )
    shares = Image.fromarray((mask != 0).astype(np.float32))
    resized = shares.resize((small[1], small[0]), Image.Resampling.BOX)
    return np.asarray(resized) >= 0.5


def _shapes(name: str, shapes: Sequence[Any], size: Size, small: Size) -> Bools:
    """The union of boxes and polygons."""
    if not len(shapes):
        raise OptionError(f"{name}= is an empty list; give {FORMS}, or leave it out.")
    from skimage.draw import polygon

    canvas = np.zeros(size, bool)
    for shape in shapes:
        points = _points(name, shape, size)
        if len(points) == 2:
            (x1, y1), (x2, y2) = points
            canvas[math.floor(y1) : math.ceil(y2), math.floor(x1) : math.ceil(x2)] = True
        else:
            # Pixels whose centres lie inside.
            across, down = np.array(points).T - 0.5
            canvas[polygon(down, across, size)] = True
    return _mask(name, canvas, size, small)


def _points(name: str, shape: Any, size: Size) -> list[Point]:
    """Corners of a polygon, or two of a box, inside the image."""
    wrong = OptionError(
        f"{name}= has {shape!r}; expected a box (x1, y1, x2, y2) with x1 < x2 and y1 < y2, or a "
        f"polygon of at least 3 points (x, y)."
    )
    if not isinstance(shape, Sequence | np.ndarray) or isinstance(shape, str):
        raise wrong
    if len(shape) == 4 and all(_is_number(value) for value in shape):
        x1, y1, x2, y2 = (float(value) for value in shape)
        if not (x1 < x2 and y1 < y2):
            raise wrong
        points = [(x1, y1), (x2, y2)]
    else:
        points = []
        for point in shape:
            pair = isinstance(point, Sequence | np.ndarray) and not isinstance(point, str)
            if not pair or len(point) != 2 or not all(_is_number(value) for value in point):
                raise wrong
            points.append((float(point[0]), float(point[1])))
        if len(points) < 3:
            raise wrong
    if any(not (0 <= x <= size[1] and 0 <= y <= size[0]) for x, y in points):
        raise OptionError(
            f"{name}= has {shape!r}, which reaches outside the first shot of {size[1]} x {size[0]} "
            f"pixels (width x height)."
        )
    return points


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float | np.integer | np.floating)
    return number and not isinstance(value, bool) and math.isfinite(value)
