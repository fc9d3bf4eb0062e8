"""The layout that most datasets share: ``train/good``, ``test/KIND``, ``ground_truth/KIND``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from fmlad.datasets.annotations import MaskFinder, no_regions, read_defects_config
from fmlad.datasets.counts import differences, official_names
from fmlad.datasets.files import (
    Lister,
    child,
    entries,
    find_category,
    folders,
    held,
    key,
    need,
    some,
    spelled,
    unique_names,
)
from fmlad.datasets.model import Dataset, Kind, Sample
from fmlad.errors import DatasetError

CONFIG = "defects_config.json"
MASK_FOLDERS = ("ground_truth", "masks", "gt")
POOL = "One pool: normal images are tested as well, except those that are drawn as shots."


@dataclass(frozen=True)
class TreeRules:
    """What a layout of this family calls things.

    Attributes:
        good: Names of folders with normal images.
        kind: Of anomalies whose folder begins neither with "logical" nor with "structural".
        defects: Whether the name of a folder is that of the defect.
        validation: Whether there must be ``validation/good``.
        empty: Whether folders may hold no images, as in scenes made with a count of 0.
    """

    good: tuple[str, ...] = ("good",)
    kind: Kind = "structural"
    defects: bool = True
    validation: bool = False
    empty: bool = False

    @property
    def layout(self) -> str:
        """In words, for messages."""
        middle = f"validation/{self.good[0]}, " * self.validation
        return f"train/{self.good[0]}, {middle}test/{self.good[0]}, test/... and ground_truth/..."

    def kind_of(self, folder: Path) -> Kind:
        """The kind of the anomalies in a folder, by its name."""
        if key(folder.name).startswith("logical"):
            return "logical"
        return "structural" if key(folder.name).startswith("structural") else self.kind


RULES = {
    "mvtec_ad": TreeRules(),
    "mpdd": TreeRules(),
    "btad": TreeRules(good=("ok",), defects=False),
    "visa": TreeRules(defects=False),  # where it was prepared like MVTec AD
    # The masks of LOCO tell the defect by their value, the folders do not; no mask is opened here.
    "mvtec_loco": TreeRules(defects=False, validation=True),
    "scenes": TreeRules(defects=False, validation=True, empty=True),
    "digits": TreeRules(kind="logical", empty=True),
}


def is_tree(folder: Path) -> bool:
    """Whether a folder is a category of this family, or half of one."""
    return child(folder, "train") is not None or child(folder, "test") is not None


def load_tree(dataset: str, root: Path, category: str) -> Dataset:
    """Reads a category of a dataset that is laid out so."""
    official = official_names(dataset)
    home = find_category(dataset, root, category, official, is_tree)
    return read_tree(dataset, home, spelled(home, official))


def read_tree(dataset: str, home: Path, category: str) -> Dataset:
    """Reads the folder of a category by the rules of its dataset; no image is decoded.

    Raises:
        DatasetError: A folder is missing or without images, or some masks are missing.
    """
    lister, notes, rules = Lister(), list[str](), RULES[dataset]
    train = need(home, "train", layout=rules.layout)
    test = need(home, "test", layout=rules.layout)
    shots = normals(lister, need(train, *rules.good, layout=rules.layout), rules)
    validation: list[Sample] = []
    if rules.validation:
        place = need(home, "validation", "val", layout=rules.layout)
        validation = normals(lister, need(place, *rules.good, layout=rules.layout), rules)
    good = need(test, *rules.good, layout=rules.layout)
    names = set(map(key, rules.good))
    bad = [path for path in folders(test) if key(path.name) not in names]
    if not bad:
        raise DatasetError(
            f"{test} has no folder with anomalies; found: {held(test)}. Expected {rules.layout}. "
            "Was the archive unpacked completely?"
        )
    anomalies = read_anomalies(lister, home, bad, rules, notes)
    tested = annotated(normals(lister, good, rules), anomalies)
    splits = (tuple(shots), tuple(validation), (*tested, *anomalies))
    found = Dataset(dataset, category, None, home, *splits)
    return replace(found, notes=(*differences(found), *notes, *lister.notes()))


def normals(lister: Lister, folder: Path, rules: TreeRules, prefix: str = "good") -> list[Sample]:
    """Samples of a folder with normal images; DatasetError where it holds none, but should."""
    images = lister.images(folder, needed=not rules.empty)
    pairs = zip(unique_names(images), images, strict=True)
    return [Sample(f"{prefix}/{name}", path, "good") for name, path in pairs]


def annotated(good: Sequence[Sample], anomalies: Sequence[Sample]) -> list[Sample]:
    """Normal samples, annotated as without any region where the anomalous ones have masks."""
    if not any(sample.read_annotation for sample in anomalies):
        return list(good)
    return [replace(s, read_annotation=partial(no_regions, s.path)) for s in good]


def read_anomalies(
    lister: Lister, home: Path, bad: Sequence[Path], rules: TreeRules, notes: list[str]
) -> list[Sample]:
    """Samples of the folders with anomalous images, with their masks; notes are added to.

    Raises DatasetError where a folder holds no images, or only some images have a mask.
    """
    drawn = child(home, *MASK_FOLDERS)
    config = None
    if drawn and (file := next((p for p in entries(home) if p.name.lower() == CONFIG), None)):
        config = read_defects_config(file)
    samples: list[Sample] = []
    missing: list[tuple[Path, Path]] = []  # images without a mask, and where it should lie
    spare = 0
    for folder in bad:
        images = lister.images(folder, needed=not rules.empty)
        masks = drawn and _masks_of(drawn, folder.name, len(bad) == 1)
        masks = masks or (drawn or home / MASK_FOLDERS[0]) / folder.name
        finder = MaskFinder(masks, lister, config)
        kind, defect = rules.kind_of(folder), folder.name if rules.defects else None
        for name, path in zip(unique_names(images), images, strict=True):
            reader = finder.reader(path)
            if reader is None:
                missing.append((path, finder.expected(path)))
            samples.append(Sample(f"{folder.name}/{name}", path, kind, defect, None, reader))
        spare += finder.spare()
    if missing:
        image, expected = missing[0]
        if len(missing) < len(samples):
            raise DatasetError(
                f"{image} has no mask ({len(missing)} of {len(samples)} anomalous images have "
                f"none); expected {expected}. Copy the masks again, or take the folder of masks "
                "away to go without any."
            )
        why = "There are no masks: nothing"
        if drawn is not None:
            why = f"No mask in {drawn} bears the name of an image; expected some such as "
            why += f"{expected}. Nothing"
        notes.append(f"{why} can be said about where anomalies are.")
    if spare:
        notes.append(f"There is no image to {some(spare, 'mask')}; are images missing?")
    return samples


def _masks_of(drawn: Path, defect: str, only: bool) -> Path | None:
    """The masks of one defect: in a folder of its name, or straight in the folder of masks."""
    inner = child(drawn, "test") or drawn
    if found := child(inner, defect):
        return found
    return inner if only and any(path.is_file() for path in entries(inner)) else None
