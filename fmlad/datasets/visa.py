"""VisA as it is unpacked (``Data/Images/...``, the split in a table), or prepared as MVTec AD."""

from __future__ import annotations

import csv
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from fmlad.datasets.counts import differences, official_names
from fmlad.datasets.files import Lister, child, find_category, key, need, read_lines, some, spelled
from fmlad.datasets.model import Dataset
from fmlad.datasets.tree import POOL, RULES, annotated, is_tree, normals, read_anomalies, read_tree
from fmlad.errors import DatasetError

SPLIT = ("split_csv", "1cls.csv")  # the one-class protocol
_LAYOUT = "Data/Images/Normal, Data/Images/Anomaly and Data/Masks/Anomaly"
_COLUMNS = ("object", "split", "label", "image")


def is_object(folder: Path) -> bool:
    """Whether a folder is a category, unpacked or prepared."""
    return child(folder, "Data") is not None or is_tree(folder)


def load_visa(root: Path, category: str) -> Dataset:
    """Reads a category; the split is that of ``split_csv/1cls.csv``.

    Where that table is missing, all normal images are one pool: drawn from, and tested as well.
    """
    official = official_names("visa")
    home = find_category("visa", root, category, official, is_object)
    category = spelled(home, official)
    data = child(home, "Data")
    if data is None:
        return read_tree("visa", home, category)
    lister, notes = Lister(), list[str]()
    images = need(data, "Images", layout=_LAYOUT)
    good = normals(lister, need(images, "Normal", layout=_LAYOUT), RULES["visa"], "Normal")
    folder = need(images, "Anomaly", layout=_LAYOUT)
    bad = read_anomalies(lister, data, [folder], RULES["visa"], notes)
    good = annotated(good, bad)
    found = Dataset("visa", category, None, home, tuple(good), (), (*good, *bad))
    table = root.joinpath(*SPLIT)
    if table.is_file():
        split = _read_split(table, home, [sample.path for sample in found.test])
        if absent := len(found.test) - len(split):
            notes.append(f"Left out, since not in {table.name}: {some(absent, 'image')}.")
        train = tuple(s for s in good if split.get(s.path) == "train")
        test = tuple(s for s in found.test if split.get(s.path) == "test")
        found = replace(found, train=train, test=test)
        notes = [*differences(found), *notes]
    else:
        notes.append(f"{'/'.join(SPLIT)} is missing, so this is not the official split. {POOL}")
    return replace(found, notes=(*notes, *lister.notes()))


def _read_split(table: Path, home: Path, images: Collection[Path]) -> dict[Path, str]:
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
