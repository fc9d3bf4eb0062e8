"""From a few normal images to a verdict with a place.

python demos/from_shots.py [FOLDER_OF_NORMAL_IMAGES QUERY]

Without arguments it makes its own sample pictures.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import fmlad


def main() -> None:
    if len(sys.argv) not in (1, 3):
        sys.exit(__doc__)
    if len(sys.argv) == 3:
        shots, query = Path(sys.argv[1]), Path(sys.argv[2])
    else:
        shots, query = sample_pictures()
    detector = fmlad.Detector.from_shots(shots, profile="builtin")
    verdict = detector.predict(query)
    print(verdict.explain())

    picture = Path(tempfile.mkdtemp()) / "verdict.png"
    verdict.overlay().save(picture)
    print(f"heat and boxes: {picture}")


def sample_pictures() -> tuple[Path, Path]:
    """Four normal pictures of a box of pushpins, and one with a stain."""
    counts = {"train": 4, "validation": 0, "test_good": 0, "test_logical": 0, "test_structural": 2}
    root = fmlad.datasets.make_scenes(Path(tempfile.mkdtemp()) / "scene", "pushpins", counts=counts)
    return root / "train" / "good", root / "test" / "structural_anomalies" / "001.png"


if __name__ == "__main__":
    main()
