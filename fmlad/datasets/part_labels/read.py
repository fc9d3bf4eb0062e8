"""Part labels of shots: which kind lies in a folder, and whether it fits."""

from __future__ import annotations

import json
import logging
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fmlad.datasets.files import held
from fmlad.datasets.part_labels import classes, coco, images, labelme, scenes
from fmlad.datasets.part_labels.model import (
    PartLabels,
    Reading,
    Shot,
    default_names,
    some,
)
from fmlad.errors import DatasetError, OptionError
from fmlad.io.images import IMAGE_SUFFIXES, reason

_log = logging.getLogger(__name__)

FORMS = (
    "label images named like the shots (PNG; class numbers, palette or colours), labelme's JSON "
    "files, a COCO file of instances, or the slots/ of scenes"
)
_COCO_FOLDER, _VOC_FOLDER = "annotations", "SegmentationClass"  # as CVAT packs them
# What else people have: endings, and what to do.
_OTHERS = {
    ".xml": "CVAT's and Pascal's XML is not read; export COCO 1.0 or 'Segmentation mask'",
    ".txt": "YOLO's text files are not read; export COCO",
    ".zip": "Unpack the archive first",
    ".npy": "Pass arrays by Python, Detector.from_shots(labels=[...])",
}


@dataclass(frozen=True)
class Examined:
    """Part labels with all that is wrong or odd about them.

    Attributes:
        labels: Of the shots; None where there are problems.
        problems: Errors, each naming a file and the way out.
        warnings: What is odd, but no error.
        unlabelled: Indices of the shots without a label.
    """

    labels: PartLabels | None
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    unlabelled: tuple[int, ...]


def read_part_labels(
    source: str | os.PathLike[str], shots: Sequence[Shot | tuple[str, Path | None, tuple[int, int]]]
) -> PartLabels:
    """Part labels from a folder or JSON file, checked against the shots.

    What lies there is found out: label images of the same stem as the shots (``_mask`` or
    ``_label`` behind or not), labelme's JSON files, a COCO file (polygons, run-length codes), or
    the ``slots/`` of scenes. Images that lie beside JSON files are taken for the images that were
    drawn on. What is odd is logged.

    Args:
        source: The folder, or one JSON file.
        shots: Name, file and size ``(H, W)`` as it is seen, of each shot.

    Raises:
        OptionError: There are no labels, of several kinds, or some do not fit. The message is the
            first problem, and says how many more there are.
    """
    found = examine(source, shots)
    if found.labels is None:
        more = len(found.problems) - 1
        told = f" ({more} more; `fmlad labels check` lists them.)" if more else ""
        raise OptionError(found.problems[0] + told)
    for warning in found.warnings:
        _log.warning("%s", warning)
    return found.labels


def examine(
    source: str | os.PathLike[str], shots: Sequence[Shot | tuple[str, Path | None, tuple[int, int]]]
) -> Examined:
    """As :func:`read_part_labels`, with all problems instead of an error."""
    given = [Shot(*shot) for shot in shots]
    place = Path(source)
    try:
        reading = _reading(place, given)
    except (OptionError, DatasetError) as error:
        return Examined(None, (str(error),), (), tuple(range(len(given))))
    problems = [*reading.problems, *_problems(place, reading, given)]
    unlabelled = tuple(index for index, label in enumerate(reading.maps) if label is None)
    warnings = list(reading.warnings)
    if reading.spare and len(unlabelled) < len(given):
        warnings.append(f"Labels of no image among the shots, in {place}: {some(reading.spare)}.")
    if problems:
        return Examined(None, tuple(dict.fromkeys(problems)), tuple(warnings), unlabelled)
    labels, absent = _labels(reading)
    if absent:
        warnings.append(
            f"Classes that no label has: {some(absent)} ({reading.source}). Take them out of the "
            "list of classes, or label an image that shows them."
        )
    return Examined(labels, (), tuple(warnings), unlabelled)


def _reading(place: Path, shots: Sequence[Shot]) -> Reading:
    """What lies at a place, read.

    Raises:
        OptionError: Nothing that is known, or labels of several kinds.
    """
    if place.is_file():
        return _of_file(place, shots)
    if not place.is_dir():
        raise OptionError(
            f"labels={str(place)!r} does not exist; expected a folder with {FORMS}. Check the "
            "spelling and the working directory."
        )
    if (scene := scenes.find_scenes(place)) is not None:
        return scenes.read_scenes(scene, shots)
    return _of_folder(place, shots)


def _of_file(file: Path, shots: Sequence[Shot]) -> Reading:
    if file.suffix.lower() != ".json":
        advice = _OTHERS.get(file.suffix.lower(), "Give the folder that the labels lie in")
        raise OptionError(f"labels={str(file)!r} is no JSON file and no folder. {advice}.")
    data = _json(file)
    if coco.is_coco(data):
        return coco.read_coco(file, data, shots)
    if labelme.is_labelme(data):
        return labelme.read_labelme(file.parent, {file: data}, shots)
    raise OptionError(f"{file} is neither COCO's nor labelme's{_own(data)}.")


