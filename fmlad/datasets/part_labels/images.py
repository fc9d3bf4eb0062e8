"""Label images: one a shot, of the same name, a class number or a colour in each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from fmlad.datasets.part_labels.classes import Classes, by_colour, by_number, find_classes
from fmlad.datasets.part_labels.model import Ints, Reading, Shot, some, turned, upright
from fmlad.errors import OptionError
from fmlad.io.images import reason

ENDINGS = ("", "_mask", "_label")  # what a label's name has behind that of its image
_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp")
_WHITE = 255  # of a mask that says "here or not"
_GREYS = {2: 85, 4: 17}  # factor by which Pillow spreads grey levels of so few bits
_PLAIN = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")


def read_label_images(
    folder: Path, files: Sequence[Path], shots: Sequence[Shot], classes_in: Sequence[Path]
) -> Reading:
    """Labels from images of the same stem as the shots, ``_mask`` or ``_label`` behind or not.

    Values are class numbers, 0 the background; colours count where a file beside the labels has
    them. A label with no values but 0 and 255 is a mask of one class.

    Args:
        folder: For messages.
        files: The label images.
        shots: The shots.
        classes_in: Folders in which a file of classes may lie, the first first.
    """
    reading = Reading(f"label images in {folder}", [None] * len(shots), by_stem=True)
    try:
        classes = next(filter(None, map(find_classes, classes_in)), None)
    except OptionError as error:
        reading.problems.append(str(error))
        return reading
    matched: dict[int, Path] = {}
    used: set[Path] = set()
    for index, shot in enumerate(shots):
        found = _of_shot(shot, files)
        used |= set(found)
        lossless = [path for path in found if path.suffix.lower() not in _LOSSY]
        if len(lossless) > 1:
            reading.problems.append(
                f"{shot.name} has {len(lossless)} labels, {some(lossless)}; keep one of them."
            )
        elif found:
            matched[index] = (lossless or found)[0]
    reading.spare = [path.name for path in files if path not in used]
    for index, file in matched.items():
        try:
            reading.maps[index] = _label(file, shots[index], classes)
        except OptionError as error:
            reading.problems.append(f"{file} {error}.")
    if classes is not None:
        reading.names = classes.names
    _white_as_one(reading, classes)
    return reading


def _of_shot(shot: Shot, files: Sequence[Path]) -> list[Path]:
    """Labels of one shot: those of the first ending that has any."""
    if shot.path is None:
        return []
    stem = shot.path.stem.casefold()
    for ending in ENDINGS:
        found = [path for path in files if path.stem.casefold() == stem + ending]
        if found:
            return found
    return []


def _label(file: Path, shot: Shot, classes: Classes | None) -> Ints:
    """Class numbers of one label; OptionErrors do not name the file."""
    values = read_values(file, shot, classes)
    if values.ndim == 3:
        if classes is None or not classes.colours:
            raise OptionError(
                "is painted in colours, and nothing says which class a colour is; export it as "
                'palette or class numbers, or write classes.json beside it: {"pin": "#ff0000", '
                '"tray": "#00ff00"}'
            )
        return by_colour(values, classes)
    if set(np.unique(values).tolist()) <= {0, _WHITE} and _may_be_white(classes):
        return values
    return by_number(values, classes)


def _may_be_white(classes: Classes | None) -> bool:
    if classes is None:
        return True
    return len(classes.names) == 2 and _WHITE not in classes.numbers


def _white_as_one(reading: Reading, classes: Classes | None) -> None:
    """Makes 255 the class 1, where no label has other values than 0 and 255."""
    if not _may_be_white(classes):
        return
    found = {value for label in reading.maps if label is not None for value in np.unique(label)}
    if _WHITE not in found:
        return
    if found <= {0, _WHITE}:
        reading.maps = [
            None if label is None else (label == _WHITE).astype(np.int64) for label in reading.maps
        ]
        return
    others = some(sorted(found - {0, _WHITE}))
    reading.problems.append(
        f"The {reading.source} have the class 255 beside others ({others}). "
        "255 often means 'not labelled': paint it as background (0), or name it in classes.json."
    )


def read_values(file: Path, shot: Shot, classes: Classes | None) -> npt.NDArray[Any]:
    """Whole numbers ``(H, W)``, or colours ``(H, W, 3)``, upright; decoded if its size fits."""
    if file.suffix.lower() in _LOSSY:
        raise OptionError(
            "is no lossless image: JPEG and WebP smear the numbers of classes. Export it as PNG"
        )
    try:
        with Image.open(file) as opened:
            own = int(opened.getexif().get(0x0112, 1))
            width, height = opened.size if own < 5 else opened.size[::-1]
            orientation = turned(shot, (height, width))  # before memory is spent on it
            opened.load()
            image = ImageOps.exif_transpose(opened) if own != 1 else opened
            values = _numbers(image, file, classes)
    except OptionError:
        raise
    except Exception as error:
        raise OptionError(
            f"cannot be read as an image ({reason(error)}); export or copy it again"
        ) from error
    return upright(values, orientation)


def _numbers(image: Image.Image, file: Path, classes: Classes | None) -> npt.NDArray[Any]:
    coloured = classes is not None and classes.colours
    if image.mode in _PLAIN and not (coloured and image.mode == "P"):
        values = np.asarray(image).astype(np.int64)
        return values // _spread(file) if image.mode == "L" else values
    if image.mode in ("LA", "RGBA", "PA"):
        alpha = np.asarray(image.getchannel("A"))
        if (alpha != 255).any():
            raise OptionError(
                "is see-through in places, which is no class; flatten it onto the background, or "
                "export it as palette or class numbers"
            )
    elif image.mode not in ("RGB", "P"):
        raise OptionError(
            f"holds pixels of the kind {image.mode!r}; expected class numbers as whole numbers of "
            "8 or 16 bits, a palette, or RGB colours"
        )
    pixels = np.asarray(image.convert("RGB"))
    grey = (pixels == pixels[..., :1]).all()
    return pixels[..., 0].astype(np.int64) if grey and not coloured else pixels


def _spread(file: Path) -> int:
    """Factor between the values of a grey PNG and what is read of it."""
    with file.open("rb") as stream:
        head = stream.read(26)
    bits, kind = (head[24], head[25]) if head[:4] == b"\x89PNG" and len(head) == 26 else (8, 0)
    return _GREYS.get(bits, 1) if kind == 0 else 1
