"""Logical and structural anomalies of the sample world, for each bank alone and all together.

    python -m benchmarks.scenes

`scenes-v1`, five categories, 4 shots drawn at random from the training images, seeds 0 to 4. Per
category the AUROC of the logical and of the structural anomalies against the normal test images,
for the fused score, for each bank alone (its raw score), for all three added, scaled ("sum",
PSAD's fusion) and as they are ("unscaled"), and for the largest of them ("maximum").

"First finding": of the logical anomalies that are called anomalous, the share whose first finding
has the right kind, and the share whose first finding lies in the right place (its box overlaps the
truth's, or its centre lies in it). Parts have no names, so a right part means the right place.

Each image is opened once; its features and masks stay in memory for all cells. Limits were chosen
on scenes of seed 1 only (`--world 1`); the reported ones are of seed 0.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import auroc, builtin_backbones, json_options, keep, scene_counts
from fmlad import pipeline
from fmlad.datasets import SCENE_CATEGORIES, make_scenes
from fmlad.findings import Box, Finding
from fmlad.io.images import load_image
from fmlad.methods.banks.config import BANKS
from fmlad.methods.protocol import FitContext
from fmlad.methods.registry import create_method
from fmlad.views import ImageView

SHOTS = 4
SWITCHES = ("hierarchy", "place", "scaling", "registration")
GROUPS = ("good", "logical_anomalies", "structural_anomalies")


def in_place(found: Box | None, truth: Box) -> bool:
    """Whether a box overlaps the truth's by a fifth, or has its centre in it or the reverse."""
    if found is None:
        return False
    a, b = np.array(found), np.array(truth, float)
    side = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - np.prod(side)
    middle = (a[:2] + a[2:]) / 2
    inside = bool((middle >= b[:2]).all() and (middle <= b[2:]).all())
    return inside or bool(np.prod(side) >= 0.2 * union)


def open_all(
    name: str, root: Path, counts: dict[str, int], world: int
) -> tuple[list[ImageView], dict[str, list[ImageView]], Path]:
    """Training views, test views by group, and where the truths of logical anomalies are."""
    folder = make_scenes(root / f"{name}-{world}-{counts['test_good']}", name, world, counts)
    backbone_set = builtin_backbones()

    def opened(path: Path) -> ImageView:
        return backbone_set.view(load_image(path), path.stem)

    train = [opened(path) for path in sorted((folder / "train" / "good").glob("*.png"))]
    tests = {g: [opened(p) for p in sorted((folder / "test" / g).glob("*.png"))] for g in GROUPS}
    return train, tests, folder / "objects" / "test" / "logical_anomalies"


def category(
    train: list[ImageView], tests: dict[str, list[ImageView]], sidecars: Path, seeds: int,
    options: dict[str, Any],
) -> dict[str, float]:  # fmt: skip
    """Mean figures of one category."""
    rows = []
    for seed in range(seeds):
        drawn = np.random.default_rng(seed).choice(len(train), SHOTS, replace=False)
        shots = [train[i] for i in drawn]
        fitted = pipeline.fit(create_method("banks", options), shots, FitContext(seed=seed))
        scales = fitted.fusion.scales
        scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        kinds: list[bool] = []
        places: list[bool] = []
        for group, views in tests.items():
            for view in views:
                verdict = pipeline.judge(view, fitted)
                raw = {b: s * scales[b] for b, s in verdict.branch_scores.items()}
                scores["fused"][group].append(verdict.score)
                scores["unscaled"][group].append(sum(raw.values()))
                scores["sum"][group].append(sum(verdict.branch_scores.values()))
                scores["maximum"][group].append(max(verdict.branch_scores.values()))
                for branch, score in raw.items():
                    scores[branch][group].append(score)
                if group == "logical_anomalies" and verdict.is_anomalous:
                    truth = json.loads((sidecars / f"{view.name}.json").read_text())["anomaly"]
                    first: Finding | None = next(iter(verdict.findings), None)
                    kinds.append(first is not None and first.kind == truth["kind"])
                    places.append(first is not None and in_place(first.box, truth["box"]))
        row = {}
        for which, by_group in scores.items():
            good = by_group["good"]
            for group in GROUPS[1:]:
                row[f"{which}, {group.partition('_')[0]}"] = auroc(good, by_group[group])
        alarms = [bool(fitted.calibration.decide(score)) for score in scores["fused"]["good"]]
        row["false alarms"] = float(np.mean(alarms))
        row["detected logical"] = len(kinds) / max(len(tests["logical_anomalies"]), 1)
        row["first finding: kind"] = float(np.mean(kinds)) if kinds else 0.0
        row["first finding: place"] = float(np.mean(places)) if places else 0.0
        both = [kind and place for kind, place in zip(kinds, places, strict=True)]
        row["first finding: kind and place"] = float(np.mean(both)) if both else 0.0
        rows.append(row)
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def ablations(
    opened: tuple[list[ImageView], dict[str, list[ImageView]], Path], seeds: int,
    options: dict[str, Any],
) -> dict[str, float]:  # fmt: skip
    """Fused and histogram AUROC with one switch off at a time."""
    figures = {}
    for switch in ("nothing", *SWITCHES):
        changed = options if switch == "nothing" else options | {switch: False}
        row = category(*opened, seeds, changed)
        for which in ("fused", "histogram"):
            for group in ("logical", "structural"):
                figures[f"without {switch}: {which}, {group}"] = row[f"{which}, {group}"]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--world", type=int, default=0, help="seed of the scenes; 1 for tuning")
    parser.add_argument("--images", type=int, default=20, help="test images per group")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--root", type=Path, default=Path("scenes"), help="where scenes are made")
    parser.add_argument("--category", nargs="+", default=list(SCENE_CATEGORIES))
    parser.add_argument("--ablations", action="store_true", help="switches off, one at a time")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--name", default="scenes", help="of the file in benchmarks/results")
    arguments = parser.parse_args()
    options = {"banks": BANKS, **json_options(arguments.option)}
    n = arguments.images
    counts = scene_counts(16, n)
    table: dict[str, dict[str, float]] = {}
    for name in arguments.category:
        opened = open_all(name, arguments.root, counts, arguments.world)
        if arguments.ablations:
            table[name] = ablations(opened, arguments.seeds, options)
        else:
            table[name] = category(*opened, arguments.seeds, options)
        print(name, {key: round(value, 3) for key, value in table[name].items()}, flush=True)
    keys = next(iter(table.values()))
    table["mean"] = {key: float(np.mean([row[key] for row in table.values()])) for key in keys}
    figures = {f"{c}: {k}": round(v, 3) for c, row in table.items() for k, v in row.items()}
    if arguments.world == 0:
        protocol = f"scenes-v1, seed 0, {SHOTS} shots, {arguments.seeds} seeds, {n} images a group"
        protocol += f", options {options}"
        keep(arguments.name, protocol, figures, seeds=range(arguments.seeds))
    else:
        print({key: round(value, 3) for key, value in table["mean"].items()})


if __name__ == "__main__":
    main()
