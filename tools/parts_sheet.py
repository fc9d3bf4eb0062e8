"""Makes the pictures of docs/parts.md: what the banks of parts see and say.

    python tools/parts_sheet.py [--dice] [--look FOLDER]

Scenes: two logical anomalies of each category (world 0), four shots (the first training images);
the parts with their counts, and the findings beside it.

Dice: the first ten photographs that are no shots, three of six dice and seven of another number;
four shots, drawn at random from those of six dice. The photographs stay where they are: outlines
and findings alone are drawn. `--look` keeps the overlays on the photographs in a folder of yours.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import fmlad
from benchmarks.common import shared
from benchmarks.dice import NORMAL, ODD, photographs
from fmlad.datasets import SCENE_CATEGORIES, render_scene
from fmlad.draw import boxes, outlines
from fmlad.methods.banks.config import BANKS

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
ACROSS = 5  # dice in a row
HEIGHT = 260  # px of a row


def panel(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB").resize((round(picture.width * HEIGHT / picture.height), HEIGHT))


def sheet(rows: list[list[Image.Image]], out: Path) -> None:
    """Pastes panels row by row."""
    width = max(sum(p.width for p in panels) for panels in rows)
    large = Image.new("RGB", (width, HEIGHT * len(rows)), "white")
    for number, panels in enumerate(rows):
        left = 0
        for picture in panels:
            large.paste(picture, (left, number * HEIGHT))
            left += picture.width
    large.save(out, quality=85)
    print(out)


def scenes() -> None:
    rows = []
    for category in SCENE_CATEGORIES:
        shots = [render_scene(category, 0, "train", "good", i).image for i in range(4)]
        detector = fmlad.Detector.from_shots(shots, profile="builtin", banks=BANKS)
        panels = []
        for index in (0, 1):
            scene = render_scene(category, 0, "test", "logical_anomalies", index)
            verdict = detector.predict(scene.image)
            panels += [panel(verdict.parts_overlay()), panel(verdict.overlay())]
            print(category, scene.anomaly, verdict.explain(), sep="\n  ", flush=True)
        rows.append(panels)
    sheet(rows, IMAGES / "parts-scenes.jpg")


def dice(look: Path | None) -> None:
    found, root = photographs(), shared("data", "dice", "images")
    six = [name for name, count in found.items() if count == NORMAL]
    odd = [next(n for n, count in found.items() if count == number) for number in ODD]
    # Drawn as in benchmarks/dice.py: neighbours in time show the very same six dice.
    drawn = [six[i] for i in np.random.default_rng(0).choice(len(six), 4, replace=False)]
    detector = fmlad.Detector.from_shots([root / n for n in drawn], profile="builtin")
    panels = []
    for name in (*[n for n in six if n not in drawn][:3], *odd):
        verdict = detector.predict(root / name)
        print(name, found[name], verdict.explain(), sep="\n  ", flush=True)
        if look:
            look.mkdir(parents=True, exist_ok=True)
            verdict.parts_overlay().save(look / name)
        if verdict.segmentation is None:
            raise SystemExit("no parts: was a bank of parts left out?")
        size = verdict.parts_overlay().size
        plain = outlines(Image.new("RGB", size, (235, 235, 235)), verdict.segmentation)
        word = "anomalous" if verdict.is_anomalous else "normal"
        small = panel(boxes(plain, verdict.findings))
        ImageDraw.Draw(small).text((6, HEIGHT - 18), f"{found[name]} dice: {word}", fill="black")
        panels.append(small)
    sheet(
        [panels[i : i + ACROSS] for i in range(0, len(panels), ACROSS)], IMAGES / "parts-dice.jpg"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dice", action="store_true", help="the dice instead of the scenes")
    parser.add_argument("--look", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    if arguments.dice:
        dice(arguments.look)
    else:
        scenes()


if __name__ == "__main__":
    main()
