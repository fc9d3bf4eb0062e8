"""CLIP-LAD offline: prompt sets on the embedded lexicon, against a plain patch bank.

    python -m benchmarks.clip_lad

Nine (sub-)categories of `scenes-v1`, as in the paper: juice bottle and splicing connectors are
split by their three types, shots and test images alike. 20 normal and 20 logical test images a
category (60 and 60 of the two that are split), shots drawn from the first 16 training images (8 a
type).
Image AUROC of the logical anomalies, mean over the seeds 0 to 4.

"Plain patches" is the yardstick of `tests/datasets/test_scenes_gates.py`, fixed before it was first
run, with all 60 training images (20 a type) for its bank; the others have 1, 2 or 4 shots.

Rows "expect" use the prompt sets that declare rules; "zero shots" those rules alone. The
photographs of dice are those of `benchmarks/dice.py`; `dice` says what a die looks like, `dice_six`
also that there are six. Everything was chosen on scenes of seed 1 (`--world 1`).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import faiss
import numpy as np

import fmlad
from benchmarks.common import keep
from benchmarks.dice import NORMAL, photographs, shared, silent
from fmlad import pipeline, profiles
from fmlad.datasets import make_scenes
from fmlad.images import load_image
from fmlad.methods.registry import create_method
from fmlad.prompts import PromptSet
from fmlad.views import Eyes, ImageView
from tests.datasets.test_scenes_gates import patches

ROLES = ("text_aligner", "mask_proposer", "feature_extractor")
TYPES = {
    "juice_bottle": ("banana", "cherry", "orange"),
    "splicing_connectors": ("blue", "red", "yellow"),
}
SPLIT = tuple(f"{category}_{kind}" for category, kinds in TYPES.items() for kind in kinds)
NAMES = ("breakfast_box", "pushpins", "screw_bag", *SPLIT)
CLAMPS = {"2": "yellow", "3": "blue", "5": "red"}
GOOD, BAD = "test/good", "test/logical_anomalies"
SEEDS = range(5)
# Name of a row -> shots, prefix of the prompt set, options.
Row = tuple[int, str, dict[str, Any]]
MAIN: dict[str, Row] = {
    "4 shots": (4, "scenes/", {}),
    "2 shots": (2, "scenes/", {}),
    "1 shot": (1, "scenes/", {}),
    "4 shots, expect": (4, "scenes/expect/", {}),
    "zero shots, expect": (0, "scenes/expect/", {}),
}
ABLATION: dict[str, Row] = {
    "coarse only": (4, "scenes/", {"stage": "coarse"}),
    "fine only": (4, "scenes/", {"stage": "fine"}),
    "distance ratio": (4, "scenes/", {"distance": "ratio"}),
    "distance literal": (4, "scenes/", {"distance": "literal"}),
    "fusion maximum": (4, "scenes/", {"fusion": "maximum"}),
    "fusion mahalanobis": (4, "scenes/", {"fusion": "mahalanobis"}),
    "fusion mahalanobis, two-sided": (4, "scenes/", {"fusion": "mahalanobis", "two_sided": True}),
    "the paper's branches": (4, "scenes/", {"branches": ["histogram", "patch"]}),
}


def opened() -> Eyes:
    """The embedded backbones."""
    return Eyes(profiles.load_backbones(profiles.resolve(ROLES, "builtin"), "cpu"))


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


def images(root: Path, name: str, world: int) -> dict[str, list[Path]]:
    """Paths of one (sub-)category: ``train/good`` and both test groups."""
    category = next((c for c in TYPES if name.startswith(c)), name)
    tests = 60 if category in TYPES else 20
    counts = {
        "train": 60, "validation": 0, "test_good": tests, "test_logical": tests,
        "test_structural": 0,
    }  # fmt: skip
    folder = make_scenes(root / f"{category}-{world}", category, world, counts)
    found = {}
    for group in ("train/good", GOOD, BAD):
        found[group] = sorted((folder / group).glob("*.png"))
        if category in TYPES:
            found[group] = [
                path
                for path in found[group]
                if name.endswith(
                    kind_of(
                        category,
                        json.loads((folder / "objects" / group / f"{path.stem}.json").read_text()),
                    )
                )
            ]
    return found


def plain_patches(paths: dict[str, list[Path]]) -> float:
    """AUROC of the gate's second yardstick."""
    normal = np.concatenate([patches(load_image(path)) for path in paths["train/good"]])
    centre, spread = normal.mean(axis=0), normal.std(axis=0) + 1e-6
    size = min(20_000, len(normal))
    chosen = np.random.default_rng(0).choice(len(normal), size, replace=False)
    index = faiss.IndexFlatL2(normal.shape[1])
    index.add(((normal[chosen] - centre) / spread).astype(np.float32))
    scores = [
        float(index.search(((patches(load_image(p)) - centre) / spread).astype("f4"), 1)[0].max())
        for group in (GOOD, BAD)
        for p in paths[group]
    ]
    return fmlad.metrics.auroc([0] * len(paths[GOOD]) + [1] * len(paths[BAD]), scores)


