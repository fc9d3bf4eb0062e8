"""Part labels as users give them to a detector: arrays, or a folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fmlad.datasets.annotations import image_size
from fmlad.datasets.part_labels import (
    MOST_CLASSES,
    PartLabels,
    Shot,
    default_names,
    read_part_labels,
)
from fmlad.errors import DatasetError, OptionError
from fmlad.io.images import source_name
from fmlad.io.inputs import expand_sources
from fmlad.loading import Inputs, Picture

if TYPE_CHECKING:
    pass

Array = npt.NDArray[np.integer[Any]]
LabelSource = str | os.PathLike[str] | PartLabels | Sequence[Array]

AUTO = "auto"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Labelled:
    """Shots with their labels.

    Attributes:
        pictures: The shots that have labels; all, where no files of labels were given.
        labels: One a shot, or None (none were given, or they are still to be found).
        names: Of the classes, background first; empty without labels.
        unlabelled: The other shots.
    """

    pictures: list[Picture]
    labels: Sequence[Array] | None = None
    names: tuple[str, ...] = ()
    unlabelled: tuple[Picture, ...] = ()


def is_auto(labels: object) -> bool:
    """Whether labels are to be found without any."""
    return isinstance(labels, str) and labels == AUTO


def labelled(
    labels: LabelSource | None, pictures: list[Picture], takes: Sequence[str], method: str
) -> Labelled:
    """The labels of shots, read where a path was given.

    Shots without a label in a folder of labels become unlabeled images, which the log says.

    Args:
        labels: As ``Detector.from_shots`` takes them.
        pictures: The shots.
        takes: Arguments that the method makes use of.
        method: Its name, for messages.

    Raises:
        OptionError: They cannot be read or do not fit, or some shots have none and the method makes
            no use of unlabeled images.
    """
    if labels is None or is_auto(labels):
        return Labelled(pictures)
    if isinstance(labels, str | os.PathLike):
        labels = read_part_labels(labels, [picture_shot(one) for one in pictures])
    if not isinstance(labels, PartLabels):
        return Labelled(pictures, labels, class_names(labels))
    if len(labels.maps) != len(pictures):
        raise OptionError(f"{len(labels.maps)} labels for {len(pictures)} images; give one each.")
    pairs = list(zip(pictures, labels.maps, strict=True))
    known = [(picture, label) for picture, label in pairs if label is not None]
    rest = tuple(picture for picture, label in pairs if label is None)
    if not known:
        raise OptionError("labels= has no label for any of the shots; label one at least.")
    if rest:
        if "unlabeled" not in takes:
            raise OptionError(
                f"{len(rest)} of {len(pictures)} shots have no label, such as {rest[0][0]}, and "
                f"the method {method!r} makes no use of unlabeled images. Label them, or leave "
                f"them out."
            )
        _log.warning(
            "%d of %d shots have no label and count as unlabeled images", len(rest), len(pictures)
        )
    return Labelled([one for one, _ in known], [one for _, one in known], labels.names, rest)


def added(
    labels: LabelSource, pictures: Sequence[Picture], names: Sequence[str]
) -> tuple[Sequence[Array], tuple[str, ...]]:
    """Labels of further shots, as numbers of the classes that the first ones have.

    Args:
        labels: Arrays, a path, or :class:`PartLabels`; the latter two by the names of classes.
        pictures: The further shots.
        names: Of the classes so far.

    Returns:
        One label a shot, and the names of the classes; more than before only where these
        had no names.

    Raises:
        OptionError: They do not fit, a shot has none, or a class is new.
    """
    if is_auto(labels):
        raise OptionError(
            "Labels of further shots are a folder or arrays; for labels='auto', fit again with all "
            "shots."
        )
    if isinstance(labels, str | os.PathLike):
        labels = read_part_labels(labels, [picture_shot(one) for one in pictures])
    if not isinstance(labels, PartLabels):
        more = class_names(labels)
        if len(more) <= len(names):
            return labels, tuple(names)
        if tuple(names) == default_names(len(names)):
            return labels, more
        raise OptionError(
            f"labels= has the class {len(more) - 1}; the classes of this detector are "
            f"{_numbered(names)}."
        )
    if fresh := [name for name in labels.names if name not in names]:
        raise OptionError(
            f"labels= has the class {fresh[0]!r}, which the shots so far have not; their classes "
            f"are {_numbered(names)}. Rename it, or fit again with all shots."
        )
    table = np.array([names.index(name) for name in labels.names])
    found = []
    for (name, _), label in zip(pictures, labels.maps, strict=True):
        if label is None:
            raise OptionError(f"{name} has no label in {labels.source}; label it, or leave it out.")
        found.append(table[label].astype(np.uint8))
    return found, tuple(names)


def class_names(labels: Sequence[Array]) -> tuple[str, ...]:
    """``"background"``, ``"class 1"``, ... for all classes of arrays.

    Raises:
        OptionError: A class is negative, or greater than any can be.
    """
    most = 0
    for number, label in enumerate(np.asarray(label) for label in labels):
        if not label.size or not np.issubdtype(label.dtype, np.integer):
            continue  # said where labels are compared with their images
        least, most = int(label.min()), max(most, int(label.max()))
        if least < 0 or most >= MOST_CLASSES:
            raise OptionError(
                f"Label {number} of labels= has the class {least if least < 0 else most}; expected "
                f"0 (background) to {MOST_CLASSES - 1}."
            )
    return default_names(most + 1)


def shot_files(shots: Inputs) -> tuple[list[Shot], list[str]]:
    """Name, file and size of shots that are files, their pixels left on disk.

    Returns:
        The shots, and an error for each one that cannot be read.

    Raises:
        OptionError: One is no file.
        ShotsError: There are none.
    """
    found, unreadable = [], []
    for source in expand_sources(shots):
        if not isinstance(source, str | os.PathLike):
            raise OptionError(
                f"{source_name(source)} is no file, so that its label cannot be found by name; "
                "give paths or a folder."
            )
        path = Path(source)
        try:
            found.append(Shot(source_name(source), path, image_size(path)))
        except DatasetError as error:
            unreadable.append(str(error))
    return found, unreadable


def picture_shot(picture: Picture) -> Shot:
    """What a picture's label is found by: its file, where its name is one."""
    name, pixels = picture
    path = Path(name)
    try:
        there = path.is_file()
    except (OSError, ValueError):
        there = False
    return Shot(name, path if there else None, (pixels.shape[0], pixels.shape[1]))


def _numbered(names: Sequence[str]) -> str:
    return ", ".join(f"{number} {name}" for number, name in enumerate(names))
