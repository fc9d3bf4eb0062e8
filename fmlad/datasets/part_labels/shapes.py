"""Labels that were drawn: polygons, boxes, circles and masks, painted one upon the other.

Coordinates are those of drawing tools: pixel (0, 0) reaches from 0 to 1, and has its centre at 0.5.
A shape owns the pixels whose centres lie inside. Shapes are painted in the order of the file, so
that a later one covers an earlier one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fmlad.datasets.part_labels.model import (
    BACKGROUND,
    Reading,
    Shot,
    Size,
    class_list,
    is_background,
    turned,
    upright,
)
from fmlad.errors import OptionError

Bools = npt.NDArray[np.bool_]
Point = tuple[float, float]


@dataclass(frozen=True)
class Shape:
    """One drawn shape.

    Attributes:
        part: Name of its class.
        what: Which it is, for a message: ``"shape 3 ('pin')"``.
        inside: From height and width to its pixels, bool ``(H, W)``; ValueError in words where it
            does not fit.
    """

    part: str
    what: str
    inside: Callable[[Size], Bools]


@dataclass(frozen=True)
class Drawing:
    """The shapes of one image.

    Attributes:
        file: Where they are written.
        size: Height and width of the image they were drawn on; None: the file does not say.
        shapes: In the order of the file.
    """

    file: Path
    size: Size | None
    shapes: Sequence[Shape]


def painted(
    source: str,
    drawings: Sequence[Drawing | None],
    shots: Sequence[Shot],
    names: Sequence[str] | None,
    where: object,
) -> Reading:
    """Label maps of drawings, one or None a shot.

    Args:
        source: In words.
        drawings: Of the shots.
        shots: The shots.
        names: Of the classes in their order; None: those that are drawn, in order of name.
        where: What gave the names, for messages.
    """
    reading = Reading(source, [None] * len(shots))
    drawn = {shape.part for one in drawings if one is not None for shape in one.shapes}
    if names is None:
        names = sorted({name.strip() for name in drawn}, key=lambda name: (name.casefold(), name))
    reading.names = [BACKGROUND]
    try:
        if any(not is_background(name) for name in names) or not drawn:
            reading.names = class_list(names, where)
    except OptionError as error:
        reading.problems.append(str(error))
        return reading
    numbers = {name: number for number, name in enumerate(reading.names)}
    for index, (one, shot) in enumerate(zip(drawings, shots, strict=True)):
        if one is None:
            continue
        try:
            reading.maps[index] = _map(one, shot, numbers, where, reading.warnings)
        except OptionError as error:
            reading.problems.append(str(error))
    return reading


def _map(
    drawing: Drawing, shot: Shot, numbers: dict[str, int], where: object, warnings: list[str]
) -> npt.NDArray[np.int64]:
    file, size = drawing.file, drawing.size or shot.size
    try:
        orientation = turned(shot, size)
    except OptionError as error:
        raise OptionError(f"{file}: the image that was drawn on {error}.") from error
    owner = np.zeros(size, np.int64)  # of each pixel, the shape on top, from 1
    classes = [0]
    empty = []
    for number, shape in enumerate(drawing.shapes, start=1):
        name = shape.part.strip()
        if not is_background(name) and name not in numbers:
            raise OptionError(
                f"{file}: {shape.what} has a class that {where} does not name. Add it there, or "
                "rename the shape."
            )
        classes.append(0 if is_background(name) else numbers[name])
        try:
            inside = shape.inside(size)
        except ValueError as error:
            raise OptionError(f"{file}: {shape.what} {error}.") from error
        if not inside.any():
            empty.append(number)
        owner[inside] = number
    seen = set(np.unique(owner).tolist())
    for number, shape in enumerate(drawing.shapes, start=1):
        if number in empty:
            warnings.append(f"{file}: {shape.what} has no pixel inside the image.")
        elif number not in seen:
            warnings.append(
                f"{file}: {shape.what} lies wholly under later shapes. If it should be on top, "
                "move it behind them in the file."
            )
    return upright(np.array(classes)[owner], orientation)


def polygon(points: Sequence[Point], size: Size) -> Bools:
    """Pixels whose centres lie in a polygon.

    Raises:
        ValueError: It has fewer than 3 corners.
    """
    from skimage.draw import polygon as inner

    if len(points) < 3:
        raise ValueError(f"has {len(points)} corners; a polygon needs 3 or more")
    inside = np.zeros(size, bool)
    across, down = np.asarray(points, np.float64).T - 0.5
    inside[inner(down, across, size)] = True
    return inside


def rectangle(one: Point, other: Point, size: Size) -> Bools:
    """Pixels whose centres lie in the box between two corners, its right and lower edge left out.

    So the box from (0, 0) to (2, 2) has four pixels, and boxes that touch share none.
    """
    inside = np.zeros(size, bool)
    (left, right), (top, bottom) = (sorted(pair) for pair in zip(one, other, strict=True))
    rows, columns = _centres(top, bottom, size[0]), _centres(left, right, size[1])
    inside[rows, columns] = True
    return inside


def circle(centre: Point, rim: Point, size: Size) -> Bools:
    """Pixels whose centres lie in a circle about one point through another."""
    inside = np.zeros(size, bool)
    radius = math.dist(centre, rim)
    rows = _centres(centre[1] - radius, centre[1] + radius, size[0])
    columns = _centres(centre[0] - radius, centre[0] + radius, size[1])
    down = np.arange(size[0])[rows, None] + 0.5 - centre[1]
    across = np.arange(size[1])[None, columns] + 0.5 - centre[0]
    inside[rows, columns] = down**2 + across**2 <= radius**2
    return inside


def _centres(low: float, high: float, length: int) -> slice:
    """Pixels of a row whose centres are at ``low`` or more and below ``high``."""
    start, stop = (min(max(math.ceil(value - 0.5), 0), length) for value in (low, high))
    return slice(start, stop)