def row(
    views: dict[str, list[ImageView]], eyes: Eyes, prompts: PromptSet, shots: int, options: Any
) -> dict[str, float]:
    """Mean AUROC over the seeds, fused and of each branch alone."""
    method = create_method("clip-lad", options)
    cells = []
    for seed in SEEDS if shots else (0,):
        if shots:
            train = views["train/good"]
            drawn = np.random.default_rng(seed).choice(len(train), shots, replace=False)
            fitted = pipeline.fit(
                method, [train[i] for i in drawn], prompts=prompts, seed=seed, progress=silent
            )
            chosen = {train[i].key for i in drawn}
        else:
            fitted, chosen = pipeline.fit_prompts(method, prompts, eyes.view), set()
        good = [pipeline.judge(v, fitted) for v in views[GOOD] if v.key not in chosen]
        bad = [pipeline.judge(v, fitted) for v in views[BAD]]
        truth = [0] * len(good) + [1] * len(bad)
        both = [*good, *bad]
        cell = {"fused": fmlad.metrics.auroc(truth, [p.score for p in both])}
        for branch in both[0].branch_scores:
            values = [p.branch_scores[branch] for p in both]
            cell[branch] = fmlad.metrics.auroc(truth, values)
        cells.append(cell)
    return {key: float(np.mean([cell[key] for cell in cells])) for key in cells[0]}


def scenes(root: Path, world: int, names: list[str], rows: dict[str, Row]) -> dict[str, float]:
    """Figures of the scenes."""
    eyes = opened()
    table: dict[str, dict[str, float]] = {}
    for name in names:
        paths = images(root, name, world)
        pool = 8 if any(name.startswith(c) for c in TYPES) else 16
        paths_used = {**paths, "train/good": paths["train/good"][:pool]}
        views = {g: [eyes.view(load_image(p), p.stem) for p in v] for g, v in paths_used.items()}
        cells = {"plain patches": plain_patches(paths)}
        for title, (shots, prefix, options) in rows.items():
            found = row(views, eyes, PromptSet.load(prefix + name), shots, options)
            cells[title] = found.pop("fused")
            if title == "4 shots":
                cells |= {f"4 shots, {branch} alone": value for branch, value in found.items()}
        table[name] = cells
        print(name, {key: round(value, 3) for key, value in cells.items()}, flush=True)
    titles = list(next(iter(table.values())))
    table["mean of nine"] = {
        t: float(np.mean([cells[t] for cells in table.values()])) for t in titles
    }
    return {f"{n}: {t}": round(v, 3) for n, cells in table.items() for t, v in cells.items()}


def dice(every_other: bool) -> dict[str, float]:
    """Figures of the photographs."""
    eyes = opened()
    number = photographs(every_other)
    home = shared("data", "dice", "images")
    views = {name: eyes.view(load_image(home / name), name) for name in number}
    six = [views[name] for name, n in number.items() if n == NORMAL]
    groups = {
        "train/good": six,
        GOOD: six,
        BAD: [views[name] for name, n in number.items() if n != NORMAL],
    }
    figures = {}
    for title, (shots, name) in {
        "dice, 4 shots": (4, "dice"),
        "dice, 2 shots": (2, "dice"),
        "dice, 1 shot": (1, "dice"),
        "dice_six, 4 shots": (4, "dice_six"),
        "dice_six, zero shots": (0, "dice_six"),
    }.items():
        found = row(groups, eyes, PromptSet.load(name), shots, {})
        figures[title] = round(found.pop("fused"), 3)
        print(title, figures[title], {k: round(v, 3) for k, v in found.items()}, flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--world", type=int, default=0, help="seed of the scenes; 1 for tuning")
    parser.add_argument("--root", type=Path, default=Path("scenes"), help="where scenes are made")
    parser.add_argument("--names", nargs="+", default=list(NAMES), help="of the nine")
    parser.add_argument("--no-ablation", action="store_true")
    parser.add_argument("--no-dice", action="store_true")
    arguments = parser.parse_args()
    rows = MAIN if arguments.no_ablation else {**MAIN, **ABLATION}
    figures = {} if arguments.no_dice else dice(every_other=arguments.world != 0)
    figures |= scenes(arguments.root, arguments.world, arguments.names, rows)
    if arguments.world == 0:
        keep("clip-lad", "scenes-v1, seed 0, nine (sub-)categories; dice; builtin profile", figures)


if __name__ == "__main__":
    main()
