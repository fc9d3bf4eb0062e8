"""Raw branch scores for `benchmarks/clip_lad.py`: the slow part, kept on disk as it goes.

Each (sub-)category, row and seed is one entry of ``ROOT/scores/``; an entry that is there is not
computed again, so a run that was cut short goes on where it stopped. Delete the folder after a
change to the code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import auroc, scene_counts, shared
from benchmarks.dice import NORMAL, photographs
from fmlad import pipeline, profiles
from fmlad.datasets import make_scenes
from fmlad.io.cache import DiskCache
from fmlad.io.images import load_image
from fmlad.methods.clip_lad.config import ClipLadConfig
from fmlad.methods.clip_lad.kinds import KindsState
from fmlad.methods.clip_lad.method import ClipLad
from fmlad.methods.clip_lad.state import ClipLadState
from fmlad.methods.protocol import FitContext
from fmlad.prompts import PromptSet
from fmlad.scoring.calibration import Calibration, Source
from fmlad.scoring.fusion import Fusion, by_the_others
from fmlad.views import BackboneSet, ImageView

GOOD, LOGICAL, STRUCTURAL = GROUPS = ("good", "logical_anomalies", "structural_anomalies")
TRAIN = "train"
POOL = 16  # training images to draw shots from; 8 of each type where a category is split
TYPES = {
    "juice_bottle": ("banana", "cherry", "orange"),
    "splicing_connectors": ("blue", "red", "yellow"),
}
SPLIT = tuple(f"{category}_{kind}" for category, kinds in TYPES.items() for kind in kinds)
NAMES = ("breakfast_box", "pushpins", "screw_bag", *SPLIT)
CLAMPS = {"2": "yellow", "3": "blue", "5": "red"}
WITHOUT_PATCHES = tuple(one for one in ClipLadConfig().branches if one != "patch")

Scores = list[dict[str, float]]
Options = Mapping[str, Any]


def split(name: str) -> tuple[str, str | None]:
    """Category and type."""
    for category in TYPES:
        if name.startswith(category):
            return category, name.removeprefix(f"{category}_")
    return name, None


def kind_of(category: str, sidecar: dict[str, Any]) -> str:
    """Which type an image shows; of a wrong combination, what the rest of it asks for."""
    parts = [item["kind"] for item in sidecar["objects"]]
    wrong = sidecar.get("anomaly") or {}
    if category == "splicing_connectors":
        return next(CLAMPS[part[0]] for part in parts if "clamp" in part)
    if wrong.get("kind") == "recoloured":
        return str(wrong["part"].split()[0])
    fruit = [part.split()[0] for part in parts if part.endswith("icon")]
    fruit += [part.split()[0] for part in parts if part.endswith("juice")]
    return str(fruit[0])


def scene_paths(root: Path, name: str, world: int, images: int) -> dict[str, list[Path]]:
    """Paths of one (sub-)category: all 60 training images (20 a type), and the test groups."""
    category, kind = split(name)
    tests = images * (3 if kind else 1)
    home = root / f"{category}-{world}-{tests}"
    folder = make_scenes(home, category, world, scene_counts(60, tests))
    found = {}
    for group in (TRAIN, *GROUPS):
        where = "train/good" if group == TRAIN else f"test/{group}"
        paths = sorted((folder / where).glob("*.png"))
        sidecars = [folder / "objects" / where / f"{path.stem}.json" for path in paths]
        found[group] = [
            path
            for path, sidecar in zip(paths, sidecars, strict=True)
            if kind is None or kind_of(category, json.loads(sidecar.read_text())) == kind
        ]
    return found


def dice_paths(every_other: bool) -> dict[str, list[Path]]:
    """Photographs: those with six dice are training and good images, the others logical."""
    home, number = shared("data", "dice", "images"), photographs(every_other)
    six = [home / name for name, n in number.items() if n == NORMAL]
    return {TRAIN: six, GOOD: six, LOGICAL: [home / name for name, n in number.items() if n != 6]}


@dataclass
class Bench:
    """Images of one (sub-)category through the embedded backbones, and their scores on disk.

    Attributes:
        paths: By group, see above.
        store: JSON file of raw scores.
        cache: Folder for the objects of images, which cost the most.
        pool: Training images to draw shots from.
    """

    paths: Mapping[str, Sequence[Path]]
    store: Path
    cache: Path
    pool: int
    _views: dict[tuple[bool, str], list[ImageView]] = field(default_factory=dict)
    _backbones: dict[bool, BackboneSet] = field(default_factory=dict)
    _known: dict[str, Any] | None = None

    def raw(
        self, prompts: str, shots: int, seed: int, options: Options, objects: bool = True
    ) -> dict[str, Scores]:
        """Raw scores of left-out shots (``"left_out"``) and of each group, one mapping an image.

        ``fusion`` plays no part among the method's ``options``. Without ``objects`` there is no
        mask proposer, and regions are clusters, as in the paper.
        """
        key = json.dumps([prompts, shots, seed, dict(options), objects])
        if key not in self.known:
            self.known[key] = self._computed(prompts, shots, seed, options, objects)
            self.store.parent.mkdir(parents=True, exist_ok=True)
            partial = self.store.with_suffix(".partial")
            partial.write_text(json.dumps(self.known))
            partial.replace(self.store)
        found: dict[str, Scores] = self.known[key]
        return found

    @property
    def known(self) -> dict[str, Any]:
        """What is on disk."""
        if self._known is None:
            self._known = json.loads(self.store.read_text()) if self.store.exists() else {}
        return self._known

    def views(self, group: str, objects: bool) -> list[ImageView]:
        """Opened when first asked for."""
        paths = self.paths[group]
        if group == TRAIN:
            paths = paths[: self.pool]
        if (objects, group) not in self._views:
            backbone_set = self.eyes(objects)
            self._views[objects, group] = [backbone_set.view(load_image(p), p.stem) for p in paths]
        return self._views[objects, group]

    def eyes(self, objects: bool) -> BackboneSet:
        """The embedded backbones."""
        if objects not in self._backbones:
            roles = ["text_aligner", "feature_extractor", *(["mask_proposer"] * objects)]
            loaded: Any = profiles.load_backbones(profiles.resolve(roles, "builtin"), "cpu")
            if objects:
                loaded["mask_proposer"].expensive = True  # worth the disk, over and over
            self._backbones[objects] = BackboneSet(loaded, DiskCache(self.cache, 8000))
        return self._backbones[objects]

    def _computed(
        self, prompts: str, shots: int, seed: int, options: Options, objects: bool
    ) -> dict[str, Scores]:
        method = Recording(ClipLadConfig(**options))
        words = PromptSet.load(prompts)
        drawn: list[int] = []
        if shots:
            train = self.views(TRAIN, objects)
            chosen = np.random.default_rng(seed).choice(len(train), shots, replace=False)
            drawn = [int(index) for index in chosen]
            fitted = pipeline.fit(
                method, [train[i] for i in drawn], FitContext(prompts=words, seed=seed)
            )
        else:
            fitted = pipeline.fit_prompts(method, words, self.eyes(objects).view)
        state: Any = fitted.state
        found: dict[str, Scores] = {"left_out": method.left_out}
        keys = {self.views(TRAIN, objects)[i].key for i in drawn}
        for group in self.paths:
            if group != TRAIN:
                views = [v for v in self.views(group, objects) if v.key not in keys]
                found[group] = [dict(method.evidence(v, state).scores) for v in views]
        return found


class Recording(ClipLad):
    """The method, remembering the scores that its fusion is learned from."""

    left_out: Scores

    def __init__(self, config: ClipLadConfig) -> None:
        super().__init__(config)
        self.left_out = []

    def fusion(
        self, left_out: Sequence[Mapping[str, float]], state: ClipLadState | KindsState
    ) -> Fusion:
        """As the method's own; the calls that leave one out, for the threshold, are smaller."""
        if len(left_out) > len(self.left_out):
            self.left_out = [dict(scores) for scores in left_out]
        return super().fusion(left_out, state)


