"""The scenes' own labels: ``slots/`` (a class is a part at its place) and ``parts/``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fmlad.datasets.part_labels.classes import Classes, by_number
from fmlad.datasets.part_labels.images import read_values
from fmlad.datasets.part_labels.model import Reading, Shot
from fmlad.errors import OptionError
from fmlad.io.images import reason

MANIFEST = "scenes.json"
_KINDS = ("slots", "parts")
_DEEP = 4  # folders between a scenes folder and the labels of one type, at most


@dataclass(frozen=True)
class SceneFolder:
    """Where the labels of some scenes lie.

    Attributes:
        root: The folder that ``make_scenes`` made.
        kind: ``"slots"`` or ``"parts"``.
        folder: The folder that was given.
    """

    root: Path
    kind: str
    folder: Path


def find_scenes(folder: Path) -> SceneFolder | None:
    """The scenes that a folder of labels belongs to; None where it is none of theirs."""
    folder = folder.absolute()
    for root in [folder, *folder.parents][:_DEEP]:
        if not (root / MANIFEST).is_file():
            continue
        steps = folder.relative_to(root).parts
        kind = steps[0] if steps else _KINDS[0]
        return SceneFolder(root, kind, folder) if kind in _KINDS else None
    return None


def read_scenes(place: SceneFolder, shots: Sequence[Shot]) -> Reading:
    """Labels of scenes: those at the same place in the folder tree, or else of the same name.

    A slot is named as findings would: the part, and where it is (``"red pushpin r1c1"``). Classes
    that no shot shows are left out, for the list has those of anomalies as well.
    """
    reading = Reading(f"{place.kind} of the scenes in {place.root}", [None] * len(shots))
    reading.unused = True
    file = place.root / MANIFEST
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))[place.kind]
        names = [_name(one) for one in listed]
    except (OSError, ValueError, LookupError, TypeError) as error:
        reading.problems.append(
            f"{file} cannot be used ({type(error).__name__}: {reason(error)}). Make the scenes "
            "again (`fmlad scenes`)."
        )
        return reading
    reading.names = names
    for index, shot in enumerate(shots):
        label = _label_of(place, shot)
        if label is None:
            continue
        try:
            reading.maps[index] = by_number(read_values(label, shot, None), Classes(file, names))
        except OptionError as error:
            reading.problems.append(f"{label} {error}.")
    return reading


def _name(listed: str | Sequence[str | None]) -> str:
    return listed if isinstance(listed, str) else " ".join(word for word in listed if word)


def _label_of(place: SceneFolder, shot: Shot) -> Path | None:
    if shot.path is None:
        return None
    path = shot.path.absolute()
    if path.is_relative_to(place.root):
        found = place.root / place.kind / path.relative_to(place.root)
    else:
        found = place.folder / path.name
    return found if found.is_file() else None
