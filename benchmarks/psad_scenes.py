"""PSAD's view of scenes: labelled images, their classes, and detectors fitted on them.

The labels are the scenes' slots: what a part is and where it belongs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks.scenes import GROUPS
from fmlad import pipeline, profiles
from fmlad.automatic_labels import auto_labels
from fmlad.datasets import make_scenes
from fmlad.methods.protocol import FitContext
from fmlad.methods.psad.config import BANKS, PsadConfig
from fmlad.methods.psad.method import Psad
from fmlad.methods.psad.segmentation import TrainedSegmenters
from fmlad.views import BackboneSet, ImageView

Labels = npt.NDArray[np.int32]
Example = tuple[npt.NDArray[np.uint8], Labels]

ROLES = ("encoder", "feature_extractor")
WITH_TYPES = ("juice_bottle", "splicing_connectors")
FREE = ("breakfast_box", "screw_bag")  # in any direction: PSAD's code turns them by any angle
AUTO, TRUTH = "auto", "truth"


@dataclass(frozen=True)
class Opened:
    """One category of one world.

    Attributes:
        labelled: Number of labelled training images.
        train: Training images, the labelled ones first.
        classes: K, the background among them.
        tests: Test images by group.
        labels: Of every image by its view's name, int32 ``(H, W)``; classes that no labelled image
            has are 0.
    """

    labelled: int
    train: list[ImageView]
    classes: int
    tests: Mapping[str, list[ImageView]]
    labels: Mapping[str, Labels]


def backbones(profile: str) -> BackboneSet:
    """PSAD's backbones of a profile, nothing cached on disk."""
    chosen = profiles.resolve(ROLES, profile, Psad.declared.get(profile))
    return BackboneSet(profiles.load_backbones(chosen, "cpu"))


def opened(category: str, world: int, root: Path, counts: dict[str, int], profile: str) -> Opened:
    """Renders and opens a category."""
    home = root / f"psad-{category}-{world}-{counts['train']}-{counts['test_good']}"
    make_scenes(home, category, seed=world, counts=counts)
    labelled = 3 if category in WITH_TYPES else 5
    folders = ("train/good", *(f"test/{group}" for group in GROUPS))
    images = {folder: _read(home, folder) for folder in folders}
    shots = list(images["train/good"].values())[:labelled]
    table = _compact(home, [labels for _, labels in shots])
    through = backbones(profile)
    views = {
        folder: [through.view(pixels, name) for name, (pixels, _) in some.items()]
        for folder, some in images.items()
    }
    return Opened(
        labelled,
        views["train/good"],
        1 + int(table.max()),
        {group: views[f"test/{group}"] for group in GROUPS},
        {name: table[labels] for some in images.values() for name, (_, labels) in some.items()},
    )


def _read(home: Path, folder: str) -> dict[str, Example]:
    """Images of a folder with their slots, by name."""
    found = {}
    for path in sorted((home / folder).glob("*.png")):
        slots = np.asarray(Image.open(home / "slots" / folder / path.name)).astype(np.int32)
        found[f"{folder}/{path.stem}"] = np.asarray(Image.open(path).convert("RGB")), slots
    return found


def _compact(home: Path, shots: Sequence[Labels]) -> Labels:
    """The class of each slot: those of the shots alone, numbered in order; else 0.

    A cable is one class wherever it is plugged in.
    """
    slots = json.loads((home / "scenes.json").read_text())["slots"]
    names = [part if part.endswith("cable") else f"{part} {slot}" for part, slot in slots]
    seen = sorted({int(label) for labels in shots for label in np.unique(labels)})
    known = list(dict.fromkeys(names[label] for label in seen))
    return np.array([known.index(name) if name in known else 0 for name in names], np.int32)


