"""What benchmarks of trained methods share: scenes that are open, cells in files, maps' truth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import fmlad
from benchmarks.scenes import GROUPS
from fmlad import pipeline, profiles
from fmlad.datasets import make_scenes
from fmlad.io.images import load_image
from fmlad.methods.protocol import FitContext, Method
from fmlad.views import BackboneSet, ImageView

NORMAL = "held out"  # the training images that were set aside, as a group of their own
LIMIT = 0.05  # of the false positive rate, for sPRO (MVTec LOCO)
Raw = dict[str, list[Any]]


@dataclass(frozen=True)
class Opened:
    """One category of one world.

    Attributes:
        home: Its folder.
        train: Training images.
        labels: Their true part maps, int32 ``(H, W)``; names of the parts with the background.
        names: Of the parts, the background's first.
        tests: Test images by group.
    """

    home: Path
    train: list[ImageView]
    labels: list[Any]
    names: tuple[str, ...]
    tests: Mapping[str, list[ImageView]]


def scene_folder(category: str, world: int, counts: dict[str, int]) -> str:
    """A folder for each world, in it one named as the category, as data sets are laid out."""
    return f"trained-{world}-{counts['train']}-{counts['test_good']}/{category}"


def backbones(method: Method, profile: str) -> BackboneSet:
    """A method's backbones of a profile, nothing cached on disk."""
    chosen = profiles.resolve(method.needs, profile, method.declared.get(profile))
    return BackboneSet(profiles.load_backbones(chosen, "cpu"))


def part_maps(home: Path, paths: Sequence[Path]) -> tuple[tuple[str, ...], list[Any]]:
    """Parts of images, wherever they lie: the scenes' slots, all of one part as one class."""
    slots = json.loads((home / "scenes.json").read_text())["slots"]
    names = [part for part, _ in slots]
    maps = [np.asarray(Image.open(path)) for path in paths]
    seen = sorted({int(label) for labels in maps for label in np.unique(labels)})
    known = list(dict.fromkeys(names[label] for label in seen))
    table = np.array([known.index(one) if one in known else 0 for one in names], np.int32)
    return tuple(known), [table[labels] for labels in maps]


def opened(
    category: str, world: int, root: Path, counts: dict[str, int], method: Method, profile: str
) -> Opened:
    """Renders and opens a category, with the backbones of a method."""
    home = root / scene_folder(category, world, counts)
    make_scenes(home, category, seed=world, counts=counts)
    through = backbones(method, profile)

    def views(split: str, group: str) -> list[ImageView]:
        paths = sorted((home / split / group).glob("*.png"))
        return [through.view(load_image(path), path.stem) for path in paths]

    names, labels = part_maps(home, sorted((home / "slots" / "train" / "good").glob("*.png")))
    tests = {group: views("test", group) for group in GROUPS}
    return Opened(home, views("train", "good"), labels, names, tests)


def fitted(of: Opened, method: Method, true: bool = False) -> tuple[Any, list[ImageView]]:
    """A fitted method, and the training images that were set aside."""
    encoder: Any = of.train[0].backbone_set.backbones["encoder"]
    context = FitContext(
        labels=of.labels if true else None, label_names=of.names if true else (), encoder=encoder
    )
    whole = pipeline.fit(method, of.train, context)
    aside = [v for v, s in zip(of.train, whole.shot_scores, strict=True) if s is not None]
    for view in of.train:
        view.release()
    return whole, aside


def halved(whole: Any, side: int = 128) -> Any:
    """A map ``(h, w)`` at so many cells a side, in half precision."""
    small = torch.from_numpy(whole)[None, None]
    return torch.nn.functional.interpolate(small, (side, side), mode="area")[0, 0].half().numpy()


def cached(kept: Path, key: Sequence[Any], make: Any) -> dict[str, Any]:
    """A cell from its file, or made now."""
    stem = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    file, arrays = kept / f"{stem}.json", kept / f"{stem}.npz"
    if not file.exists():
        found = make()
        maps = found.pop("maps")
        stacked: Any = {group: np.stack(own) for group, own in maps.items()}
        np.savez_compressed(arrays, **stacked)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(found))
        partial.replace(file)
    found = json.loads(file.read_text())
    with np.load(arrays) as stored:
        found["maps"] = {group: stored[group].astype(np.float32) for group in stored.files}
    return dict(found)


@dataclass(frozen=True)
class Truth:
    """What a test image of a scene should have marked.

    Attributes:
        size: Its height and width.
        regions: bool ``(R, h, w)``.
        saturations: Of each region, in pixels.
    """

    size: tuple[int, int]
    regions: Any
    saturations: Any


def truths(home: Path, group: str) -> list[Truth]:
    """Of the images of a group of an opened category, in the order of its views."""
    loaded = fmlad.datasets.load("scenes", home.parent, home.name)
    found = []
    for sample in sorted(loaded.test, key=lambda one: one.path):
        if sample.path.parent.name != group:
            continue
        height, width = load_image(sample.path).shape[:2]
        annotation = sample.annotation()
        none = np.zeros((0, height, width), bool)
        regions, saturations = (
            (none, ()) if annotation is None else (annotation.regions, annotation.saturations)
        )
        found.append(Truth((height, width), regions, saturations))
    return found


def listed(found: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, float]:
    """Row with a gap for the category -> category -> draws, as figures: means, mean, worst."""
    table: dict[str, float] = {}
    for form, by_category in found.items():
        means = {category: float(np.mean(values)) for category, values in by_category.items()}
        worst = min(value for values in by_category.values() for value in values)
        means |= {"mean": float(np.mean([*means.values()])), "worst": worst}
        table |= {form.format(name): round(value, 3) for name, value in means.items()}
    return table
