"""The embedded features beside those they were chosen among, in one patch bank.

    python -m benchmarks.embedded

`scenes-v1`, five categories, worlds 0 and 5, 40 normal and 40 structural test images a category; 4
shots, drawn six times from 8. ``banks`` with the patch bank alone, registration as shipped. AUROC,
and AUPRO up to a false positive rate of 0.05 on every second pixel. Worst draw: least mean over
categories and worlds of a draw's figure.

Features, layers, projection, and how maps are treated were chosen on worlds 1 and 2, DeepPCB pairs
31 to 60 and the textures ``TUNING`` of :mod:`benchmarks.textures`; world 5 was opened for this
table alone. Rows that are not ``REPORTED`` are of world 0 and one draw. Differences are paired with
the row "SqueezeNet (4, 7), median removed"; intervals of 95 % by bootstrap over images and draws.
DeepPCB with the default: `benchmarks.pcb`, textures: `benchmarks.textures`, costs of a whole
verdict: `benchmarks.feature_cost`.
"""

from __future__ import annotations

import argparse
import statistics
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.common import auroc, code_name, keep, scene_counts, seconds
from benchmarks.embedded_networks import study_features
from benchmarks.textures import (
    LIMIT,
    TUNING_WORLDS,
    Cell,
    aupro_again,
    read_cells,
    regions,
    remembering,
    summary,
    write_cells,
)
from fmlad import pipeline, profiles
from fmlad.backbones.roles import FeatureExtractor
from fmlad.bench.bootstrap import SEED, ImageDraws
from fmlad.bench.model import ImageRecord
from fmlad.datasets import SCENE_CATEGORIES, make_scenes
from fmlad.io.images import load_image
from fmlad.methods.protocol import FitContext
from fmlad.methods.registry import create_method
from fmlad.metrics import aupro
from fmlad.views import BackboneSet, ImageView

POOL, SHOTS, DRAWS, TESTS = 8, 4, 6, 40
WORLDS = (0, 5)
GROUPS = ("good", "structural_anomalies")
STEP = 2  # px between the pixels whose maps are compared

# How maps were treated before, and what the yardstick does.
PLAIN = {"levels": 1, "variation": 0.0, "background": None}
MEDIAN = {"levels": 1, "variation": 0.0, "background": 0.0}
BASE = "SqueezeNet (4, 7), median removed"
DEFAULT = "builtin:features@1"

# Label -> features and options of the method.
ROWS: Mapping[str, tuple[str, dict[str, Any]]] = {
    BASE: ("squeezenet:4+7", MEDIAN),
    DEFAULT: (DEFAULT, {}),
    "hand-made, nothing removed": ("builtin:handmade@1", PLAIN),
    "hand-made, median removed": ("builtin:handmade@1", MEDIAN),
    "features@1, finest level alone": (DEFAULT, {"levels": 1}),
    "features@1, variation stays": (DEFAULT, {"variation": 0.0}),
    "features@1, median removed": (DEFAULT, {"background": 0.0}),
    "features@1, nothing removed": (DEFAULT, {"variation": 0.0, "background": None}),
    "Lite0 4+8, median removed": ("lite0:4+8", MEDIAN),
    "Lite0 e4+e8 in 64, median removed": ("lite0:e4+e8#pca=64", MEDIAN),
    "Lite0 e4+e8 in 64, 0.1 hand-made, median removed": (
        "lite0:e4+e8#pca=64,handmade=0.1", MEDIAN,
    ),
    "Lite2 e4+e8 in 64, median removed": ("lite2:e4+e8#pca=64", MEDIAN),
}  # fmt: skip


# The rows that are measured on all worlds and draws; the others explain them.
REPORTED = (BASE, DEFAULT, "hand-made, nothing removed")
STUDY_WORLD, STUDY_DRAWS = 0, 1


