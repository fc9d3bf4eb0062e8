"""Renders the contact sheets of the sample world into a folder (default: docs/images)."""

from __future__ import annotations

import argparse
from pathlib import Path

from fmlad.datasets.scenes import SCENE_CATEGORIES, contact_sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs/images"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    contact_sheet(seed=arguments.seed).save(arguments.folder / "scenes-sheet.jpg", quality=82)
    for category in SCENE_CATEGORIES:
        page = contact_sheet([category], seed=arguments.seed, width=1500, tile=260)
        page.save(arguments.folder / f"scenes-{category}.jpg", quality=80)


if __name__ == "__main__":
    main()
