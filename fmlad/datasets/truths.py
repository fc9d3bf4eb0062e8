"""From what was drawn to regions: masks in one file or many, boxes, and nothing at all.

The functions here are what ``Sample.read_truth`` calls, bound to their paths by
:func:`functools.partial`, so that samples can be sent to other processes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fmlad.datasets.model import Truth
from fmlad.errors import DatasetError
from fmlad.io.images import reason
from fmlad.metrics import saturation_area

LOSSY = 128  # grey level from which a pixel of a JPEG mask counts; compression smears the edges
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


@dataclass(frozen=True)
class Saturation:
    """From which area on a region counts as found whole.

    Attributes:
        threshold: Pixels, or a share of the region's area.
        relative: Whether it is a share.
    """

    threshold: float
    relative: bool

    def area(self, region: int) -> float:
        """In pixels, for a region of so many, at least 1 (see ``metrics.saturation_area``)."""
        return float(saturation_area(region, self.threshold, self.relative))


def nothing(image: Path) -> Truth:
    """A normal image: no region."""
    return Truth(np.zeros((0, *image_size(image)), bool), ())


def components(image: Path, mask: Path) -> Truth:
    """One mask: its 8-connected components are the regions, each with its own area.

    Raises:
        DatasetError: The mask is unreadable or of another size.
    """
    from scipy import ndimage

    pixels = _fitting(image, mask)
    labels, count = ndimage.label(pixels > 0, structure=np.ones((3, 3)))
    regions = labels[None] == np.arange(1, count + 1)[:, None, None]
    return Truth(regions, tuple(float(area) for area in regions.sum((1, 2))))


def layers(image: Path, masks: tuple[Path, ...], config: Mapping[int, Saturation] | None) -> Truth:
    """Several masks: each file is one region, or one for each value where it holds several.

    Args:
        image: The image.
        masks: Files, not none.
        config: Saturation by pixel value; None where the dataset has no such file.

    Raises:
        DatasetError: A mask is unreadable or of another size, or its value is not in ``config``.
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
            saturations.append(float(area) if config is None else config[value].area(area))
    if not regions:
        return nothing(image)
    return Truth(np.stack(regions), tuple(saturations))


def boxes(image: Path, file: Path) -> Truth:
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
        return nothing(image)
    return Truth(np.stack(regions), tuple(float(region.sum()) for region in regions))


def read_defects_config(file: Path) -> dict[int, Saturation]:
    """LOCO's ``defects_config.json``: saturation by pixel value.

    Raises:
        DatasetError: It is not what it should be.
    """
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))
        return {int(entry["pixel_value"]): _saturation(entry) for entry in listed}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DatasetError(
            f"{file} cannot be used ({type(error).__name__}: {reason(error)}); expected a list of "
            "entries with defect_name, pixel_value, saturation_threshold and relative_saturation. "
            "Copy it again from the archive."
        ) from error


def _saturation(entry: Mapping[str, Any]) -> Saturation:
    threshold, relative = float(entry["saturation_threshold"]), bool(entry["relative_saturation"])
    if threshold <= 0 or (relative and threshold > 1):
        raise ValueError(f"saturation_threshold is {threshold}")
    return Saturation(threshold, relative)


def read_lines(file: Path) -> list[str]:
    """Lines of a text file.

    Raises:
        DatasetError: It is missing or no text.
    """
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{file} cannot be read ({reason(error)}); expected a text file."
        ) from error


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image as it is seen (EXIF orientation applied), from its header.

    Raises:
        DatasetError: The file is no image.
    """
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