def draws_of(label: str, world: int, draws: int) -> int:
    """Draws of shots with which a row is measured in a world."""
    if label in REPORTED:
        return draws
    return min(draws, STUDY_DRAWS) if world in (STUDY_WORLD, *TUNING_WORLDS) else 0


def extractor(name: str) -> FeatureExtractor:
    """A backbone by name, or one of the study's by description."""
    if not name.startswith("builtin:"):
        return study_features(name)
    found: Any = profiles.load_backbones({"feature_extractor": name}, "cpu")["feature_extractor"]
    return found  # type: ignore[no-any-return]


def pictures(category: str, world: int, tests: int, root: Path) -> tuple[list[Any], list[Any], Any]:
    """Pixels of the pool, and of the test images with the numbers of their regions."""
    counts = scene_counts(POOL, tests) | {"test_logical": 1}
    folder = make_scenes(root / f"{category}-{world}-{tests}", category, world, counts)
    pool = [load_image(path) for path in sorted((folder / "train" / "good").glob("*.png"))]
    images, masks = [], []
    for group in GROUPS:
        for path in sorted((folder / "test" / group).glob("*.png")):
            images.append(load_image(path))
            mask = np.zeros(images[-1].shape[:2], bool)
            for part in sorted((folder / "ground_truth" / group / path.stem).glob("*.png")):
                mask |= np.asarray(Image.open(part).convert("L")) > 0
            masks.append(regions(mask)[::STEP, ::STEP])
    return pool, images, masks


def measure(
    rows: Mapping[str, tuple[str, dict[str, Any]]], category: str, world: int, draws: int,
    tests: int, root: Path,
) -> dict[str, Cell]:  # fmt: skip
    """A cell for each row of one network: every image is encoded, every pair searched, once."""
    pool, images, masks = pictures(category, world, tests, root)
    normal = sum(not mask.any() for mask in masks)
    found: dict[str, Cell] = {}
    opened: dict[str, tuple[list[ImageView], list[ImageView]]] = {}
    drawn = None
    with remembering():
        for label, (features, options) in rows.items():
            if features not in opened:
                opened.clear()
                backbones = BackboneSet({"feature_extractor": extractor(features)})
                opened[features] = (
                    [backbones.view(pixels, f"shot {n}") for n, pixels in enumerate(pool)],
                    [backbones.view(pixels, f"image {n}") for n, pixels in enumerate(images)],
                )
            shots, views = opened[features]
            table: list[tuple[Any, ...]] = []
            for seed in range(draws):
                picked = np.random.default_rng([world, seed]).choice(POOL, SHOTS, replace=False)
                method = create_method("banks", {"banks": ("patch",), **options})
                fitted = pipeline.fit(method, [shots[n] for n in picked], FitContext(seed=seed))
                predictions = [pipeline.judge(view, fitted) for view in views]
                records = [
                    ImageRecord(
                        p.name, "structural" if mask.any() else "good", None, p.score, None, 0.0,
                        False,
                    )
                    for p, mask in zip(predictions, masks, strict=True)
                ]  # fmt: skip
                scores = [p.score for p in predictions]
                maps = [p.anomaly_map[::STEP, ::STEP] for p in predictions]
                key = zlib.crc32(category.encode())
                drawn = drawn or ImageDraws.of([records], np.random.default_rng([SEED, world, key]))
                counts = np.stack([drawn.counts[view.name] for view in views])
                table.append(
                    (
                        auroc(scores[:normal], scores[normal:]),
                        aupro(maps, masks, LIMIT),
                        drawn.figure("auroc_micro", records),
                        aupro_again(maps, masks, counts),
                    )
                )
            found[label] = Cell(*(np.stack(column) for column in zip(*table, strict=True)))
    return found


def _means(cells: Sequence[Cell]) -> list[float]:
    """AUROC and AUPRO."""
    tables = ([cell.aurocs for cell in cells], [cell.aupros for cell in cells])
    return [round(float(np.mean(table)), 3) for table in tables]


