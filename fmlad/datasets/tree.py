"""The layout that most datasets share: ``train/good``, ``test/KIND``, ``ground_truth/KIND``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fmlad.datasets import truths
from fmlad.datasets.files import (
    Lister,
    child,
    entries,
    folders,
    held,
    key,
    need,
    some,
    unique_names,
)
from fmlad.datasets.masks import MaskFinder, Reader, settle
from fmlad.datasets.model import Dataset, Kind, Sample
from fmlad.errors import DatasetError

CONFIG = "defects_config.json"
MASK_FOLDERS = ("ground_truth", "masks", "gt")


@dataclass(frozen=True)
class TreeRules:
    """What a layout of this family calls things.

    Attributes:
        good: Names of folders with normal images.
        kind: From the name of another folder to the kind of its anomalies.
        defect: From that name to the name of the defect; None where the folder does not tell.
        validation: Whether there must be ``validation/good``.
        empty: Whether folders may hold no images, as in a world made with a count of 0.
    """

    good: tuple[str, ...] = ("good",)
    kind: Callable[[str], Kind] = lambda name: "structural"
    defect: Callable[[str], str | None] = lambda name: name
    validation: bool = False
    empty: bool = False

    @property
    def layout(self) -> str:
        """In words, for messages."""
        middle = f"validation/{self.good[0]}, " * self.validation
        return f"train/{self.good[0]}, {middle}test/{self.good[0]}, test/... and ground_truth/..."


@dataclass
class Found:
    """What was found of a category so far."""

    train: list[Sample] = field(default_factory=list)
    validation: list[Sample] = field(default_factory=list)
    test: list[Sample] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def dataset(
        self,
        name: str,
        home: Path,
        category: str,
        subtype: str | None = None,
        prompts: str | None = None,
    ) -> Dataset:
        """What was found, as a dataset."""
        train, validation, test = tuple(self.train), tuple(self.validation), tuple(self.test)
        notes = tuple(self.notes)
        return Dataset(name, category, subtype, home, train, validation, test, prompts, notes)


def is_tree(folder: Path) -> bool:
    """Whether a folder is a category of this family, or half of one."""
    return child(folder, "train") is not None or child(folder, "test") is not None


def read_tree(home: Path, rules: TreeRules) -> Found:
    """Lists a category; no image is decoded.

    Raises:
        DatasetError: A folder is missing or without images, or some masks are missing.
    """
    lister, found = Lister(), Found()
    train = need(home, "train", layout=rules.layout)
    test = need(home, "test", layout=rules.layout)
    found.train = normals(lister, need(train, *rules.good, layout=rules.layout), rules.empty)
    if rules.validation:
        place = need(home, "validation", "val", layout=rules.layout)
        further = need(place, *rules.good, layout=rules.layout)
        found.validation = normals(lister, further, rules.empty)
    good = need(test, *rules.good, layout=rules.layout)
    names = set(map(key, rules.good))
    bad = [path for path in folders(test) if key(path.name) not in names]
    if not bad:
        raise DatasetError(
            f"{test} has no folder with anomalies; found: {held(test)}. Expected {rules.layout}. "
            "Was the archive unpacked completely?"
        )
    anomalies = read_anomalies(lister, home, bad, rules, found.notes)
    localised = any(sample.read_truth is not None for sample in anomalies)
    found.test = normals(lister, good, rules.empty, localised) + anomalies
    found.notes += lister.notes()
    return found


def normals(
    lister: Lister, folder: Path, empty: bool = False, with_truth: bool = False
) -> list[Sample]:
    """Samples of a folder with normal images.

    Raises:
        DatasetError: It holds none, and may not be empty.
    """
    images = lister.images(folder) if empty else some_images(lister, folder)
    return [
        Sample(
            f"good/{name}",
            path,
            "good",
            read_truth=partial(truths.nothing, path) if with_truth else None,
        )
        for name, path in zip(unique_names(images), images, strict=True)
    ]


def some_images(lister: Lister, folder: Path) -> list[Path]:
    """The images of a folder.

    Raises:
        DatasetError: It holds none.
    """
    if images := lister.images(folder):
        return images
    raise DatasetError(
        f"{folder} holds no images; found: {held(folder)}. Expected .png, .jpg, .bmp, .tif or the "
        "like straight in it. Was the archive unpacked completely?"
    )


def read_anomalies(
    lister: Lister, home: Path, bad: list[Path], rules: TreeRules, notes: list[str]
) -> list[Sample]:
    """Samples of the folders with anomalous images, with their truths; notes are added to."""
    drawn = child(home, *MASK_FOLDERS)
    config = _config(home, drawn)
    readers: dict[Path, Reader | None] = {}
    places: dict[Path, Path] = {}
    samples: list[tuple[str, Path, str]] = []
    spare = 0
    for folder in bad:
        images = lister.images(folder) if rules.empty else some_images(lister, folder)
        masks = None if drawn is None else _masks_of(drawn, folder.name, len(bad) == 1)
        finder = None if masks is None else MaskFinder(masks, lister, config)
        for name, path in zip(unique_names(images), images, strict=True):
            readers[path] = finder.reader(path) if finder else None
            missing = (drawn or home / MASK_FOLDERS[0]) / folder.name / f"{path.stem}_mask.png"
            places[path] = finder.expected(path) if finder else missing
            samples.append((f"{folder.name}/{name}", path, folder.name))
        spare += finder.spare() if finder else 0
    settled, more = settle(readers, places.__getitem__, drawn)
    notes += more
    if spare:
        notes.append(f"There is no image to {some(spare, 'mask')}; are images missing?")
    return [
        Sample(name, path, rules.kind(folder), rules.defect(folder), read_truth=settled[path])
        for name, path, folder in samples
    ]


def _masks_of(drawn: Path, defect: str, only: bool) -> Path | None:
    """The masks of one defect: in a folder of its name, or straight in the folder of masks."""
    inner = child(drawn, "test") or drawn
    if found := child(inner, defect):
        return found
    return inner if only and any(path.is_file() for path in entries(inner)) else None


def _config(home: Path, drawn: Path | None) -> Mapping[int, truths.Saturation] | None:
    """LOCO's saturation areas, where the file lies in the category."""
    file = next((p for p in entries(home) if p.name.lower() == CONFIG), None)
    return truths.read_defects_config(file) if file is not None and drawn is not None else None
