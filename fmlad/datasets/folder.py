"""A folder of the user's own: normal images, perhaps others, perhaps masks.

The rules, tried in this order; case, spaces and hyphens make no difference in names.

1. ``train/`` holds normal images, straight or in ``good/`` (or ``ok/``, ``normal/``), and
   ``test/`` holds ``good/`` and any further folders, each a kind of anomaly.
2. Without ``train/``, ``good/`` and any further folders beside it, each a kind of anomaly. All
   normal images are one pool then: drawn from, and tested as well.

``validation/`` (``val/``) holds further normal images, ``ground_truth/`` (``masks/``, ``gt/``) the
masks, in folders named like those of the images, or straight in it where there is one kind only.
A folder whose name begins with "logical" or "structural" is of that kind.
"""

from __future__ import annotations

from pathlib import Path

from fmlad.datasets.files import Lister, categories_in, check_root, child, folders, held, key
from fmlad.datasets.model import Dataset, Sample
from fmlad.datasets.tree import MASK_FOLDERS, POOL, TreeRules, annotated, normals, read_anomalies
from fmlad.errors import DatasetError, UnknownNameError

GOOD = ("good", "ok", "normal", "normals")
TRAIN, TEST, VALIDATION = ("train", "training"), ("test", "testing"), ("validation", "val", "valid")
_LAYOUT = "train/ and test/good, test/..., or good/ with further folders beside it"
_RULES = TreeRules(good=GOOD, kind="anomalous")


def is_folder(folder: Path) -> bool:
    """Whether a folder holds images in one of the ways above."""
    return child(folder, *TRAIN) is not None or child(folder, *GOOD) is not None


def folder_categories(root: Path) -> list[str]:
    """ "" where the root itself is a dataset, else the sub-folders that are one."""
    check_root(root)
    return [""] if is_folder(root) else [path.name for path in categories_in(root, is_folder)]


def load_folder(root: Path, category: str) -> Dataset:
    """Reads the root, or a sub-folder of it.

    Raises:
        DatasetError: There are no normal images, no others, or some masks are missing.
        UnknownNameError: No such sub-folder.
    """
    check_root(root)
    home = child(root, category) if category else root
    if home is None:
        raise UnknownNameError.of(f"folder in {root}", category, [p.name for p in folders(root)])
    lister, notes = Lister(), list[str]()
    train, test = child(home, *TRAIN), child(home, *TEST)
    pool = None if train else child(home, *GOOD)
    if train is None and pool is None:
        raise DatasetError(_nothing(home))
    if train is not None and test is None:
        raise DatasetError(
            f"{home} has {train.name}/ but no test/; found: {held(home)}. Expected {_LAYOUT}. Put "
            "what is to be judged into test/good and test/anomalous."
        )
    where = home if test is None else test
    special = {*GOOD, *TRAIN, *TEST, *VALIDATION, *MASK_FOLDERS}
    bad = [p for p in folders(where) if key(p.name) not in (special if test is None else GOOD)]
    if not bad:
        raise DatasetError(
            f"{where} has no folder with anomalous images; found: {held(where)}. "
            f"Expected {_LAYOUT}."
        )
    anomalies = read_anomalies(lister, home, bad, _RULES, notes)
    shots = normals(lister, pool or (train and child(train, *GOOD)) or train or home, _RULES)
    tested: list[Sample] = []
    if pool is not None:
        tested = shots
        notes.append(POOL)
    elif good := child(where, *GOOD):
        tested = normals(lister, good, _RULES)
    else:
        notes.append("There are no normal test images: figures over images cannot be computed.")
    further = child(home, *VALIDATION)
    validation = normals(lister, child(further, *GOOD) or further, _RULES) if further else []
    return Dataset(
        "folder", category and home.name, None, home, tuple(shots), tuple(validation),
        (*annotated(tested, anomalies), *anomalies), None, (*notes, *lister.notes()),
    )  # fmt: skip


def _nothing(home: Path) -> str:
    inner = [path.name for path in categories_in(home, is_folder)]
    if inner:
        return f"{home} holds several datasets. Choose one as the category: {', '.join(inner)}."
    deeper = [path for path in folders(home) if categories_in(path, is_folder)]
    advice = f" Pass {deeper[0]}." if deeper else ""
    return f"{home} holds no normal images; found: {held(home)}. Expected {_LAYOUT}.{advice}"