def milliseconds(features: str) -> float:
    """Median time of one encoding of 640 x 480 px."""
    network = extractor(features)
    images = torch.randint(0, 256, (1, 3, 480, 640), dtype=torch.uint8)
    network.encode(images)
    return 1000 * statistics.median(seconds(lambda: network.encode(images)) for _ in range(7))


def dimensions(features: str) -> str:
    """Channels of each level."""
    levels = extractor(features).encode(torch.zeros(1, 3, 320, 320, dtype=torch.uint8)).levels
    return " + ".join(str(level.shape[1]) for _, level in sorted(levels.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--world", nargs="+", type=int, default=list(WORLDS), help="1, 2: tuning")
    parser.add_argument("--category", nargs="+", default=list(SCENE_CATEGORIES))
    parser.add_argument("--draws", type=int, default=DRAWS, help="of the shots")
    parser.add_argument("--images", type=int, default=TESTS, help="in each test group")
    parser.add_argument("--row", nargs="+", type=int, help="numbers of rows, from 0; default: all")
    parser.add_argument("--root", type=Path, default=Path("scenes"), help="where scenes are made")
    parser.add_argument("--out", type=Path, default=Path("out/embedded"), help="for stopped runs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    labels = list(ROWS) if given.row is None else [list(ROWS)[n] for n in (0, *given.row) if n >= 0]
    labels = list(dict.fromkeys(labels))
    folder = None if code_name().endswith("-changed") else given.out / code_name()
    networks: dict[tuple[str, bool], list[str]] = {}
    for label in labels:
        networks.setdefault((ROWS[label][0], label in REPORTED), []).append(label)
    # Those of all worlds first.
    ordered = sorted(networks.items(), key=lambda item: not item[0][1])
    cells: dict[str, dict[tuple[int, str], Cell]] = {label: {} for label in labels}
    for _, own in ordered:
        for world in given.world:
            draws = draws_of(own[0], world, given.draws)
            for category in given.category if draws else ():
                keys = {
                    label: f"{label} {world} {category} {draws} {given.images}" for label in own
                }
                saved = {label: read_cells(folder, key) for label, key in keys.items()}
                rows = {label: ROWS[label] for label in own if saved[label] is None}
                args = (rows, category, world, draws, given.images, given.root)
                new = measure(*args) if rows else {}
                for label, key in keys.items():
                    kept = saved[label]
                    cells[label][world, category] = kept[SHOTS] if kept else new[label]
                    if kept is None:
                        write_cells(folder, key, {SHOTS: new[label]})
                    line = summary([cells[label][world, category]])
                    print(f"{world} {category} {label}: {line}", flush=True)
    figures: dict[str, dict[str, Any]] = {}
    for label in (one for one in labels if cells[one]):
        own_cells = cells[label]
        worlds = [world for world in given.world if draws_of(label, world, given.draws)]
        base = None
        if label != labels[0]:
            base = [
                cells[labels[0]][world, category].first(draws_of(label, world, given.draws))
                for world, category in own_cells
            ]
        row = summary(list(own_cells.values()), base)
        row["categories"] = {c: _means([own_cells[w, c] for w in worlds]) for c in given.category}
        row["worlds"] = {str(w): _means([own_cells[w, c] for c in given.category]) for w in worlds}
        row["dimensions"] = dimensions(ROWS[label][0])
        row["encode, ms"] = round(milliseconds(ROWS[label][0]), 1)
        figures[label] = row
        print(f"{label}: {row}", flush=True)
    if tuple(given.world) == WORLDS and given.row is None:
        protocol = (
            f"scenes-v1, worlds {given.world}, {SHOTS} shots drawn {given.draws} times from "
            f"{POOL}, {given.images} images a group, patch bank alone, one thread; differences "
            f"from {labels[0]!r} with 95 % intervals"
        )
        keep("embedded", protocol, {"scenes": figures}, seeds=range(given.draws))


if __name__ == "__main__":
    main()
