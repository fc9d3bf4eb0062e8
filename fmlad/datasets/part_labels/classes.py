"""Names and colours of classes, from the text file beside labels."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fmlad.datasets.files import read_lines
from fmlad.datasets.part_labels.model import (
    BACKGROUND,
    MOST_CLASSES,
    Ints,
    class_list,
    is_background,
    some,
)
from fmlad.errors import DatasetError, OptionError
from fmlad.io.images import reason

Colour = tuple[int, int, int]

FILES = ("classes.json", "labelmap.txt", "classes.txt", "labels.txt", "class_names.txt")
_IGNORED = "__ignore__"  # labelme's name for -1
_FORMS = (
    'a list of names, {"pin": 1, "tray": 2} or {"1": "pin", "2": "tray"} with whole numbers, or '
    'colours: {"pin": [255, 0, 0]} or {"pin": "#ff0000"}'
)


@dataclass(frozen=True)
class Classes:
    """Classes that a file beside the labels declares.

    Attributes:
        file: The file.
        names: In the order of their numbers, background first.
        colours: Class number of each colour, where labels are painted in colours.
        numbers: Class number of each value, where the values are not consecutive.
    """

    file: Path
    names: list[str]
    colours: Mapping[Colour, int] = field(default_factory=dict)
    numbers: Mapping[int, int] = field(default_factory=dict)


def find_classes(folder: Path) -> Classes | None:
    """What the first of :data:`FILES` in a folder declares; None where there is none.

    Raises:
        OptionError: It cannot be used.
    """
    for name in FILES:
        if (folder / name).is_file():
            return read_classes(folder / name)
    return None


def read_classes(file: Path) -> Classes:
    """Classes from one of :data:`FILES`.

    A text file has one name a line. Its first line is the class 0 where it is called background,
    else the class 1. ``labelmap.txt`` is CVAT's, lines ``name:red,green,blue::``.

    Raises:
        OptionError: It cannot be used; the message says why.
    """
    if file.suffix == ".json":
        try:
            data = json.loads(file.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise OptionError(
                f"{file} cannot be read ({reason(error)}); expected {_FORMS}."
            ) from error
        return _from_json(file, data)
    try:
        lines = [line.strip() for line in read_lines(file)]
    except DatasetError as error:
        raise OptionError(str(error)) from error
    if file.name == "labelmap.txt":
        return _from_labelmap(file, lines)
    while lines and not lines[-1]:
        lines.pop()
    names = [line for line in lines if line != _IGNORED]
    if "" in names:
        raise OptionError(
            f"{file}, line {lines.index('') + 1} is empty; the line says which number a class has. "
            "Take the line out, or name the class."
        )
    if any(map(is_background, names[1:])):
        raise OptionError(f"{file} names the background after a class; put it first.")
    return Classes(file, class_list(names, file))


def _from_labelmap(file: Path, lines: list[str]) -> Classes:
    colours: dict[str, Any] = {}
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#"):
            continue
        found = re.match(r"([^:]+):(\d+),(\d+),(\d+)(:|$)", line)
        if found is None:
            raise OptionError(
                f"{file}, line {number}: {line!r} is no class; expected name:red,green,blue::"
            )
        colours[found[1]] = [int(found[place]) for place in (2, 3, 4)]
    return _coloured(file, colours)


def _from_json(file: Path, data: Any) -> Classes:
    if isinstance(data, list) and all(isinstance(name, str) for name in data):
        if any(map(is_background, data[1:])):
            raise OptionError(f"{file} names the background after a class; put it first.")
        return Classes(file, class_list(data, file))
    if not isinstance(data, dict) or not data:
        raise OptionError(f"{file} is no list of classes; expected {_FORMS}.")
    if all(isinstance(value, str) and re.fullmatch(r"\d+", key) for key, value in data.items()):
        return _numbered(file, {name: int(key) for key, name in data.items()})
    if all(isinstance(value, int) and not isinstance(value, bool) for value in data.values()):
        return _numbered(file, data)
    return _coloured(file, data)


def _numbered(file: Path, values: Mapping[str, int]) -> Classes:
    ordered = sorted(values.items(), key=lambda item: item[1])
    if len(set(values.values())) < len(values) or ordered[0][1] < 0:
        raise OptionError(f"{file}: the classes need numbers of their own, 0 or more.")
    wrong = [name for name, value in ordered if is_background(name) != (value == 0)]
    if wrong:
        raise OptionError(
            f"{file}: {wrong[0]!r} has the number {values[wrong[0]]}; 0 is the background, and "
            "nothing else is."
        )
    names = class_list([name for name, _ in ordered], file)
    rest = [value for _, value in ordered if value]
    return Classes(file, names, numbers={0: 0, **{v: i for i, v in enumerate(rest, start=1)}})


def _coloured(file: Path, given: Mapping[str, Any]) -> Classes:
    by_colour: dict[Colour, str] = {}
    for name, value in given.items():
        colour = _colour(value)
        if colour is None:
            raise OptionError(f"{file}: {name!r} is {value!r}; expected {_FORMS}.")
        if colour in by_colour:
            raise OptionError(
                f"{file}: {by_colour[colour]!r} and {name!r} have one colour, {_words(colour)}; "
                "give each class its own."
            )
        by_colour[colour] = name
    names = class_list(list(given), file)
    numbers = {
        colour: 0 if is_background(name) else names.index(name.strip())
        for colour, name in by_colour.items()
    }
    if 0 not in numbers.values():
        if (0, 0, 0) in numbers:
            raise OptionError(
                f"{file} has no background, and black is {by_colour[0, 0, 0]!r}; add "
                f"{BACKGROUND!r} with its colour."
            )
        numbers[0, 0, 0] = 0
    return Classes(file, names, colours=numbers)


def _colour(value: Any) -> Colour | None:
    if isinstance(value, str) and (found := re.fullmatch(r"#?([0-9a-fA-F]{6})", value)):
        code = int(found[1], 16)
        return code >> 16, code >> 8 & 255, code & 255
    if isinstance(value, list) and len(value) == 3:
        whole = all(isinstance(one, int) and not isinstance(one, bool) for one in value)
        if whole and all(0 <= one <= 255 for one in value):
            return value[0], value[1], value[2]
    return None


def _words(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def by_colour(pixels: npt.NDArray[np.uint8], classes: Classes) -> Ints:
    """Class numbers ``(H, W)`` of pixels ``(H, W, 3)`` by the colours of a file.

    Raises:
        OptionError: A colour is none of them; the message says no file name of the label.
    """
    codes = pixels.astype(np.int64) @ np.array([65536, 256, 1])
    found, where = np.unique(codes, return_inverse=True)
    table = {(r << 16) + (g << 8) + b: n for (r, g, b), n in classes.colours.items()}
    unknown = [f"#{code:06x}" for code in found.tolist() if code not in table]
    if unknown:
        raise OptionError(
            f"has colours that {classes.file} does not know: {some(unknown)}. Add them there; if "
            "there are many, the label was smoothed or saved as JPEG: export it again"
        )
    return np.array([table[code] for code in found.tolist()])[where].reshape(codes.shape)


def by_number(values: Ints, classes: Classes | None) -> Ints:
    """Class numbers ``(H, W)`` of values ``(H, W)``, by a file's names where there is one.

    Raises:
        OptionError: A value has no class; the message says no file name of the label.
    """
    found = np.unique(values).tolist()
    if found and found[0] < 0:
        raise OptionError(f"has the class {found[0]}; classes are 0 (background), 1, 2, ...")
    if classes is None:
        if found and found[-1] >= MOST_CLASSES:
            raise OptionError(
                f"has the class {found[-1]}; expected at most {MOST_CLASSES - 1}. These look like "
                "numbers of objects, not of classes: export the classes"
            )
        return values
    known = classes.numbers or {number: number for number in range(len(classes.names))}
    unknown = [value for value in found if value not in known]
    if unknown:
        advice = "255 often means 'not labelled': paint it as background (0)"
        advice = advice if unknown == [255] else "Name them there, or paint them as a known class"
        raise OptionError(
            f"has classes without a name in {classes.file}: {some(unknown)}; named are "
            f"{some(f'{n} {classes.names[c]}' for n, c in sorted(known.items()))}. {advice}"
        )
    if not classes.numbers:
        return values
    table = np.zeros(max(found, default=0) + 1, np.int64)
    for value in found:
        table[value] = known[value]
    return table[values]
