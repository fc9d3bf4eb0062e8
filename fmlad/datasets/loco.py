"""MVTec LOCO AD: logical and structural anomalies, several masks an image, saturation areas."""

from __future__ import annotations

from pathlib import Path

from fmlad.datasets.counts import OFFICIAL, differences
from fmlad.datasets.files import (
    categories_in,
    check_root,
    entries,
    find_category,
    key,
    some,
    spelled,
)
from fmlad.datasets.model import Dataset, Kind, Sample
from fmlad.datasets.product_types import loco_type, loco_types, nearest_types
from fmlad.datasets.tree import CONFIG, Found, TreeRules, is_tree, read_tree
from fmlad.errors import DatasetError, UnknownNameError

_OFFICIAL = tuple(OFFICIAL["mvtec_loco"])


def _kind(name: str) -> Kind:
    return "logical" if key(name).startswith("logical") else "structural"


# The masks of LOCO tell the defect by their value, the folders do not; no mask is opened for it.
LOCO_RULES = TreeRules(kind=_kind, defect=lambda name: None, validation=True)


def loco_categories(root: Path) -> list[str]:
    """Categories of MVTec LOCO on disk."""
    check_root(root)
    return [spelled(path, _OFFICIAL) for path in categories_in(root, is_tree)]


def load_loco(root: Path, category: str, subtype: str | None) -> Dataset:
    """Reads a category of MVTec LOCO."""
    home = find_category("mvtec_loco", root, category, _OFFICIAL, is_tree)
    category = spelled(home, _OFFICIAL)
    check_subtype("mvtec_loco", category, subtype, loco_types(category))
    found = read_tree(home, LOCO_RULES)
    notes = [
        *differences("mvtec_loco", category, found.train, found.validation, found.test),
        *found.notes,
    ]
    localised = any(s.read_truth is not None for s in found.test)
    if localised and not any(path.name.lower() == CONFIG for path in entries(home)):
        notes.append(f"{CONFIG} is missing: each region saturates at its whole area.")
    # The bundled sets are for one sub-type each where there are some, and those have no names yet.
    with_prompts = category in _OFFICIAL and not loco_types(category)
    prompts = f"mvtec_loco/{category}" if with_prompts else None
    found.notes = notes
    if subtype is not None:
        types = {sample.path: loco_type(category, sample.path) for sample in found.train}
        keep_type(found, subtype, types)
    return found.dataset("mvtec_loco", home, category, subtype, prompts)


def check_subtype(dataset: str, category: str, subtype: str | None, known: tuple[str, ...]) -> None:
    """Raises :class:`UnknownNameError` for a sub-type that the category has not."""
    if subtype is not None and subtype not in known:
        raise UnknownNameError.of(f"sub-type of {category} in {dataset}", subtype, known)


def keep_type(found: Found, subtype: str, types: dict[Path, str | None]) -> None:
    """Drops all images of other sub-types, in place.

    Args:
        found: Of all sub-types.
        subtype: The one to keep.
        types: Type of each training image, None where it is not known.

    Raises:
        DatasetError: No type is known.
    """
    known = {path: type_ for path, type_ in types.items() if type_ is not None}
    if not known:
        raise DatasetError(
            "No training image has the number of an official one (000, 001, ...), so no sub-type "
            "is known. Use the files under their own names, or load without a sub-type."
        )
    rest = [s.path for s in (*found.train, *found.validation, *found.test) if s.path not in known]
    all_types = known | dict(zip(rest, nearest_types(known, rest), strict=True))

    def keep(samples: list[Sample]) -> list[Sample]:
        return [sample for sample in samples if all_types[sample.path] == subtype]

    unknown = len(found.train) - len(known)
    found.train, found.validation, found.test = map(
        keep, (found.train, found.validation, found.test)
    )
    found.notes.append(
        f"Sub-type {subtype}: training images by the known assignment, validation and test images "
        "by the most similar training image."
    )
    if unknown:
        found.notes.append(
            f"Assigned in the same way: {some(unknown, 'training image')} without a known type."
        )
