"""DeepPCB: scans of circuit boards, each with an aligned template without defects."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from fmlad.datasets.annotations import box_regions
from fmlad.datasets.files import Lister, find_category, folders, held
from fmlad.datasets.model import Dataset, Sample
from fmlad.errors import DatasetError

_SCAN, _TEMPLATE, _BOXES = "_test", "_temp", "_not"


def is_group(folder: Path) -> bool:
    """Whether a folder holds pairs: ``NNNNN/`` beside ``NNNNN_not/``."""
    return _pairs_folder(folder) is not None


def load_deeppcb(root: Path, category: str) -> Dataset:
    """Reads a group: each scan is a test image, its template the reference.

    There are no normal test images: a template tested against itself would say nothing. Raises
    DatasetError where a template or the boxes of a scan are missing.
    """
    home = find_category("deeppcb", root, category, ("group77000",), is_group)
    folder = _pairs_folder(home)
    if folder is None:
        raise DatasetError(
            f"{home} holds no pairs; found: {held(home)}. Expected a folder such as 77000/ with "
            "scans and templates, and 77000_not/ with their boxes."
        )
    lister = Lister()
    images = {path.stem: path for path in lister.images(folder)}
    test = []
    for stem, path in images.items():
        if not stem.endswith(_SCAN):
            continue
        name = stem.removesuffix(_SCAN)
        template = images.get(name + _TEMPLATE, folder / f"{name}{_TEMPLATE}{path.suffix}")
        boxes = home / (folder.name + _BOXES) / f"{name}.txt"
        for what, file in (("template", template), ("boxes", boxes)):
            if not file.is_file():
                raise DatasetError(f"{path} has no {what}; expected {file}. Copy the group again.")
        read = partial(box_regions, path, boxes)
        test.append(Sample(name, path, "structural", None, template, read))
    if not test:
        raise DatasetError(
            f"{folder} holds no scans; found: {held(folder)}. Expected files such as "
            f"00041000{_SCAN}.jpg with 00041000{_TEMPLATE}.jpg beside."
        )
    notes = ["There are no normal test images: figures over images cannot be computed."]
    notes += lister.notes()
    return Dataset("deeppcb", home.name, None, home, (), (), tuple(test), None, tuple(notes))


def _pairs_folder(folder: Path) -> Path | None:
    there = {path.name: path for path in folders(folder)}
    return next((there[name] for name in there if name + _BOXES in there), None)
