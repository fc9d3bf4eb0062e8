"""PSAD on scenes: its paper's ablations, and what a query costs.

    python -m benchmarks.psad tables
    python -m benchmarks.psad tables --worlds 1 2 --name psad-tuning
    python -m benchmarks.psad cost

`scenes-v1`, five categories. Of 60 training images the first five (three where the product comes in
types) are labelled with the scenes' slots, as the paper labels 5 and 3; all are unlabeled ones. 20
test images a group; AUROC of the logical and of the structural anomalies against the normal test
images, by category, with the mean and the worst category.

- Table 2: which losses train the segmenter. The whole detector.
- Table 3: each bank alone, all added as they are, all scaled.
- Table 4: a half, a quarter, an eighth of the training images. Histogram and composition, scaled.
- `auto`: labels found by another method, not given.

One detector is fitted for each world, category and training (a *cell*); its raw scores lie in a
file of their own, so that a run that was stopped goes on. Options are chosen on worlds 1 and 2
alone, and the reported worlds are 0 and 3.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does
os.environ["FMLAD_CACHE_LIMIT_MB"] = "0"  # a cached answer would cost nothing

import numpy as np
import torch

from benchmarks.common import auroc, code_name, json_options, keep, seconds
from benchmarks.psad_segmenter import FREE, WITH_TYPES, compact, read
from benchmarks.scenes import GROUPS, TUNING
from fmlad import pipeline, profiles
from fmlad.datasets import SCENE_CATEGORIES, make_scenes
from fmlad.io.images import load_image
from fmlad.methods.protocol import FitContext
from fmlad.methods.psad.config import BANKS, PsadConfig
from fmlad.methods.psad.method import Psad
from fmlad.part_label_inputs import auto_labels
from fmlad.views import BackboneSet, ImageView

ROLES = ("encoder", "feature_extractor")
TRAIN, IMAGES = 60, 20
ROUNDS = 7
LOSSES: dict[str, dict[str, float]] = {
    "supervised": {"entropy": 0.0, "histogram": 0.0},
    "supervised + entropy": {"histogram": 0.0},
    "supervised + entropy + histogram": {},
}
FULL = "supervised + entropy + histogram"
SHARES = {"50 %": 0.5, "25 %": 0.25, "12.5 %": 0.125}
AUTO = "auto"
CELLS = (*LOSSES, *SHARES, AUTO)
OF_PARTS = ("histogram", "composition")
# Row -> cell, banks, and whether they are scaled.
ROWS: dict[str, tuple[str, Sequence[str], bool]] = {
    **{f"table 2, {name}": (name, BANKS, True) for name in LOSSES},
    **{f"table 3, {bank} alone": (FULL, (bank,), True) for bank in BANKS},
    "table 3, all unscaled": (FULL, BANKS, False),
    "table 3, all scaled": (FULL, BANKS, True),
    "table 4, 100 %": (FULL, OF_PARTS, True),
    **{f"table 4, {name}": (name, OF_PARTS, True) for name in SHARES},
    "labels found by another method": (AUTO, BANKS, True),
}

Raw = dict[str, list[float]]


@dataclass(frozen=True)
class Opened:
    """One category of one world.

    Attributes:
        home: Its folder.
        labelled: Number of labelled training images.
        train: Training images, the labelled ones first.
        labels: Of all training images, int32 ``(H, W)``.
        classes: K, the background among them.
        tests: Test images by group.
    """

    home: Path
    labelled: int
    train: list[ImageView]
    labels: list[Any]
    classes: int
    tests: Mapping[str, list[ImageView]]


def backbones(profile: str) -> BackboneSet:
    """PSAD's backbones of a profile, nothing cached on disk."""
    chosen = profiles.resolve(ROLES, profile, Psad.declared.get(profile))
    return BackboneSet(profiles.load_backbones(chosen, "cpu"))


def opened(category: str, world: int, root: Path, counts: dict[str, int], profile: str) -> Opened:
    """Renders and opens a category."""
    home = root / f"psad-{category}-{world}-{counts['train']}-{counts['test_good']}"
    make_scenes(home, category, seed=world, counts=counts)
    labelled = 3 if category in WITH_TYPES else 5
    through = backbones(profile)
    images = read(home, "train")
    classes, images = compact(home, images[:labelled], images)
    train = [through.view(pixels, str(number)) for number, (pixels, _) in enumerate(images)]
    tests = {
        group: [
            through.view(load_image(path), path.stem)
            for path in sorted((home / "test" / group).glob("*.png"))
        ]
        for group in GROUPS
    }
    return Opened(home, labelled, train, [labels for _, labels in images], classes, tests)


