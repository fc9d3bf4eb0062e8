"""Whether the rule for sub-types is right, on scenes, whose sidecars tell the type.

    python -m benchmarks.product_types

60 training images of known type; 20 validation and 40 good test images take that of the nearest by
shares of hues. How many are right, for worlds 0 to 2. The numbers in the rule were chosen on the
training images of world 0 alone, each against the others.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks.common import keep
from fmlad.datasets import load, make_scenes, subtypes

WORLDS = (0, 1, 2)
CATEGORIES = ("juice_bottle", "splicing_connectors")


def right(home: Path, category: str) -> tuple[int, int]:
    """Number of images whose sub-type is right, and of all."""
    hits = total = 0
    for name in subtypes("scenes", home, category):
        part = load("scenes", home, category, name)
        samples = [("validation", s) for s in part.validation]
        samples += [("test", s) for s in part.test]
        for split, sample in samples:
            facts = json.loads((home / "objects" / split / f"{sample.name}.json").read_text())
            kinds = {item["kind"] for item in facts["objects"]}
            hits += bool(kinds & {f"{name} juice", f"{name} cable"})
            total += 1
    return hits, total


def main() -> None:
    figures = {}
    for category in CATEGORIES:
        for world in WORLDS:
            with tempfile.TemporaryDirectory() as folder:
                home = Path(folder) / "scenes"
                counts = {"test_logical": 0, "test_structural": 0}
                make_scenes(home, category, seed=world, counts=counts)
                hits, total = right(home, category)
            figures[f"{category}, world {world}"] = f"{hits} of {total}"
    keep("product-types", "scenes-v1, nearest of 60 training images by shares of hues", figures)


if __name__ == "__main__":
    main()
