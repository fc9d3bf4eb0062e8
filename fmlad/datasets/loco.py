"""MVTec LOCO AD: the shared layout with saturation areas and prompt sets, and the nine-way split.

That is juice bottles and splicing connectors by sub-type of the product. Every *training* image has
a known type (``official.toml``). Whatever has none takes that of the most similar image that has.
Nobody says which type is which product: that is read off the colours of the training images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import permutations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fmlad.datasets.counts import facts, official_names
from fmlad.datasets.files import entries, find_category, some, spelled
from fmlad.datasets.model import Dataset, Sample
from fmlad.datasets.tree import CONFIG, is_tree, read_tree
from fmlad.errors import DatasetError, UnknownNameError
from fmlad.io.images import load_image

# Hues were preferred to a layout of colours on scenes of seed 0; the numbers were set once.
SIDE = 128  # px to which images are squeezed
HUES = 24  # bins of the colour circle
GREY = 15  # CIELAB chroma up to which a pixel has no hue; above, it weighs by its chroma

# What tells the products of a category apart: hue in degrees of CIELAB, about that of the juice and
# the fruit, and of the cable. The rest of the picture is common to all three.
KINDS: Mapping[str, Mapping[str, float]] = {
    "juice_bottle": {"banana": 95.0, "cherry": 30.0, "orange": 65.0},
    "splicing_connectors": {"blue": 280.0, "red": 30.0, "yellow": 95.0},
}
LEAST_LEAD = 0.1  # of the best way to name three types over the next best one, whose range is 2


def load_loco(root: Path, category: str, subtype: str | None) -> Dataset:
    """Reads a category of MVTec LOCO, or one sub-type of it."""
    official = official_names("mvtec_loco")
    home = find_category("mvtec_loco", root, category, official, is_tree)
    category = spelled(home, official)
    kinds, types = KINDS.get(category, {}), loco_types(category)
    if subtype not in types:  # a number is taken as well
        check_subtype("mvtec_loco", category, subtype, tuple(kinds))
    found = read_tree("mvtec_loco", home, category)
    if found.localised and not any(path.name.lower() == CONFIG for path in entries(home)):
        note = f"{CONFIG} is missing: each region saturates at its whole area."
        found = replace(found, notes=(*found.notes, note))
    train = tuple(replace(one, subtype=loco_type(category, one.path)) for one in found.train)
    found = replace(found, train=train)
    if category in official:  # where there are sub-types, that is a group of sets
        found = replace(found, prompts=f"mvtec_loco/{category}")
    if subtype is None:
        return found
    known = {one.path: one.subtype for one in train}
    if subtype in types:
        return keep_type(found, subtype, known)
    number = name_types(category, known)[subtype]
    part = keep_type(found, number, known)
    note = f"Type {number} of the known assignment is {subtype}, by the colours of its images."
    return replace(
        part, subtype=subtype, prompts=f"mvtec_loco/{category}_{subtype}",
        notes=(*part.notes, note),
    )  # fmt: skip


def loco_types(category: str) -> tuple[str, ...]:
    """Sub-types of a LOCO category, ("0", "1", "2") or none."""
    return tuple(sorted(set(facts()["types"].get(category, ""))))


def loco_type(category: str, image: Path) -> str | None:
    """Type of a training image; None where its number is not one of the official ones."""
    known = facts()["types"].get(category, "")
    number = int(image.stem) if image.stem.isascii() and image.stem.isdigit() else len(known)
    return known[number] if number < len(known) else None


def loco_kinds(category: str) -> tuple[str, ...]:
    """Names of the sub-types of a LOCO category, or none."""
    return tuple(KINDS.get(category, ()))


def name_types(category: str, types: Mapping[Path, str | None]) -> dict[str, str]:
    """Which type is which product, by the hues of the images of each type: name -> type.

    The mean colour of each type is a vector on the circle of hues. What all types have in common
    (glass, label, levers) falls out when the mean of the three is taken off. What is left is laid
    upon the hues of :data:`KINDS`, centred in the same way, by the names that make the cosine
    between the two triangles largest: all three are named together.

    Raises:
        DatasetError: A type has no image here, or two ways to name them are about as good.
    """
    names, numbers = loco_kinds(category), loco_types(category)
    shares = []
    for number in numbers:
        own = [hues(path) ** 2 for path, type_ in types.items() if type_ == number]
        if not own:
            raise DatasetError(
                f"{category} has no training image of type {number} here, so no type can be named. "
                f"Use all images under their own names, or load a type by its number."
            )
        shares.append(np.mean(own, axis=0))
    circle = np.exp(2j * np.pi * np.arange(HUES) / HUES)
    found = _triangle(np.stack(shares) @ circle)
    wanted = _triangle(np.exp(1j * np.radians([KINDS[category][name] for name in names])))
    fits = {
        order: float((found[list(order)] * wanted.conj()).real.sum())
        for order in permutations(range(len(numbers)))
    }
    best, second = sorted(fits, key=lambda order: -fits[order])[:2]
    if fits[best] - fits[second] < LEAST_LEAD:
        raise DatasetError(
            f"The colours of {category} do not tell which type is which of {', '.join(names)}; "
            f"load a type by its number: {', '.join(numbers)}."
        )
    return {name: numbers[index] for name, index in zip(names, best, strict=True)}


def _triangle(points: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
    """Points of the plane about their mean, of norm 1 together; zeros where all are one."""
    centred = points - points.mean()
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-9))


def check_subtype(dataset: str, category: str, subtype: str | None, known: Sequence[str]) -> None:
    """Raises :class:`UnknownNameError` for a sub-type that the category has not."""
    if subtype is not None and subtype not in known:
        raise UnknownNameError.of(f"sub-type of {category} in {dataset}", subtype, known)


def keep_type(found: Dataset, subtype: str, types: Mapping[Path, str | None]) -> Dataset:
    """The images of one sub-type, by the types of the training images (None: not known).

    Raises:
        DatasetError: No type is known.
    """
    known = {path: type_ for path, type_ in types.items() if type_ is not None}
    if not known:
        raise DatasetError(
            "No training image has the number of an official one (000, 001, ...), so no sub-type "
            "is known. Use the files under their own names, or load without a sub-type."
        )
    samples = (*found.train, *found.validation, *found.test)
    rest = [sample.path for sample in samples if sample.path not in known]
    all_types = known | dict(zip(rest, nearest_types(known, rest), strict=True))

    def keep(samples: Sequence[Sample]) -> tuple[Sample, ...]:
        return tuple(sample for sample in samples if all_types[sample.path] == subtype)

    notes = [
        f"Sub-type {subtype}: training images by the known assignment, validation and test images "
        "by the most similar training image."
    ]
    if unknown := len(found.train) - len(known):
        images = some(unknown, "training image")
        notes.append(f"Assigned in the same way: {images} without a known type.")
    return replace(
        found, subtype=subtype, notes=(*found.notes, *notes), train=keep(found.train),
        validation=keep(found.validation), test=keep(found.test),
    )  # fmt: skip


def nearest_types(known: Mapping[Path, str], images: Sequence[Path]) -> list[str]:
    """Gives each image the type of the most similar one of a known type.

    Similar means: a small Hellinger distance between the shares of the hues, wherever they are,
    as in the pooled features that PSAD compares for the same purpose. No label is used.
    """
    references, types = np.stack([hues(path) for path in known]), list(known.values())
    gaps = (((references - hues(path)) ** 2).sum(1) for path in images)
    return [types[int(gap.argmin())] for gap in gaps]


def hues(path: Path) -> npt.NDArray[np.float64]:
    """Square roots of the shares of hues in an image, float64 ``(24,)``; zeros for a grey one."""
    status = path.stat()
    return _hues(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)  # three sub-types ask for the same images
def _hues(path: Path, changed: int, size: int) -> npt.NDArray[np.float64]:
    from PIL import Image
    from skimage.color import rgb2lab

    small = Image.fromarray(load_image(path)).resize((SIDE, SIDE), Image.Resampling.BOX)
    lab = np.asarray(rgb2lab(np.asarray(small)), np.float64).reshape(-1, 3)
    weights = (np.hypot(lab[:, 1], lab[:, 2]) - GREY).clip(0)
    places = np.arctan2(lab[:, 2], lab[:, 1]) / (2 * np.pi) % 1 * HUES
    lower, upper = places.astype(int) % HUES, (places.astype(int) + 1) % HUES
    # Between two bins, so that a hue at their border is not torn apart by noise.
    shares = np.bincount(lower, weights * (1 - places % 1), HUES)
    shares += np.bincount(upper, weights * (places % 1), HUES)
    return np.asarray(np.sqrt(shares / max(shares.sum(), 1e-9)))
