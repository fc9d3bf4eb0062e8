"""Makes the README's picture: python tools/readme_picture.py"""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import fmlad

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "readme.jpg"
WIDE, GAP, TEXT = 420, 12, (30, 30, 30)


def main() -> None:
    counts = {"train": 4, "validation": 0, "test_good": 0, "test_logical": 0, "test_structural": 3}
    root = fmlad.datasets.make_scenes(Path(tempfile.mkdtemp()) / "s", "pushpins", counts=counts)
    shots = sorted((root / "train" / "good").glob("*.png"))
    detector = fmlad.Detector.from_shots(shots, profile="builtin")
    prediction = detector.predict(root / "test" / "structural_anomalies" / "001.png")

    high = round(WIDE * prediction.pixels.shape[0] / prediction.pixels.shape[1])
    page = Image.new("RGB", (3 * WIDE + 4 * GAP, high + 74), "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=16)
    small = ((WIDE - GAP) // 2, (high - GAP) // 2)
    for index, shot in enumerate(shots):
        x = GAP + (index % 2) * (small[0] + GAP)
        y = GAP + (index // 2) * (small[1] + GAP)
        page.paste(Image.open(shot).resize(small), (x, y))
    panels = (Image.fromarray(prediction.pixels), prediction.overlay())
    for index, picture in enumerate(panels, start=1):
        page.paste(picture.resize((WIDE, high)), (GAP + index * (WIDE + GAP), GAP))
    first = prediction.findings[0].text.split(":")[0]
    captions = (
        "four normal images",
        "a query",
        f"score {prediction.score:.2f}, threshold {prediction.threshold:.2f}\n1. {first}",
    )
    for index, caption in enumerate(captions):
        draw.text((GAP + index * (WIDE + GAP), high + 2 * GAP), caption, fill=TEXT, font=font)
    page.save(TARGET, quality=88)
    print(prediction.explain())


if __name__ == "__main__":
    main()