def cell(of: Opened, category: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Raw scores of one detector: the scale of each bank, and its scores by group."""
    training: dict[str, Any] = {**LOSSES.get(name, {}), **dict(options.get("segmenter", {}))}
    if category in FREE:
        training["degrees"] = 180.0
    method = Psad(PsadConfig(**{**options, "segmenter": training}))
    shots = of.train[: of.labelled]
    count = max(of.labelled, round(SHARES.get(name, 1.0) * len(of.train)))
    labels: Sequence[Any] = of.labels[: of.labelled]
    names: tuple[str, ...] = ()
    if name == AUTO:
        found = auto_labels([(view.name, view.pixels) for view in shots], profile="builtin")
        labels, names = [one for one in found.maps if one is not None], found.names
    through = of.train[0].backbone_set
    encoder: Any = through.backbones["encoder"]
    context = FitContext(
        labels=labels, label_names=names, unlabeled=of.train[of.labelled : count], encoder=encoder
    )
    fitted = pipeline.fit(method, shots, context)
    state: Any = fitted.state
    scores: dict[str, Raw] = {}
    for group, views in of.tests.items():
        found_scores = [method.evidence(view, state).scores for view in views]
        scores[group] = {bank: [one[bank] for one in found_scores] for bank in BANKS}
    return {"scales": dict(fitted.fusion.scales), "scores": scores}


def fused(found: Mapping[str, Any], group: str, banks: Sequence[str], scaled: bool) -> list[float]:
    """Scores of a group: the sum of some banks, scaled or not."""
    parts = [
        np.array(found["scores"][group][bank]) / (found["scales"][bank] if scaled else 1.0)
        for bank in banks
    ]
    return [float(value) for value in np.sum(parts, axis=0)]


def tables(
    worlds: Sequence[int],
    categories: Sequence[str],
    counts: dict[str, int],
    root: Path,
    profile: str,
    options: Mapping[str, Any],
    only: Sequence[str],
) -> dict[str, float]:
    """AUROC of every row whose cell is among ``only``: by category, mean and worst."""
    kept = root / "psad-cells" / code_name()
    kept.mkdir(parents=True, exist_ok=True)
    cells: dict[tuple[int, str, str], Any] = {}
    for world in worlds:
        for category in categories:
            of: Opened | None = None
            for name in only:
                stem = json.dumps([world, category, name, counts, profile, dict(options)])
                file = kept / f"{hashlib.sha256(stem.encode()).hexdigest()[:16]}.json"
                if not file.exists():
                    of = of or opened(category, world, root, counts, profile)
                    partial = file.with_suffix(".partial")
                    partial.write_text(json.dumps(cell(of, category, name, options)))
                    partial.replace(file)
                cells[world, category, name] = json.loads(file.read_text())
                print(f"world {world}, {category}, {name}: done", flush=True)
    figures = {}
    for row, (name, banks, scaled) in ROWS.items():
        if name not in only:
            continue
        for kind, group in zip(("logical", "structural"), GROUPS[1:], strict=True):
            by_category = {
                category: np.mean([
                    auroc(
                        fused(cells[world, category, name], GROUPS[0], banks, scaled),
                        fused(cells[world, category, name], group, banks, scaled),
                    )
                    for world in worlds
                ])
                for category in categories
            }  # fmt: skip
            for category, value in by_category.items():
                figures[f"{row}: {category}: {kind}"] = round(float(value), 3)
            values = list(by_category.values())
            figures[f"{row}: mean: {kind}"] = round(float(np.mean(values)), 3)
            figures[f"{row}: worst: {kind}"] = round(float(np.min(values)), 3)
    return figures


def cost(root: Path, profile: str, train: int, options: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of a verdict, and of its two encoder passes; the rest over the passes."""
    counts = {"train": train, "validation": 0, "test_good": ROUNDS, "test_logical": 0,
              "test_structural": 0}  # fmt: skip
    of = opened("pushpins", 1, root, counts, profile)
    quick = {"supervised": 5, "joint": 5, "copies": 1}
    method = Psad(PsadConfig(**{**options, "segmenter": quick}))
    through = of.train[0].backbone_set
    encoder: Any = through.backbones["encoder"]
    shots, others = of.train[: of.labelled], of.train[of.labelled :]
    context = FitContext(labels=of.labels[: of.labelled], unlabeled=others, encoder=encoder)
    fitted = pipeline.fit(method, shots, context)
    module, side = encoder.build().eval(), method.config.training.side
    square = torch.zeros(1, 3, side, side)
    passes, whole = [], []
    with torch.inference_mode():
        for view in of.tests["good"]:
            first, second = view.again(view.pixels, "once"), view.again(view.pixels, "again")
            passes.append(seconds(lambda: module(square)) + seconds(first.pyramid))
            whole.append(seconds(lambda second=second: pipeline.judge(second, fitted)))
    rest = [max(0.0, w - p) / p for w, p in zip(whole, passes, strict=True)]
    return {
        "encoder passes a query": 2,
        "training images": train,
        "milliseconds of the passes": round(1000 * statistics.median(passes), 1),
        "milliseconds of a verdict": round(1000 * statistics.median(whole), 1),
        "rest over passes": round(statistics.median(rest), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=("tables", "cost"))
    parser.add_argument("--worlds", type=int, nargs="+", default=[0, 3])
    parser.add_argument("--category", nargs="+", default=list(SCENE_CATEGORIES))
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--train", type=int, default=TRAIN, help="training images")
    parser.add_argument("--images", type=int, default=IMAGES, help="test images per group")
    parser.add_argument("--root", type=Path, default=Path("scenes"), help="where scenes are made")
    parser.add_argument("--profile", default="builtin")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--name", help="of the file in benchmarks/results")
    given = parser.parse_args()
    options = json_options(given.option)
    said = f"profile {given.profile}, options {options}"
    if given.what == "cost":
        figures = cost(given.root, given.profile, given.train, options)
        keep(given.name or "psad-cost", f"scenes-v1, pushpins, seed 1, {said}", figures)
        return
    counts = {"train": given.train, "validation": 0} | dict.fromkeys(
        ("test_good", "test_logical", "test_structural"), given.images
    )
    figures = tables(
        given.worlds, given.category, counts, given.root, given.profile, options, given.cells
    )
    if set(given.worlds) & set(TUNING) or given.category != list(SCENE_CATEGORIES):
        print(json.dumps(figures, indent=1))
        return
    worlds = " ".join(map(str, given.worlds))
    what = f"{given.train} training images, {given.images} test images a group"
    keep(given.name or "psad", f"scenes-v1, seed {worlds}, {what}, {said}", figures)


if __name__ == "__main__":
    main()
