"""SAM-LAD: matching quality, DigitAnatomy, scenes beside ``banks``, and what its parts cost.

    python -m benchmarks.sam_lad matching
    python -m benchmarks.sam_lad digits
    python -m benchmarks.sam_lad scenes --images 6 --seeds 2
    python -m benchmarks.sam_lad cost

``matching``: normal test scenes of known objects (their true masks) before their two most alike of
8 training scenes of the same product type. A pair is right when both objects are of one part and,
where parts have slots, in one slot. Precision, recall and F1 by category and descriptor, matched as
published (cosine) and with learned affinity.

``digits``: DigitAnatomy, 5 seeds x 200 test pages (100 normal, 25 of each anomaly), image AUROC.

``scenes``: 4 shots drawn from 16, logical and structural AUROC beside ``banks``.

``cost``: the measurement against k and C; DCGA, matching and measurement over one forward pass of a
DINOv2-S of true size with random weights.

All through the ``builtin`` profile. Everything was chosen on scenes of world 1 and on digits of
seeds 100 and up (``--tuning``); the reported ones are world 0 and seeds 0 to 4. Finished cells are
kept in the results file, so that a run that was stopped goes on where it was, with the same code.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from benchmarks.common import (
    auroc,
    builtin_backbones,
    dinov2_small,
    json_options,
    keep,
    scene_counts,
    seconds,
    unfinished,
)  # fmt: skip
from benchmarks.sam_lad_ablation import DRAWS, ablation
from benchmarks.scenes import GROUPS, open_all
from fmlad import pipeline
from fmlad.datasets import DIGIT_ANOMALIES, SCENE_CATEGORIES, render_digits, render_scene
from fmlad.datasets.digit_anatomy import DigitAnomaly
from fmlad.memory.mahalanobis import mahalanobis
from fmlad.memory.templates import image_vector
from fmlad.methods.protocol import FitContext
from fmlad.methods.registry import create_method
from fmlad.methods.sam_lad.matching import Affinity, Mode, describe
from fmlad.methods.sam_lad.measurement import Align
from fmlad.methods.sam_lad.paper import optimal_matching
from fmlad.objects.appearance import described
from fmlad.objects.assignment import match
from fmlad.objects.feature_maps import ObjectMaps, soft_masks
from fmlad.views import BackboneSet, ImageView

MODES: tuple[Mode, ...] = get_args(Mode)
REFERENCES = 2


class Known:
    """A scene with its true objects."""

    def __init__(self, through: BackboneSet, name: str, world: int, split: str, index: int) -> None:
        scene = render_scene(name, world, split, "good", index)
        level = through.view(scene.image).pyramid().levels[8]
        masks = np.stack([scene.instances == item.id for item in scene.objects])
        boxes = np.array([item.box for item in scene.objects], float)
        objects = described(scene.image, masks, boxes, np.ones(len(masks)), level).objects
        size = (level.shape[-2], level.shape[-1])
        vector = image_vector(level)
        self.maps = ObjectMaps(
            level, objects, soft_masks(masks, size), scene.image.shape[:2], vector
        )
        self.keys = [(item.kind, item.slot) for item in scene.objects]

    @property
    def type(self) -> Counter[tuple[str, str | None]]:
        return Counter(self.keys)


def matching(world: int, images: int) -> dict[str, Any]:
    """Precision, recall and F1 by category, descriptor and way of matching."""
    figures: dict[str, Any] = {}
    through = builtin_backbones(method="sam-lad")
    for name in SCENE_CATEGORIES:
        train = [Known(through, name, world, "train", index) for index in range(8)]
        tests = [Known(through, name, world, "test", index) for index in range(images)]
        pairs = []
        for query in tests:
            alike = [shot for shot in train if shot.type == query.type]
            alike.sort(
                key=lambda shot, q=query: float(np.linalg.norm(shot.maps.vector - q.maps.vector))
            )
            pairs += [(query, shot) for shot in alike[:REFERENCES]]
        for mode in MODES:
            learned = Affinity.learn([describe(shot.maps, mode) for shot in train])
            for how in ("learned", "without place", "published"):
                affinity = learned
                if how == "without place":
                    affinity = Affinity.learn([describe(s.maps, mode) for s in train], place=False)
                counted = np.zeros(3)
                for query, shot in pairs:
                    here, there = describe(query.maps, mode), describe(shot.maps, mode)
                    if how == "published":
                        partner, _ = optimal_matching(here.descriptors, there.descriptors)
                    else:
                        scores = affinity.scores(here, there)
                        partner = match(scores, affinity.dustbin, 1.0).partner
                    pairs_found = [(i, j) for i, j in enumerate(partner) if j >= 0]
                    right = sum(query.keys[i] == shot.keys[j] for i, j in pairs_found)
                    true = sum((query.type & shot.type).values())
                    counted += (right, len(pairs_found), true)
                precision = counted[0] / max(counted[1], 1)
                recall = counted[0] / max(counted[2], 1)
                f1 = 2 * precision * recall / max(precision + recall, 1e-9)
                for key, value in (("precision", precision), ("recall", recall), ("F1", f1)):
                    figures[f"{name}: {how}, {mode}: {key}"] = round(float(value), 3)
    for how in ("learned", "without place", "published"):
        for mode in MODES:
            for key in ("precision", "recall", "F1"):
                cells = [figures[f"{name}: {how}, {mode}: {key}"] for name in SCENE_CATEGORIES]
                figures[f"mean: {how}, {mode}: {key}"] = round(float(np.mean(cells)), 3)
    return figures


def digits(seed: int, shots: tuple[int, ...], options: dict[str, Any]) -> dict[str, float]:
    """AUROC of one seed by number of shots: all anomalies, and each kind."""
    through = builtin_backbones(method="sam-lad")
    train = [
        through.view(render_digits(seed, "train", index).image, str(index))
        for index in range(max(shots))
    ]
    fitted = {
        k: pipeline.fit(create_method("sam-lad", options), train[:k], FitContext(seed=seed))
        for k in shots
    }
    scores: dict[int, list[float]] = {k: [] for k in shots}
    truth: list[str] = []
    pages: list[tuple[DigitAnomaly | None, int]] = [(None, i) for i in range(100)]
    pages += [(anomaly, i) for anomaly in DIGIT_ANOMALIES for i in range(25)]
    for anomaly, index in pages:
        view = through.view(render_digits(seed, "test", index, anomaly).image)
        truth.append(anomaly or "good")
        for k in shots:
            scores[k].append(pipeline.judge(view, fitted[k]).score)
    row = {}
    for k in shots:
        good = [s for s, t in zip(scores[k], truth, strict=True) if t == "good"]
        for kind in ("all", *DIGIT_ANOMALIES):
            bad = [
                s
                for s, t in zip(scores[k], truth, strict=True)
                if t == kind or (kind == "all" and t != "good")
            ]
            row[f"{k} shots: {kind}"] = auroc(good, bad)
    return row


def scene(
    opened: tuple[list[ImageView], dict[str, list[ImageView]], Path], seeds: int, method: str,
    options: dict[str, Any],
) -> dict[str, float]:  # fmt: skip
    """AUROC of one category, mean over draws of 4 shots."""
    train, tests, _ = opened
    rows = []
    for seed in range(seeds):
        drawn = np.random.default_rng(seed).choice(len(train), 4, replace=False)
        fitted = pipeline.fit(
            create_method(method, options), [train[i] for i in drawn], FitContext(seed=seed)
        )
        scores: dict[str, dict[str, list[float]]] = {}
        for group, views in tests.items():
            for view in views:
                verdict = pipeline.judge(view, fitted)
                for branch, score in {"fused": verdict.score, **verdict.branch_scores}.items():
                    scores.setdefault(branch, {}).setdefault(group, []).append(score)
        row = {}
        for branch, by_group in scores.items():
            good = by_group["good"]
            for group in GROUPS[1:]:
                row[f"{branch}, {group.partition('_')[0]}"] = auroc(good, by_group[group])
        rows.append(row)
    return {key: round(float(np.mean([row[key] for row in rows])), 3) for key in rows[0]}


def median(work: Callable[[], object], rounds: int = 5) -> float:
    """Median time of some work, s."""
    return statistics.median(seconds(work) for _ in range(rounds))


def cost() -> dict[str, Any]:
    """The measurement against k and C, and all steps over one DINOv2-S pass."""
    from fmlad.methods.sam_lad.config import SamLadConfig
    from fmlad.methods.sam_lad.method import SamLad

    torch.manual_seed(0)
    figures: dict[str, Any] = {}
    places = 128 * 128
    for channels in (384, 512, 768, 1024):
        for k in (2, 4, 8, 16):
            if channels != 384 and k != 4:
                continue
            query, known = torch.randn(places, channels), torch.randn(k, places, channels)
            took = median(lambda q=query, r=known: mahalanobis(q, r), 3)
            figures[f"measure, k {k}, C {channels}: s"] = round(took, 3)
            figures[f"measure, k {k}, C {channels}: MB of features"] = round(known.nbytes / 1e6)
            del query, known
    model = dinov2_small()
    pixels = torch.randn(1, 3, 448, 448)
    with torch.inference_mode():
        forward = median(lambda: model(pixel_values=pixels))
    figures["DINOv2-S forward at 448 px, s"] = round(forward, 3)
    through = builtin_backbones(method="sam-lad")
    aligns: tuple[tuple[Align, str], ...] = (
        ("box", "descriptors, matching and measurement"),
        ("none", "the paper's steps alone"),
    )
    for k in (2, 4, 16):
        shots = [through.view(render_scene("pushpins", 0, index=i).image) for i in range(k)]
        view = through.view(render_scene("pushpins", 0, "test", "good", 0).image)
        for align, name in aligns:
            method = SamLad(SamLadConfig(neighbours=k, background=False, align=align))
            state = method.fit(shots, FitContext())
            method.evidence(view, state)  # masks and features are there from now on

            def work(query: ImageView = view, method: SamLad = method, state: Any = state) -> None:
                method.evidence(query, state)

            took = median(work)
            figures[f"{name}, {k} references, s"] = round(took, 3)
            figures[f"{name}, {k} references, over the DINOv2-S forward"] = round(took / forward, 2)
    figures["threads"] = torch.get_num_threads()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures["peak memory, MB"] = round(peak)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("matching", "digits", "scenes", "cost", "ablation"))
    parser.add_argument("--tuning", action="store_true", help="other worlds; writes no result")
    parser.add_argument("--images", type=int, default=12, help="test images per group")
    parser.add_argument("--seeds", type=int, default=None, help="draws, or worlds of digits")
    parser.add_argument("--shots", type=int, nargs="+", default=[4, 16], help="digits alone")
    parser.add_argument("--root", type=Path, default=Path("scenes"), help="where scenes are made")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--name", default=None, help="of the file in benchmarks/results")
    a = parser.parse_args()
    options = json_options(a.option)
    name = a.name or f"sam-lad-{a.what}"
    world = 1 if a.tuning else 0
    figures: dict[str, Any]
    kept_seeds: range | None = None
    if a.what == "matching":
        protocol = f"scenes-v1, seed {world}, {a.images} normal test scenes, 8 training scenes"
        figures = matching(world, a.images)
    elif a.what == "digits":
        kept_seeds = seeds = range(100 * world, 100 * world + (a.seeds or 5))
        protocol = f"digits-v1, 200 test pages a seed, shots {a.shots}, options {options}"
        figures = {} if a.tuning else unfinished(name, protocol)
        for seed in seeds:
            if f"seed {seed}" not in figures:
                row = digits(seed, tuple(a.shots), options)
                figures[f"seed {seed}"] = {key: round(v, 3) for key, v in row.items()}
                print(seed, figures[f"seed {seed}"], flush=True)
            rows = [value for key, value in figures.items() if key.startswith("seed ")]
            for key in rows[0]:
                values = [row[key] for row in rows]
                figures[key] = f"{np.mean(values):.3f} +- {np.std(values):.3f}"
            figures["seeds"] = len(rows)
            if not a.tuning:
                keep(name, protocol, figures, finished=False)
    elif a.what == "scenes":
        draws = a.seeds or 1
        kept_seeds = range(draws)
        protocol = (
            f"scenes-v1, seed {world}, 4 shots, {draws} draws, {a.images} images a group, "
            f"options {options}"
        )
        figures = {} if a.tuning else unfinished(name, protocol)
        counts = scene_counts(16, a.images)
        ways: dict[str, tuple[str, dict[str, Any]]] = {
            "sam-lad": ("sam-lad", options),
            "banks": ("banks", {}),
        }
        for category in SCENE_CATEGORIES:
            extra = dict(ways)
            if category == "screw_bag":
                for align in ("orientation", "none"):
                    extra[f"sam-lad, align {align}"] = ("sam-lad", {**options, "align": align})
            opened = None
            for way, (method, chosen) in extra.items():
                key = f"{category}: {way}"
                if key in figures:
                    continue
                opened = opened or open_all(category, a.root, counts, world)
                figures[key] = scene(opened, draws, method, chosen)
                print(key, figures[key], flush=True)
                if not a.tuning:
                    keep(name, protocol, figures, finished=False)
        for way in ways:
            for kind in ("logical", "structural"):
                cells = [figures[f"{c}: {way}"][f"fused, {kind}"] for c in SCENE_CATEGORIES]
                figures[f"mean: {way}, {kind}"] = round(float(np.mean(cells)), 3)
    elif a.what == "ablation":
        protocol = "builtin profile; see benchmarks/sam_lad_ablation.py"
        kept_seeds = range(DRAWS)
        figures = {} if a.tuning else unfinished(name, protocol)

        def record(now: dict[str, Any]) -> None:
            if not a.tuning:
                keep(name, protocol, now, seeds=kept_seeds, finished=False)

        figures = ablation(builtin_backbones(method="sam-lad"), a.root, world, figures, record)
    else:
        protocol = f"random weights, {torch.get_num_threads()} threads, medians"
        figures = cost()
    if a.tuning:
        print(json.dumps(figures, indent=1))
    else:
        keep(name, protocol, figures, seeds=kept_seeds)


if __name__ == "__main__":
    main()
