"""VisA as it is unpacked (``Data/Images/...``, the split in a table), or prepared as MVTec AD."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

from fmlad.datasets import mvtec, truths
from fmlad.datasets.counts import OFFICIAL, differences
from fmlad.datasets.files import (
    Lister,
    categories_in,
    check_root,
    child,
    find_category,
    key,
    need,
    some,
    spelled,
    unique_names,
)
from fmlad.datasets.masks import MaskFinder, settle
from fmlad.datasets.model import Dataset, Sample
from fmlad.datasets.tree import is_tree, some_images
from fmlad.datasets.truths import read_lines
from fmlad.errors import DatasetError

SPLIT = ("split_csv", "1cls.csv")  # the one-class protocol
_LAYOUT = "Data/Images/Normal, Data/Images/Anomaly and Data/Masks/Anomaly"
_OFFICIAL = tuple(OFFICIAL["visa"])
_COLUMNS = ("object", "split", "label", "image")


def is_object(folder: Path) -> bool:
    """Whether a folder is a category, unpacked or prepared."""
    return child(folder, "Data") is not None or is_tree(folder)


def categories(root: Path) -> list[str]:
    """The categories on disk."""
    check_root(root)
    return [spelled(path, _OFFICIAL) for path in categories_in(root, is_object)]


def load_visa(root: Path, category: str) -> Dataset:
    """Reads a category; the split is that of ``split_csv/1cls.csv``.

    Where that table is missing, all normal images are one pool: drawn from, and tested as well.
    """
    home = find_category("visa", root, category, _OFFICIAL, is_object)
    category = spelled(home, _OFFICIAL)
    data = child(home, "Data")
    if data is None:
        return mvtec.read_home("visa", home)
    lister, notes = Lister(), list[str]()
    pictures = need(data, "Images", layout=_LAYOUT)
    good = some_images(lister, need(pictures, "Normal", layout=_LAYOUT))
    bad = some_images(lister, need(pictures, "Anomaly", layout=_LAYOUT))
    masks = child(data, "Masks")
    drawn = None if masks is None else child(masks, "Anomaly")
    finder = None if drawn is None else MaskFinder(drawn, lister)
    readers = {path: finder.reader(path) if finder else None for path in bad}
    place = (drawn or data / "Masks" / "Anomaly").joinpath
    settled, more = settle(readers, lambda path: place(f"{path.stem}.png"), drawn)
    notes += more
    localised = any(reader is not None for reader in settled.values())
    pool = {
        path: Sample(
            f"Normal/{name}",
            path,
            "good",
            read_truth=partial(truths.nothing, path) if localised else None,
        )
        for name, path in zip(unique_names(good), good, strict=True)
    }
    anomalies = {
        path: Sample(f"Anomaly/{name}", path, "structural", read_truth=settled[path])
        for name, path in zip(unique_names(bad), bad, strict=True)
    }
    table = root.joinpath(*SPLIT)
    if table.is_file():
        split = _read_split(table, home, [*good, *bad])
        train = [pool[path] for path in good if split.get(path) == "train"]
        test = [s for path, s in (pool | anomalies).items() if split.get(path) == "test"]
        absent = len(good) + len(bad) - len(split)
        if absent:
            notes.append(f"Left out, since not in {table.name}: {some(absent, 'image')}.")
        notes = [*differences("visa", category, train, (), test), *notes]
    else:
        train, test = list(pool.values()), [*pool.values(), *anomalies.values()]
        notes.append(
            f"{'/'.join(SPLIT)} is missing, so this is not the official split but one pool: normal "
            "images are tested as well, except those that are drawn as shots."
        )
    return Dataset(
        "visa", category, None, home, tuple(train), (), tuple(test), None,
        (*notes, *lister.notes()),
    )  # fmt: skip


def _read_split(table: Path, home: Path, images: list[Path]) -> dict[Path, str]:
    """From image to ``"train"`` or ``"test"``, for those of the category that are in the table.

    Images are found by folder and stem, so that a converted file (``.png`` for ``.JPG``) is too.
    """
    there = {(key(path.parent.name), path.stem): path for path in images}
    split: dict[Path, str] = {}
    missing: list[str] = []
    rows = csv.DictReader(read_lines(table))
    if absent := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
        raise DatasetError(
            f"{table} has no column {absent[0]!r}; expected {', '.join(_COLUMNS)}. Take the file "
            "from the archive."
        )
    for row in rows:
        if key(row["object"] or "") != key(home.name):
            continue
        image = Path((row["image"] or "").replace("\\", "/"))
        path = there.get((key(image.parent.name), image.stem))
        if path is None:
            missing.append(str(image))
        elif row["split"] in ("train", "test"):
            split[path] = row["split"]
    if missing:
        raise DatasetError(
            f"{home} lacks {some(len(missing), 'image')} of {table}, first {missing[0]}. "
            "Was the archive unpacked completely?"
        )
    if not split:
        raise DatasetError(
            f"{table} has no row of {key(home.name)!r}. Take the file from the archive, or take it "
            "away to go without a split."
        )
    return split
