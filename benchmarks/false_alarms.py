"""What a threshold says of false alarms, and what comes of it on fresh normal images.

    python -m benchmarks.false_alarms

Scenes, method `banks`, profile `builtin`. Two parts.

- Ranks: 4 shots, then the scores of 130 further normal images a category, world 0. 200
  random splits each: m of them (20, 50, 100) are validation images, the rest is judged at rates of
  0.05 and 0.10. With exchangeable scores the number of alarms among n images follows a
  beta-binomial law; printed are the mean rate over all splits and the share of splits inside the
  central 95 % of that law. Splits of one category share its images, so that this share may stray.
- Shots: k = 4 and 8 shots, each judged by the others, 3 draws, 30 fresh normal images; the rate
  that the automatic threshold states, and what came of it: mean, and the worst draw of a category.

How far normal scores spread (`fmlad/scoring/quantiles.py`) was chosen on worlds 1 and 2.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.common import builtin_backbones, keep
from fmlad import pipeline
from fmlad.datasets import SCENE_CATEGORIES, render_scene
from fmlad.methods.protocol import FitContext
from fmlad.methods.registry import create_method
from fmlad.scoring.calibration import Calibration
from fmlad.views import BackboneSet, ImageView

SIZES, RATES, SHOTS = (20, 50, 100), (0.05, 0.1), (4, 8)
SPLITS, FRESH, POOL, DRAWS, JUDGED = 200, 130, 16, 3, 30


def views(
    backbone_set: BackboneSet, name: str, world: int, split: str, count: int
) -> list[ImageView]:
    """Normal scenes, seen through the backbones."""
    return [
        backbone_set.view(render_scene(name, world, split, "good", index).image, f"{split} {index}")
        for index in range(count)
    ]


def fitted(shots: Sequence[ImageView], seed: int) -> pipeline.Fitted:
    """The default method on some shots."""
    return pipeline.fit(create_method("banks", {}), shots, FitContext(seed=seed))


def by_ranks(scores: Sequence[float]) -> dict[str, list[tuple[float, bool]]]:
    """For each size and rate, realised rate and whether it is inside the law, per split."""
    from scipy.stats import betabinom

    rng = np.random.default_rng(0)
    found: dict[str, list[tuple[float, bool]]] = {}
    for m in SIZES:
        for _ in range(SPLITS):
            order = rng.permutation(len(scores))
            known, new = np.array(scores)[order[:m]], np.array(scores)[order[m:]]
            for rate in RATES:
                calibration = Calibration.fit(known.tolist(), "validation", rate)
                alarms = int(sum(bool(calibration.decide(score)) for score in new))
                rank = int(rate * (m + 1) + 1e-9)
                low, high = betabinom(len(new), rank, m + 1 - rank).ppf([0.025, 0.975])
                key = f"m {m}, rate {rate:.2f}"
                found.setdefault(key, []).append((alarms / len(new), low <= alarms <= high))
    return found


def by_shots(pool: Sequence[ImageView], fresh: Sequence[ImageView], k: int) -> list[Any]:
    """For each draw of ``k`` shots: rate stated, rate realised, share judged unsure."""
    rows = []
    for seed in range(DRAWS):
        drawn = np.random.default_rng(seed).choice(len(pool), k, replace=False)
        detector = fitted([pool[index] for index in drawn], seed)
        calibration = detector.calibration
        decisions = [calibration.decision(pipeline.judge(view, detector).score) for view in fresh]
        alarms = float(np.mean([one != "ok" for one in decisions]))
        certain = float(np.mean([one == "not_ok" for one in decisions]))
        rows.append((calibration.rate, alarms, certain))
    return rows


def summary(
    ranks: Mapping[str, list[tuple[float, bool]]], shots: Mapping[int, list[Any]]
) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for key, cells in ranks.items():
        rates, inside = zip(*cells, strict=True)
        figures[key] = {
            "realised": round(float(np.mean(rates)), 3),
            "inside the law": round(float(np.mean(inside)), 3),
        }
    for k, rows in shots.items():
        stated, alarms, certain = (np.array(column) for column in zip(*rows, strict=True))
        figures[f"{k} shots"] = {
            "stated": round(float(stated.mean()), 3),
            "realised": round(float(alarms.mean()), 3),
            "worst draw": round(float(alarms.max()), 3),
            "certain alarms": round(float(certain.mean()), 3),
            "draws": len(rows),
        }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--worlds", type=int, nargs="+", default=[0])
    parser.add_argument("--category", nargs="+", default=list(SCENE_CATEGORIES))
    arguments = parser.parse_args()
    backbone_set = builtin_backbones()
    ranks: dict[str, list[tuple[float, bool]]] = {}
    shots: dict[int, list[Any]] = {}
    for world in arguments.worlds:
        for name in arguments.category:
            pool = views(backbone_set, name, world, "train", POOL)
            fresh = views(backbone_set, name, world, "test", FRESH)
            detector = fitted(pool[:4], 0)
            scores = [pipeline.judge(view, detector).score for view in fresh]
            for key, cells in by_ranks(scores).items():
                ranks.setdefault(key, []).extend(cells)
            for k in SHOTS:
                shots.setdefault(k, []).extend(by_shots(pool, fresh[:JUDGED], k))
            print(world, name, summary(ranks, shots), flush=True)
    protocol = (
        f"scenes-v1, worlds {arguments.worlds}, banks on builtin, {SPLITS} splits of {FRESH}, "
        f"{DRAWS} draws"
    )
    keep("false-alarms", protocol, summary(ranks, shots), seeds=range(DRAWS))


if __name__ == "__main__":
    main()
