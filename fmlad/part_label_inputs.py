"""Part labels as users give them to a detector: arrays, a folder, or found without any."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fmlad import profiles
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
from fmlad.loading import Inputs, Picture, choose_backbones, load_backbones, make_views
from fmlad.methods.protocol import FitContext
from fmlad.methods.registry import create_method
from fmlad.progress import Progress, silent
from fmlad.sentences import UNNAMED

if TYPE_CHECKING:
    from fmlad.backbones.roles import Backbone
    from fmlad.prediction import Segmentation

Array = npt.NDArray[np.integer[Any]]
LabelSource = str | os.PathLike[str] | PartLabels | Sequence[Array]

AUTO = "auto"
SEGMENTER, PROMPTED = "banks", "clip-lad"  # methods that find parts, without and with prompts
RECURS = 0.5  # share of the shots that show a part without a name, from which it is a class
# Names in segmentations of what is like no part in particular.
_NO_PARTS = ("other", "unknown", "object", "unmatched")

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


def auto_labels(
    pictures: Sequence[Picture],
    *,
    prompts: Any = None,
    profile: str | None = None,
    backbones: Mapping[str, str | Backbone] | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> PartLabels:
    """Part labels from the parts that the training-free methods tell apart.

    The method ``"banks"`` finds unnamed parts (``"part A"``, ...), and ``"clip-lad"`` those of a
    prompt set. Objects that it takes for no part of the shots in particular (``"other"``,
    ``"unknown"``, ``"object"``) are background here, and so are unnamed parts that fewer than half
    of the shots show: what a single shot has is no class.

    Args:
        pictures: The shots.
        prompts: A prompt set, its name or file, or None.
        profile: As in ``Detector.from_shots``.
        backbones: Role -> backbone name or object; those of roles that the method has not are left
            to the method that learns from the labels.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        seed: For everything left to chance.
        progress: Called as ``progress(done, total, what)``.

    Raises:
        OptionError: No part was found that recurs.
        WeightsUnavailableError: A backbone's weights are not here and cannot be fetched.
    """
    from fmlad.training.loop import seeded

    progress = progress or silent
    name = SEGMENTER if prompts is None else PROMPTED
    method = create_method(name, {"banks": ("histogram",)} if prompts is None else {})
    profile = profiles.profile_name(profile)
    roles = {*method.needs, *getattr(method, "optional", {})}
    own = {role: one for role, one in (backbones or {}).items() if role in roles}
    _, chosen = choose_backbones(method, profile, own)
    device = profiles.pick_device(device)
    views = make_views(load_backbones(chosen, device), pictures)
    context = FitContext(prompts=prompts, device=device, seed=seed, progress=progress)
    with seeded(seed, device):
        state = method.fit(views, context)
    found: list[Segmentation] = []
    for done, view in enumerate(views, start=1):
        segmentation = method.evidence(view, state).segmentation
        if segmentation is None:
            raise OptionError(f"The method {name!r} told no parts apart in {view.name}.")
        found.append(segmentation)
        view.release()
        progress(done, len(views), "labelling the parts of each shot")
    return _recurring(found, name)


def _recurring(found: Sequence[Segmentation], method: str) -> PartLabels:
    """Label maps of the parts that recur: named ones in their order, then letters in theirs."""
    shown: dict[str, int] = {}
    for one in found:
        present = np.unique(one.labels).tolist()
        for number, name in enumerate(one.names[1:], start=1):
            shown[name] = shown.get(name, 0) + (number in present)
    kept = [
        name
        for name, count in shown.items()
        if (method == PROMPTED or name not in _NO_PARTS)
        and count >= (max(1, RECURS * len(found)) if UNNAMED.fullmatch(name) else 1)
    ]
    letters = [name for name in kept if UNNAMED.fullmatch(name)]
    kept = [name for name in kept if name not in letters]
    kept = [*kept, *sorted(letters, key=lambda name: (len(name), name))][: MOST_CLASSES - 1]
    if not kept:
        raise OptionError(
            "labels='auto' found no part that recurs in the shots; give labels (a folder, "
            "labels=FOLDER), or prompts that name the parts."
        )
    names = ("background", *kept)
    maps = []
    for one in found:
        table = [kept.index(name) + 1 if name in kept else 0 for name in one.names]
        maps.append(np.array([0, *table[1:]], np.uint8)[one.labels])
    return PartLabels(names, tuple(maps), f"parts found by {method!r}")


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
