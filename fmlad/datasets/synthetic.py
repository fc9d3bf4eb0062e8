"""Synthetic datasets of this package, read from disk and rendered where they are missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from fmlad.datasets.digit_anatomy import make_digits
from fmlad.datasets.files import check_root, child, entries, held, key
from fmlad.datasets.loco import check_subtype, keep_type
from fmlad.datasets.model import Dataset, Sample
from fmlad.datasets.tree import read_tree
from fmlad.errors import DatasetError, UnknownNameError
from fmlad.progress import Progress

_RENDERED = "Rendered just now, with the default seed and counts."

# Types of scenes by the object that tells them, and as the prompt sets are named.
_SCENE_TYPES: dict[str, dict[str, str]] = {
    "juice_bottle": {f"{fruit} juice": fruit for fruit in ("banana", "cherry", "orange")},
    "splicing_connectors": {f"{colour} cable": colour for colour in ("blue", "red", "yellow")},
}


def load_scenes(
    root: Path, category: str, subtype: str | None, progress: Progress | None
) -> Dataset:
    """Reads a category of the scenes, and renders it where it is not there yet.

    ``root`` is the folder of the categories, or that of the one category itself.
    """
    from fmlad.datasets.scenes import SCENE_CATEGORIES, make_scenes

    category = next((name for name in SCENE_CATEGORIES if key(name) == key(category)), category)
    if category not in SCENE_CATEGORIES:
        raise UnknownNameError.of("scene category", category, SCENE_CATEGORIES)
    check_subtype("scenes", category, subtype, scene_types(category))
    home, made = scene_home(root, category), list[str]()
    if not (home / "scenes.json").is_file():
        make_scenes(home, category, progress=progress)
        made = [_RENDERED]
    facts = _facts(home / "scenes.json", "version", "category", "seed", "counts")
    if facts["category"] != category:
        raise DatasetError(
            f"{home} holds scenes of {facts['category']}; expected {category}. "
            f"Pass another folder, or the category {facts['category']!r}."
        )
    found = read_tree("scenes", home, category)
    notes = [f"Scenes {facts['version']}, seed {facts['seed']}.", *made, *found.notes]
    listed = len(found.train) + len(found.validation) + len(found.test)
    if listed != (expected := sum(facts["counts"].values())):
        notes.append(f"{home} holds {listed} images, {expected} were made.")
    test = tuple(_named_by_sidecar(home, sample) for sample in found.test)
    found = replace(found, test=test, notes=tuple(notes))
    if scene_types(category):
        train = (replace(one, subtype=_scene_type(home, category, one)) for one in found.train)
        found = replace(found, train=tuple(train))
    if subtype is None:  # of sub-types, the group of their sets
        return replace(found, prompts=f"scenes/{category}")
    types = {sample.path: sample.subtype for sample in found.train}
    return replace(keep_type(found, subtype, types), prompts=f"scenes/{category}_{subtype}")


def scene_categories(root: Path) -> list[str]:
    """The one category that the root itself holds, else all that can be rendered."""
    from fmlad.datasets.scenes import SCENE_CATEGORIES

    file = root / "scenes.json"
    return [_facts(file, "category")["category"]] if file.is_file() else list(SCENE_CATEGORIES)


def scene_home(root: Path, category: str) -> Path:
    """Where the scenes of a category lie, or would be made."""
    if (root / "scenes.json").is_file():
        return root
    return (child(root, category) if root.is_dir() else None) or root / category


def scene_types(category: str) -> tuple[str, ...]:
    """Sub-types of a scene category, or none."""
    return tuple(_SCENE_TYPES.get(category, {}).values())


def load_digits(root: Path, category: str) -> Dataset:
    """Reads DigitAnatomy, and renders it where the folder is empty or not there yet."""
    if category:
        raise UnknownNameError.of("category of digits", category, [""])
    made = []
    if not root.exists() or (root.is_dir() and not entries(root)):
        make_digits(root)
        made = [_RENDERED]
    if not (root / "digits.json").is_file():
        check_root(root)
        raise DatasetError(
            f"{root} holds no digits.json; found: {held(root)}. Expected a folder written by "
            "make_digits, or an empty one to make them in."
        )
    facts = _facts(root / "digits.json", "version", "seed", "counts")
    found = read_tree("digits", root, "")
    first = f"DigitAnatomy {facts['version']}, seed {facts['seed']}."
    return replace(found, notes=(first, *made, *found.notes))


def _named_by_sidecar(home: Path, sample: Sample) -> Sample:
    """With the defect's name, where the scene's sidecar is there."""
    file = home / "objects" / "test" / f"{sample.name}.json"
    if sample.kind == "good" or not file.is_file():
        return sample
    return replace(sample, defect=str(_facts(file, "anomaly")["anomaly"]["name"]))


def _scene_type(home: Path, category: str, sample: Sample) -> str | None:
    file = home / "objects" / "train" / f"{sample.name}.json"
    if not file.is_file():
        return None
    kinds = {item["kind"] for item in _facts(file, "objects")["objects"]}
    told = [type_ for part, type_ in _SCENE_TYPES[category].items() if part in kinds]
    return told[0] if len(told) == 1 else None


def _facts(file: Path, *wanted: str) -> dict[str, Any]:
    """Some entries of a JSON file that this package wrote."""
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        return {name: facts[name] for name in wanted}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DatasetError(
            f"{file} is not what was written there; delete the folder and make it again."
        ) from error