class _True(TrainedSegmenters):
    """Segments are the true parts, as if a segmenter made no mistake."""

    def __init__(self, labels: Mapping[bytes, Labels]) -> None:
        self._labels = labels

    def fit(self, *arguments: Any, **settings: Any) -> Any:
        return self

    def predict(self, pixels: npt.NDArray[np.uint8]) -> Labels:
        return self._labels[pixels.tobytes()]


def cell(
    of: Opened,
    category: str,
    training: Mapping[str, Any],
    options: Mapping[str, Any],
    share: float = 1.0,
    source: str = "",
) -> tuple[dict[str, Any], list[Labels]]:
    """Fits a detector and takes its raw scores.

    Args:
        of: Images.
        category: Theirs.
        training: What is unlike the preset in the training of the segmenter.
        options: Of the method.
        share: Of the training images that are used, the labelled ones always.
        source: ``"auto"``: the labels are another method's; ``"truth"``: segments are the true
            parts; else a segmenter learns from the true parts of the labelled images.

    Returns:
        The scale of each bank, its scores by group and the segmenter's mean IoU on normal test
        images (0 with labels of another method, whose classes are others); and the segments of
        these images.
    """
    turned = {"degrees": 180.0} if category in FREE else {}
    training = {**turned, **training, **dict(options.get("segmenter", {}))}
    method: Any = Psad(PsadConfig(**{**options, "segmenter": training}))
    shots = of.train[: of.labelled]
    labels: Sequence[Any] = [of.labels[view.name] for view in shots]
    names: tuple[str, ...] = ()
    count = max(of.labelled, round(share * len(of.train)))
    others = of.train[of.labelled : count]
    if source == AUTO:
        pictures = [(view.name, view.pixels) for view in of.train]
        found = auto_labels(pictures[: of.labelled], pictures[of.labelled :], profile="builtin")
        shots, labels, others = found.shared_out(of.train)
        names = found.names
    if source == TRUTH:
        every = [*of.train, *(view for views in of.tests.values() for view in views)]
        method.source = _True({view.pixels.tobytes(): of.labels[view.name] for view in every})
    through = of.train[0].backbone_set
    encoder: Any = through.backbones["encoder"]
    context = FitContext(labels=labels, label_names=names, unlabeled=others, encoder=encoder)
    fitted = pipeline.fit(method, shots, context)
    state: Any = fitted.state
    scores: dict[str, dict[str, list[float]]] = {}
    for group, views in of.tests.items():
        each = [method.evidence(view, state).scores for view in views]
        scores[group] = {bank: [one[bank] for one in each] for bank in BANKS}
    good = of.tests[GROUPS[0]]
    said = [resized(state.segmenter.predict(view.pixels), view.size) for view in good]
    true = [of.labels[view.name] for view in good]
    iou = 0.0 if source == AUTO else mean_iou(list(zip(said, true, strict=True)), of.classes)
    return {"scales": dict(fitted.fusion.scales), "scores": scores, "iou": iou}, said


def resized(labels: npt.NDArray[np.integer], size: tuple[int, int]) -> Labels:
    """Labels at another size, by nearest neighbour."""
    rows = np.arange(size[0]) * labels.shape[0] // size[0]
    columns = np.arange(size[1]) * labels.shape[1] // size[1]
    return np.asarray(labels[rows[:, None], columns], dtype=np.int32)


def mean_iou(pairs: Sequence[tuple[Labels, Labels]], classes: int) -> float:
    """Mean over the classes that occur, background left out, of IoU over all images together."""
    shared, joined = np.zeros(classes), np.zeros(classes)
    for said, true in pairs:
        both = torch.from_numpy(said.astype(np.int64) * classes + true)
        table = torch.bincount(both.ravel(), minlength=classes**2).view(classes, classes).numpy()
        shared += np.diag(table)
        joined += table.sum(0) + table.sum(1) - np.diag(table)
    occur = sorted({int(one) for _, true in pairs for one in np.unique(true)} - {0})
    return float(np.mean(shared[occur] / joined[occur]))
