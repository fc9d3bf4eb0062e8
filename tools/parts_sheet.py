"""Makes docs/images/parts-scenes.jpg: what the banks of parts see and say on the scenes.

    python tools/parts_sheet.py

Two logical anomalies of each category (world 0), four shots (the first training images): the parts
with their counts, and the findings beside it.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

import fmlad
from fmlad.datasets import SCENE_CATEGORIES, render_scene
from fmlad.methods.banks import BANKS

OUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "parts-scenes.jpg"
HEIGHT = 260  # px of a row


def panel(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB").resize((round(picture.width * HEIGHT / picture.height), HEIGHT))


def main() -> None:
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
    width = max(sum(p.width for p in panels) for panels in rows)
    sheet = Image.new("RGB", (width, HEIGHT * len(rows)), "white")
    for number, panels in enumerate(rows):
        left = 0
        for picture in panels:
            sheet.paste(picture, (left, number * HEIGHT))
            left += picture.width
    sheet.save(OUT, quality=85)
    print(OUT)


if __name__ == "__main__":
    main()
