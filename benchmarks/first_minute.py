"""What somebody sees in the first minute: four normal images, the default call, a few pictures.

    python -m benchmarks.first_minute

The five categories of scenes in a world that chose nothing and that nobody looked at (7), the first
four training images, 8 test images a group, everything else left alone. Counted are pictures above
the threshold: false alarms of 40, damages of 40, missing, extra, misplaced and other wrong parts of
40; beside it AUROC. And whether the power check tells beforehand what is caught: Spearman's rank
correlation, over 20 pairs of a category and a way of looking (default, `looks_for="damage"`,
`looks_for="composition"`, `sam-lad`), of the share of altered copies caught with the share of real
anomalies caught; also for the default alone, with both kinds of anomaly apart.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from benchmarks.common import auroc, keep
from fmlad import Detector
from fmlad.datasets import SCENE_CATEGORIES, render_scene
from fmlad.synthetic import DAMAGES, REARRANGEMENTS

SHOTS, IMAGES = 4, 8
GROUPS = ("good", "structural_anomalies", "logical_anomalies")
WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "damage alone": {"looks_for": "damage"},
    "composition alone": {"looks_for": "composition"},
    "sam-lad": {"method": "sam-lad"},
}


def judged(name: str, world: int, way: str) -> dict[str, Any]:
    """Scores by group, how many are above the threshold, and what the power check said."""
    shots = [render_scene(name, world, "train", "good", index).image for index in range(SHOTS)]
    detector = Detector.from_shots(shots, profile="builtin", **WAYS[way])
    found: dict[str, Any] = {"scores": {}, "alarms": {}, "unsure": {}}
    for group in GROUPS:
        verdicts = [
            detector.predict(render_scene(name, world, "test", group, index).image)
            for index in range(IMAGES)
        ]
        found["scores"][group] = [verdict.score for verdict in verdicts]
        found["alarms"][group] = sum(bool(verdict.is_anomalous) for verdict in verdicts)
        found["unsure"][group] = sum(verdict.decision == "unsure" for verdict in verdicts)
    power = detector.power_check()
    found["power"] = {
        "both": power.share([*DAMAGES, *REARRANGEMENTS]),
        "structural_anomalies": power.share(DAMAGES),
        "logical_anomalies": power.share(REARRANGEMENTS),
    }
    return found


def main() -> None:
    from scipy.stats import spearmanr

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--world", type=int, default=7, help="1 and 2 for tuning")
    arguments = parser.parse_args()
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    figures: dict[str, Any] = {}
    for name in SCENE_CATEGORIES:
        for way in WAYS:
            cell = cells[name, way] = judged(name, arguments.world, way)
            row = {f"{group}: above the threshold": cell["alarms"][group] for group in GROUPS}
            row |= {f"{group}: of these unsure": cell["unsure"][group] for group in GROUPS}
            for group in GROUPS[1:]:
                value = auroc(cell["scores"]["good"], cell["scores"][group])
                row[f"{group}: AUROC"] = round(value, 3)
            figures[f"{name}: {way}"] = row | {"power check": cell["power"]}
            print(name, way, figures[f"{name}: {way}"], flush=True)
    for way in WAYS:
        rows = [figures[f"{name}: {way}"] for name in SCENE_CATEGORIES]
        counted = [key for key in rows[0] if key != "power check"]
        figures[f"all: {way}"] = {
            key: round(float(np.mean([row[key] for row in rows])), 3)
            if key.endswith("AUROC")
            else sum(row[key] for row in rows)
            for key in counted
        }
    promised = [cell["power"]["both"] for cell in cells.values()]
    caught = [sum(cell["alarms"][group] for group in GROUPS[1:]) for cell in cells.values()]
    figures["rank correlation, 20 pairs"] = round(float(spearmanr(promised, caught)[0]), 3)
    own = [
        (cells[name, "default"]["power"][group], cells[name, "default"]["alarms"][group])
        for name in SCENE_CATEGORIES
        for group in GROUPS[1:]
    ]
    apart = spearmanr(*zip(*own, strict=True))[0]
    figures["rank correlation, default, kinds apart"] = round(float(apart), 3)
    protocol = (
        f"scenes-v1, world {arguments.world}, {SHOTS} shots, {IMAGES} images a group, builtin"
    )
    if arguments.world in (1, 2):
        print(figures)
    else:
        keep("first-minute", protocol, figures)


if __name__ == "__main__":
    main()