def _of_folder(folder: Path, shots: Sequence[Shot]) -> Reading:
    files = [path for path in _files(folder) if path.name not in classes.FILES]
    contents = {path: _json(path) for path in files if path.suffix.lower() == ".json"}
    drawn = {path: data for path, data in contents.items() if labelme.is_labelme(data)}
    instances = {path: data for path, data in contents.items() if coco.is_coco(data)}
    own = {shot.path.resolve() for shot in shots if shot.path is not None}
    painted = [
        path
        for path in files
        if path.suffix.lower() in IMAGE_SUFFIXES and path.resolve() not in own
    ]
    if contents and (drawn or instances):  # the images that were drawn on
        painted = [path for path in painted if path.stem.endswith(images.ENDINGS[1:])]
    kinds = {
        "labelme files": [path.name for path in drawn],
        "COCO files": [path.name for path in instances],
        "label images": [path.name for path in painted],
    }
    there = {kind: names for kind, names in kinds.items() if names}
    if len(there) > 1:
        listed = "; ".join(f"{kind}: {some(names)}" for kind, names in there.items())
        raise OptionError(
            f"{folder} holds labels of {len(there)} kinds ({listed}). Give the JSON file that "
            "counts, or move one kind to a folder of its own."
        )
    if len(instances) > 1:
        raise OptionError(
            f"{folder} holds {len(instances)} COCO files: {some(kinds['COCO files'])}. Give one of "
            "them instead of the folder."
        )
    for file, data in instances.items():
        return coco.read_coco(file, data, shots)
    if drawn:
        return labelme.read_labelme(folder, drawn, shots)
    for name in (_COCO_FOLDER, _VOC_FOLDER) if not painted else ():
        if (folder / name).is_dir():
            return _inner(folder, folder / name, shots)
    if painted:
        return images.read_label_images(folder, painted, shots, [folder, folder.parent])
    hints = [hint for ending, hint in _OTHERS.items() if any(p.suffix == ending for p in files)]
    hints = [_own(data).removeprefix(": ") for data in contents.values() if _own(data)] + hints
    advice = f" {hints[0]}." if hints else ""
    raise OptionError(f"{folder} holds no labels; found: {held(folder)}. Expected {FORMS}.{advice}")


def _inner(folder: Path, inner: Path, shots: Sequence[Shot]) -> Reading:
    """Labels in the folder that CVAT puts them in."""
    if inner.name == _COCO_FOLDER:
        return _of_folder(inner, shots)
    files = [path for path in _files(inner) if path.suffix.lower() in IMAGE_SUFFIXES]
    return images.read_label_images(inner, files, shots, [inner, folder])


def _files(folder: Path) -> list[Path]:
    try:
        found = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise OptionError(f"{folder} cannot be listed ({reason(error)}).") from error
    return [path for path in found if path.is_file() and not path.name.startswith(".")]


def _json(file: Path) -> Any:
    try:
        data = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise OptionError(
            f"{file} cannot be read as JSON ({reason(error)}); save or export it again."
        ) from error
    if labelme.is_labelme(data):
        data.pop("imageData", None)  # the whole image
    return data


def _own(data: Any) -> str:
    """What some other JSON is, and what to do."""
    first = data[0] if isinstance(data, list) and data else None
    if isinstance(first, Mapping) and {"annotations", "data"} <= first.keys():
        return ": it is Label Studio's own form; export COCO"
    if isinstance(data, Mapping) and any("regions" in str(one)[:2000] for one in data.values()):
        return ": it may be VIA's own form; export COCO"
    return ""


def _problems(place: Path, reading: Reading, shots: Sequence[Shot]) -> list[str]:
    """What is wrong with labels that could be read."""
    found = [
        f"The label of {shot.name} is empty: all of it is background ({reading.source}). Label "
        "its parts, or take the label away: the image then counts as unlabelled."
        for shot, label in zip(shots, reading.maps, strict=True)
        if label is not None and not label.any()
    ]
    known = [index for index, label in enumerate(reading.maps) if label is not None]
    if not known and not reading.problems:
        found.append(_none(place, reading, shots))
    paths = [shot.path for shot in shots]
    stems = defaultdict(list)
    for index in known:
        path = paths[index]
        if path is not None and reading.by_stem:
            stems[path.stem.casefold()].append(path)
    found += [
        f"{some(same)} have one name, so that they would share a label; give them names of their "
        "own."
        for same in stems.values()
        if len(same) > 1
    ]
    here = {path.stem: path for path in paths if path is not None}
    for stem, path in here.items():
        bases = [stem.removesuffix(end) for end in images.ENDINGS[1:] if stem.endswith(end)]
        if any(base in here for base in bases):
            found.append(
                f"{path} looks like a label, and is given as a shot. Move the labels to a folder "
                "of their own."
            )
            break
    return found


def _none(place: Path, reading: Reading, shots: Sequence[Shot]) -> str:
    if all(shot.path is None for shot in shots):
        return (
            "The shots are no files, so that no label can be found by name. Give the shots as a "
            "folder or paths, or the labels as arrays, one a shot."
        )
    first = next(shot for shot in shots if shot.path is not None)
    there = f"; found labels of {some(reading.spare)}" if reading.spare else ""
    return (
        f"None of the {len(shots)} shots has a label in {place} ({reading.source}){there}. Labels "
        f"are found by name: give them those of their images, such as {Path(first.name).stem!r}."
    )


def _labels(reading: Reading) -> tuple[PartLabels, list[str]]:
    """The labels, and the names of classes that none of them has."""
    known = [label for label in reading.maps if label is not None]
    seen = np.unique(np.concatenate([np.unique(label) for label in known])).tolist()
    names = list(reading.names or default_names(max(seen) + 1))
    absent = [name for number, name in enumerate(names) if number and number not in seen]
    table = np.arange(len(names))
    if reading.unused:
        kept = sorted({0, *seen})
        names, absent = [names[number] for number in kept], []
        table = np.searchsorted(kept, table).clip(max=len(kept) - 1)
    maps = tuple(None if one is None else table[one].astype(np.uint8) for one in reading.maps)
    return PartLabels(tuple(names), maps, reading.source), absent
