"""PSAD's segmenter on scenes: mean IoU on normal images that were held out, and its time.

    python -m benchmarks.psad_segmenter
    python -m benchmarks.psad_segmenter --set side=384 copies=31

Labels are the scenes' slots: of five training images, of three where the product has types. All
training images are unlabelled ones. Worlds 1 and 2, on which options are chosen.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.common import json_options, keep, unfinished
from fmlad.backbones.cnn.cnn import load
from fmlad.datasets import make_scenes
from fmlad.datasets.scenes import SCENE_CATEGORIES
from fmlad.methods.psad.segmenter import fit_segmenter
from fmlad.methods.psad.segmenter_config import segmenter_config

Example = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]

WORLDS = (1, 2)
WITH_TYPES = ("juice_bottle", "splicing_connectors")
FREE = ("breakfast_box", "screw_bag")  # in any direction: PSAD's code turns them by any angle
COUNTS = {"train": 60, "validation": 20, "test_good": 0, "test_logical": 0, "test_structural": 0}
PROTOCOL = (
    "scenes-v1, preset cpu, builtin:efficientnet-lite0@1; 5 (3 with types) of 60 training images "
    "labelled with slots; mean IoU on 20 validation images, background left out"
)
STAGES: dict[str, dict[str, Any]] = {
    "supervised": {"entropy": 0.0, "histogram": 0.0},
    "entropy": {"histogram": 0.0},
    "both": {},
}


def read(home: Path, split: str) -> list[Example]:
    """Images of a split with their slots."""
    found = []
    for path in sorted((home / split / "good").glob("*.png")):
        slots = np.asarray(Image.open(home / "slots" / split / "good" / path.name))
        found.append((np.asarray(Image.open(path).convert("RGB")), slots.astype(np.int32)))
    return found


def compact(home: Path, shots: list[Example], others: list[Example]) -> tuple[int, list[Example]]:
    """Classes of the shots alone, numbered in order; a cable is one wherever it is plugged in.

    Returns:
        Number of classes, and all images with their new labels.
    """
    slots = json.loads((home / "scenes.json").read_text())["slots"]
    names = [part if part.endswith("cable") else f"{part} {slot}" for part, slot in slots]
    seen = sorted({int(label) for _, labels in shots for label in np.unique(labels)})
    known = list(dict.fromkeys(names[label] for label in seen))
    table = np.array([known.index(name) if name in known else 0 for name in names], np.int32)
    return len(known), [(pixels, table[labels]) for pixels, labels in others]


def mean_iou(
    pairs: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]],
    classes: int,
) -> float:
    """Mean over the classes that occur, background left out, of IoU over all images together."""
    shared, joined = np.zeros(classes), np.zeros(classes)
    for said, true in pairs:
        for one in range(classes):
            shared[one] += np.sum((said == one) & (true == one))
            joined[one] += np.sum((said == one) | (true == one))
    occur = np.unique(np.concatenate([np.unique(true) for _, true in pairs]))
    return float(np.mean([shared[one] / joined[one] for one in occur if one]))


def types_right(home: Path, shots: int, types: tuple[int, ...]) -> float:
    """Share of training images whose labelled image is of their own product type."""
    facts = [json.loads(p.read_text()) for p in sorted((home / "objects/train/good").glob("*"))]
    kinds = [
        {o["kind"] for o in one["objects"] if o["kind"].endswith((" juice", " cable"))}
        for one in facts
    ]
    return float(np.mean([kinds[n] == kinds[t] for n, t in enumerate(types)]))


def measured(home: Path, category: str, changes: dict[str, Any]) -> dict[str, float]:
    """Mean IoU after each choice of losses, and the time that the last took."""
    shots = 3 if category in WITH_TYPES else 5
    images = read(home, "train") + read(home, "validation")
    classes, images = compact(home, images[:shots], images)
    train, held_out = images[: COUNTS["train"]], images[COUNTS["train"] :]
    degrees = {"degrees": 180.0} if category in FREE else {}
    encoder = load("builtin:efficientnet-lite0@1")
    figures: dict[str, float] = {}
    for stage, losses in STAGES.items():
        config = segmenter_config("cpu", **{**degrees, **losses, **changes})
        begun, used = time.perf_counter(), time.process_time()
        fitted = fit_segmenter(
            train[:shots], [pixels for pixels, _ in train], classes, encoder, config
        )
        figures["seconds"] = round(time.perf_counter() - begun)
        figures["seconds of processors"] = round(time.process_time() - used)
        pairs = [(fitted.predict(pixels, own_size=True), true) for pixels, true in held_out]
        figures[stage] = round(mean_iou(pairs, classes), 3)
        if category in WITH_TYPES:
            figures["types right"] = round(types_right(home, shots, fitted.types), 2)
        print(category, stage, figures, flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--worlds", type=int, nargs="+", default=list(WORLDS))
    parser.add_argument("--categories", nargs="+", default=list(SCENE_CATEGORIES))
    parser.add_argument("--root", type=Path, help="keeps the scenes there")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=JSON", help="other options")
    parser.add_argument("--name", default="psad-segmenter")
    given = parser.parse_args()
    changes = json_options(given.set)
    protocol = PROTOCOL + "".join(f"; {one}" for one in given.set)
    figures: dict[str, Any] = unfinished(given.name, protocol)
    with tempfile.TemporaryDirectory() as folder:
        for world in given.worlds:
            for category in given.categories:
                if (name := f"{category}, world {world}") in figures:
                    continue
                home = (given.root or Path(folder)) / f"{category}-{world}"
                make_scenes(home, category, seed=world, counts=COUNTS)
                figures[name] = measured(home, category, changes)
                keep(given.name, protocol, figures, seeds=given.worlds, finished=False)
    of_all = list(figures.values())
    for stage in STAGES:
        figures[f"mean, {stage}"] = round(float(np.mean([one[stage] for one in of_all])), 3)
    keep(given.name, protocol, figures, seeds=given.worlds)


if __name__ == "__main__":
    main()
