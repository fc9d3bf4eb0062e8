"""COCO's ``instances`` files, as they are and as CVAT and Label Studio write them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import numpy as np
from pydantic import BaseModel, FiniteFloat, ValidationError

from fmlad.datasets.part_labels.model import Reading, Shot, Size, some
from fmlad.datasets.part_labels.rle import decoded
from fmlad.datasets.part_labels.shapes import (
    Bools,
    Drawing,
    Shape,
    painted,
    polygon,
    rectangle,
)
from fmlad.errors import OptionError

# Label Studio puts eight hexadecimal digits and a hyphen before the name of an uploaded image.
_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)")


class _Image(BaseModel):
    id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None


class _Category(BaseModel):
    id: int
    name: str


class _Runs(BaseModel):
    size: tuple[int, int]
    counts: list[int] | str


class _Annotation(BaseModel):
    image_id: int | str
    category_id: int
    segmentation: list[list[FiniteFloat]] | _Runs | None = None
    bbox: list[FiniteFloat] | None = None


class _File(BaseModel):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


def is_coco(data: Any) -> bool:
    """Whether a JSON file's content is COCO's."""
    return isinstance(data, Mapping) and {"images", "annotations"} <= data.keys()


def images_of(data: Mapping[str, Any]) -> set[str]:
    """File names, without folders, of the images that a COCO file is about."""
    names = (one.get("file_name") for one in data["images"] if isinstance(one, Mapping))
    return {_parts(name)[-1] for name in names if isinstance(name, str) and name}


def read_coco(file: Path, data: Mapping[str, Any], shots: Sequence[Shot]) -> Reading:
    """Labels from a COCO file.

    Images are found by file name: as much of the path as tells them apart, Label Studio's prefix
    left out where no image has the whole name. Categories become classes in order of their
    numbers, which may begin with 0 or 1. Annotations are painted in the order of the file, later
    ones on top; ``iscrowd`` says here how a shape is written, and nothing else. An annotation
    without a shape is its box.

    Args:
        file: For messages.
        data: Its JSON content.
        shots: The shots.
    """
    source = f"COCO file {file}"
    try:
        content = _checked(file, data)
    except OptionError as error:
        return Reading(source, [None] * len(shots), problems=[str(error)])
    names = {one.id: one.name for one in sorted(content.categories, key=lambda one: one.id)}
    problems: list[str] = []
    drawings: list[Drawing | None] = [None] * len(shots)
    used: set[int | str] = set()
    boxes = 0
    for index, shot in enumerate(shots):
        found = _of_shot(shot, content.images)
        used |= {one.id for one in found}
        if len(found) > 1:
            problems.append(
                f"{file} has {len(found)} images for {shot.name}: "
                f"{some(one.file_name for one in found)}. Keep one of them."
            )
        elif found:
            own = [one for one in content.annotations if one.image_id == found[0].id]
            if not own:
                continue  # an image without labels
            boxes += sum(not one.segmentation for one in own)
            try:
                drawings[index] = _drawing(file, found[0], own, names)
            except OptionError as error:
                problems.append(str(error))
    reading = painted(source, drawings, shots, list(names.values()), file)
    reading.problems = [*problems, *reading.problems]
    labelled = {one.image_id for one in content.annotations}
    spare = [one for one in content.images if one.id in labelled - used]
    reading.spare = [one.file_name for one in spare]
    if boxes:
        reading.warnings.append(
            f"{file}: {boxes} annotations have a box and no outline; the whole box was painted."
        )
    return reading


def _checked(file: Path, data: Mapping[str, Any]) -> _File:
    if any(isinstance(one, Mapping) and "segments_info" in one for one in data["annotations"]):
        raise OptionError(
            f"{file} is COCO's panoptic format, whose shapes lie in images of their own; export "
            "instances (COCO 1.0), or class numbers as PNG."
        )
    try:
        content = _File.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(one) for one in first["loc"] if not _is_type(one))
        raise OptionError(
            f"{file} is no COCO file of instances: {place}: {first['msg']}. Export it again."
        ) from error
    for what, found in (
        ("category", Counter(one.id for one in content.categories)),
        ("image", Counter(one.id for one in content.images)),
    ):
        if twice := [number for number, count in found.items() if count > 1]:
            raise OptionError(f"{file} has the {what} {twice[0]!r} twice. Export it again.")
    return content


def _is_type(place: Any) -> bool:
    """Whether a step of a place in a model is the name of one of several types."""
    return isinstance(place, str) and ("[" in place or place in ("_Runs", "int", "str"))


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(unquote(name).replace("\\", "/")).parts or ("",)


def _of_shot(shot: Shot, images: Sequence[_Image]) -> list[_Image]:
    """The images of a shot: those of its file name whose folders agree best."""
    if shot.path is None:
        return []
    own = [part.casefold() for part in shot.path.absolute().parts]
    best: list[_Image] = []
    most = 0
    for strip in (False, True):
        for image in images:
            parts = [part.casefold() for part in _parts(image.file_name)]
            if strip:
                parts[-1] = _PREFIX.sub("", parts[-1])
            same = 0
            for one, other in zip(reversed(own), reversed(parts), strict=False):
                if one != other:
                    break
                same += 1
            if same > most:
                best, most = [image], same
            elif same and same == most:
                best.append(image)
        if best:
            return best
    return best


def _drawing(
    file: Path, image: _Image, annotations: Sequence[_Annotation], names: Mapping[int, str]
) -> Drawing:
    high, wide = image.height, image.width
    size = (high, wide) if high and wide else None
    shapes = []
    for number, one in enumerate(annotations, start=1):
        name = names.get(one.category_id)
        what = f"annotation {number} of {image.file_name}"
        if name is None:
            raise OptionError(
                f"{file}: {what} has the category {one.category_id}, which the file does not "
                f"name; named are {some(f'{n} {name}' for n, name in names.items())}. Export it "
                "again."
            )
        shapes.append(Shape(name, f"{what} ({name!r})", partial(_inside, one)))
    return Drawing(file, size, shapes)


def _inside(one: _Annotation, size: Size) -> Bools:
    if isinstance(one.segmentation, _Runs):
        if one.segmentation.size != size:
            high, wide = one.segmentation.size
            raise ValueError(
                f"is {wide} x {high} pixels (width x height), its image {size[1]} x {size[0]}; "
                "export it again"
            )
        try:
            return decoded(one.segmentation.counts, size)
        except ValueError as error:
            raise ValueError(f"cannot be decoded ({error}); export it again") from error
    if one.segmentation:
        inside = np.zeros(size, bool)
        for flat in one.segmentation:
            if len(flat) % 2:
                raise ValueError(f"has an odd number of coordinates ({len(flat)}); export it again")
            inside |= polygon(list(zip(flat[::2], flat[1::2], strict=True)), size)
        return inside
    if one.bbox is None or len(one.bbox) != 4:
        raise ValueError("has neither a shape nor a box; draw it again")
    left, top, across, down = one.bbox
    return rectangle((left, top), (left + across, top + down), size)
