"""Annotations read from disk: masks in one file or many, boxes, and none for a normal image.

The functions here are what ``Sample.read_annotation`` calls, bound to their paths by
:func:`functools.partial`, so that samples can be sent to other processes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fmlad.datasets.files import Lister, folders, read_lines
from fmlad.datasets.model import Annotation
from fmlad.errors import DatasetError, OptionError
from fmlad.io.images import reason
from fmlad.metrics import saturation_area

LOSSY = 128  # grey level from which a pixel of a JPEG mask counts; compression smears the edges
ENDINGS = ("_mask", "", "_gt")  # what a mask's name has behind that of its image
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


Saturations = Mapping[int, tuple[float, bool]]
"""By pixel value the threshold, and whether it is a share (see ``metrics.saturation_area``)."""


class MaskFinder:
    """Pairs images with their masks in one folder.

    A sub-folder named like the image holds one region a file (LOCO); a file named like it, or with
    ``_mask`` or ``_gt`` behind, holds all regions as its connected components.
    """

    def __init__(self, folder: Path, lister: Lister, config: Saturations | None) -> None:
        self._folder, self._config = folder, config
        self._layers: dict[str, tuple[Path, ...]] = {}
        self._files: dict[str, Path] = {}
        if folder.is_dir():
            layers = ((path.name.lower(), lister.images(path)) for path in folders(folder))
            self._layers = {name: tuple(found) for name, found in layers if found}
            self._files = {path.stem.lower(): path for path in lister.images(folder)}
        self._used: set[str] = set()

    def reader(self, image: Path) -> Callable[[], Annotation] | None:
        """What reads the annotation of an image; None where there is no mask of it."""
        stem = image.stem.lower()
        if stem in self._layers:
            self._used.add(stem)
            return partial(mask_layers, image, self._layers[stem], self._config)
        for name in (stem + ending for ending in ENDINGS):
            if name in self._files:
                self._used.add(name)
                return partial(mask_components, image, self._files[name])
        return None

    def expected(self, image: Path) -> Path:
        """Where the mask of an image should lie."""
        name = f"{image.stem}/000.png" if self._layers else f"{image.stem}{ENDINGS[0]}.png"
        return self._folder / name

    def spare(self) -> int:
        """Number of masks for which no image has asked."""
        return len((self._layers.keys() | self._files.keys()) - self._used)


def no_regions(image: Path) -> Annotation:
    """A normal image: no region."""
    return Annotation(np.zeros((0, *image_size(image)), bool), ())


def mask_components(image: Path, mask: Path) -> Annotation:
    """One mask: its 8-connected components are the regions, each with its own area."""
    from scipy import ndimage

    pixels = _fitting(image, mask)
    labels, count = ndimage.label(pixels > 0, structure=np.ones((3, 3)))
    regions = labels[None] == np.arange(1, count + 1)[:, None, None]
    return Annotation(regions, tuple(float(area) for area in regions.sum((1, 2))))


def mask_layers(image: Path, masks: tuple[Path, ...], config: Saturations | None) -> Annotation:
    """Several masks: each file is one region, or one for each value where it holds several.

    Raises:
        DatasetError: A value is not in ``config``, where the dataset has such a file.
    """
    regions, saturations = [], []
    for mask in masks:
        pixels = _fitting(image, mask)
        for value in np.unique(pixels[pixels > 0]).tolist():
            region = pixels == value
            area = int(region.sum())
            if config is not None and value not in config:
                known = ", ".join(map(str, sorted(config)))
                raise DatasetError(
                    f"{mask} holds the value {value}, which defects_config.json does not know; "
                    f"expected one of {known}. Was the mask converted? Copy it again."
                )
            regions.append(region)
            enough = area if config is None else saturation_area(area, *config[value])
            saturations.append(float(enough))
    if not regions:
        return no_regions(image)
    return Annotation(np.stack(regions), tuple(saturations))


def box_regions(image: Path, file: Path) -> Annotation:
    """Lines ``x1 y1 x2 y2 type`` in pixels: each box is one region, its end not included.

    Raises:
        DatasetError: A line is not of that form, or its box does not lie in the image.
    """
    height, width = image_size(image)
    regions = []
    for number, line in enumerate(read_lines(file), start=1):
        fields = re.split(r"[\s,]+", line.strip())
        if fields == [""]:
            continue
        try:
            x1, y1, x2, y2 = (int(value) for value in fields[:4])
        except ValueError:
            x1 = y1 = x2 = y2 = -1
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
            raise DatasetError(
                f"{file}, line {number}: {line.strip()!r} is no box in an image of "
                f"{width} x {height} pixels; expected x1 y1 x2 y2 type."
            )
        region = np.zeros((height, width), bool)
        region[y1:y2, x1:x2] = True
        regions.append(region)
    if not regions:
        return no_regions(image)
    return Annotation(np.stack(regions), tuple(float(region.sum()) for region in regions))


def read_defects_config(file: Path) -> Saturations:
    """LOCO's ``defects_config.json``; DatasetError where it is not what it should be."""
    try:
        found = {}
        for entry in json.loads(file.read_text(encoding="utf-8")):
            threshold = float(entry["saturation_threshold"])
            relative = bool(entry["relative_saturation"])
            saturation_area(1, threshold, relative)  # refuses thresholds that are none
            found[int(entry["pixel_value"])] = threshold, relative
        return found
    except (OSError, ValueError, TypeError, KeyError, OptionError) as error:
        raise DatasetError(
            f"{file} cannot be used ({type(error).__name__}: {reason(error)}); expected a list of "
            "entries with defect_name, pixel_value, saturation_threshold and relative_saturation. "
            "Copy it again from the archive."
        ) from error


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image as it is seen (EXIF orientation applied), from its header."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112) in _SIDEWAYS
    except Exception as error:
        raise DatasetError(f"{path} cannot be read ({reason(error)}); copy it again.") from error
    return (width, height) if turned else (height, width)


def _fitting(image: Path, mask: Path) -> npt.NDArray[Any]:
    """The values of a mask ``(H, W)``, 0 = normal."""
    try:
        with Image.open(mask) as opened:
            lossy = opened.format in ("JPEG", "MPO")
            plain = opened.mode in ("1", "L", "I", "I;16", "F")
            pixels = np.asarray(opened if plain else opened.convert("RGB"))
    except Exception as error:
        raise DatasetError(
            f"{mask} cannot be read as a mask ({reason(error)}); copy it again."
        ) from error
    pixels = pixels.astype(np.int64)
    if pixels.ndim == 3:
        pixels = pixels.max(-1)
    if lossy:
        pixels = np.where(pixels >= LOSSY, pixels, 0)
    size = image_size(image)
    if pixels.shape != size:
        raise DatasetError(
            f"{mask} is {pixels.shape[1]} x {pixels.shape[0]} pixels (width x height), its image "
            f"{image} {size[1]} x {size[0]}; expected the same size. Take masks and images from "
            "one copy of the dataset."
        )
    return pixels