def merged(one: dict[str, Scores], patches: dict[str, Scores]) -> dict[str, Scores]:
    """Scores of a row computed without patches, with those of another row of the same draw."""
    return {
        group: [
            scores | {"patch": other["patch"]}
            for scores, other in zip(images, patches[group], strict=True)
        ]
        for group, images in one.items()
    }


def only(raw: dict[str, Scores], branches: Sequence[str]) -> dict[str, Scores]:
    """Scores of some branches."""
    return {
        group: [{b: scores[b] for b in branches if b in scores} for scores in images]
        for group, images in raw.items()
    }


@dataclass(frozen=True)
class ShotPatches:
    """All of a state that the fusion asks for."""

    shots: int


def aurocs(raw: dict[str, Scores], options: Options, shots: int = 4) -> dict[str, float]:
    """AUROC of logical and structural anomalies in one draw: fused, and each branch alone."""
    method = ClipLad(ClipLadConfig(**options))
    figures = {}
    if raw["left_out"]:
        fusion = method.fusion(raw["left_out"], ShotPatches(shots))  # type: ignore[arg-type]
    for group in (g for g in (LOGICAL, STRUCTURAL) if g in raw):
        both = [*raw[GOOD], *raw[group]]
        columns = {branch: [scores[branch] for scores in both] for branch in both[0]}
        if raw["left_out"]:
            columns["fused"] = [fusion.fused(scores) for scores in both]
        else:
            columns["fused"] = [max(scores.values()) for scores in both]
        for column, values in columns.items():
            finite = np.nan_to_num(np.array(values), nan=1e9, posinf=1e9).tolist()
            good, bad = finite[: len(raw[GOOD])], finite[len(raw[GOOD]) :]
            figures[f"{column}, {group.partition('_')[0]}"] = auroc(good, bad)
    return figures


def called_anomalous(raw: dict[str, Scores], options: Options, shots: int = 4) -> dict[str, float]:
    """Share of each group that is called anomalous at the automatic threshold."""
    method = ClipLad(ClipLadConfig(**options))

    def learn(images: Sequence[Mapping[str, float]]) -> Fusion:
        return method.fusion(images, ShotPatches(shots))  # type: ignore[arg-type]

    fusion, normal = learn(raw["left_out"]), by_the_others(learn, raw["left_out"])
    source: Source = "leave-one-out" if shots > 1 else "augmentations"
    calibration = Calibration.fit(normal, source, baseline=fusion.baseline)
    return {
        group.partition("_")[0]: float(
            np.mean([bool(calibration.decide(fusion.fused(scores))) for scores in raw[group]])
        )
        for group in GROUPS
        if group in raw
    }
