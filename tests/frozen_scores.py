"""Scores of every training-free method on a fixed set of pictures, recorded and compared.

    python -m tests.frozen_scores --record tests/assets/frozen_scores.json   # write them anew
    python -m tests.frozen_scores tests/assets/frozen_scores.json            # largest difference

The pictures are scenes and digit pages, rendered from fixed seeds, so that the record needs no
files. A change that is meant to move a score records anew and says so in its commit.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import fmlad
from fmlad.datasets import make_digits, make_scenes

PROFILE = "builtin"
SCENES = ("pushpins", "splicing_connectors")
SCENE_COUNTS = {
    "train": 4, "validation": 0, "test_good": 1, "test_logical": 2, "test_structural": 1,
}  # fmt: skip
DIGIT_COUNTS = {"train": 4, "test_good": 1, "test_anomalies": 1}
Case = tuple[str, str, int, dict[str, Any]]
CASES: tuple[Case, ...] = (
    ("pushpins", "banks", 4, {}),
    ("pushpins", "banks", 1, {}),
    ("pushpins", "sam-lad", 4, {}),
    ("pushpins", "clip-lad", 4, {"prompts": "scenes/pushpins"}),
    ("splicing_connectors", "banks", 4, {}),
    ("splicing_connectors", "sam-lad", 4, {}),
    ("splicing_connectors", "sam-lad", 1, {}),
    ("splicing_connectors", "clip-lad", 4, {"prompts": "scenes/splicing_connectors_red"}),
    ("digits", "banks", 4, {}),
    ("digits", "sam-lad", 4, {}),
)


def name_of(case: Case) -> str:
    category, method, shots, _ = case
    return f"{method} on {category}, {shots} shots"


def render(root: Path) -> dict[str, Path]:
    """Folder of the pictures by category."""
    homes = {name: make_scenes(root / name, name, seed=5, counts=SCENE_COUNTS) for name in SCENES}
    return {**homes, "digits": make_digits(root / "digits", seed=5, counts=DIGIT_COUNTS)}


def measure(case: Case, homes: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """Query -> score, threshold, branch scores, mean and maximum of the map."""
    category, method, shots, options = case
    home, found = homes[category], {}
    images = sorted((home / "train" / "good").iterdir())[:shots]
    detector = fmlad.Detector.from_shots(images, method=method, profile=PROFILE, **options)
    for query in sorted((home / "test").glob("*/*.png")):
        verdict = detector.predict(query)
        found[f"{query.parent.name}/{query.name}"] = {
            "score": verdict.score,
            "threshold": verdict.threshold,
            "branches": dict(verdict.branch_scores),
            "map": [float(verdict.anomaly_map.mean()), float(verdict.anomaly_map.max())],
            "findings": len(verdict.findings),
        }
    return found


def differences(first: Any, second: Any) -> float:
    """Largest absolute difference of two records; infinite where their keys differ."""
    if isinstance(first, dict) and isinstance(second, dict):
        if first.keys() != second.keys():
            return float("inf")
        return max((differences(first[key], second[key]) for key in first), default=0.0)
    if isinstance(first, list) and isinstance(second, list):
        return max(differences(a, b) for a, b in zip(first, second, strict=True))
    return abs(float(first) - float(second))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        homes = render(Path(temporary))
        now = {name_of(case): measure(case, homes) for case in CASES}
    if arguments.record:
        arguments.file.write_text(json.dumps(now, indent=1) + "\n")
        return
    recorded = json.loads(arguments.file.read_text())
    for case in recorded:
        print(f"{differences(recorded[case], now.get(case)):.2e}  {case}")


if __name__ == "__main__":
    main()
