"""Makes the pictures of docs/clip-lad.md: python tools/clip_lad_sheet.py

`clip-lad-prompts.jpg`: the same pictures with a first set of words and with a better one.
`clip-lad-scenes.jpg`: parts and findings for two logical anomalies of some sets, four shots.
`clip-lad-clusters.png`: the sweep of the number of clusters, from benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

import fmlad
from fmlad.datasets import Scene, render_scene
from fmlad.draw import part_colour

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "images"
HEIGHT = 230  # px of a row
WORDS = {
    "screw_bag": (
        "washer: [round washer], nut: [silver nut], long screw: [long screw], "
        "short screw: [thin screw]",
        "washer: [large round washer], nut: [small hexagonal nut], "
        "long screw: [long thin screw], short screw: [short thin elongated screw]",
    ),
    "breakfast_box": (
        "tangerine: [orange tangerine], nectarine: [orange nectarine], cereals: [brown cereals]",
        "tangerine: [orange round tangerine], nectarine: [red round nectarine], "
        "cereals: [brown textured rectangular cereals]",
    ),
}
SHOWN = ("pushpins", "screw_bag", "splicing_connectors_red", "juice_bottle_cherry")
FONT = ImageFont.load_default(size=13)


def panel(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB").resize((round(picture.width * HEIGHT / picture.height), HEIGHT))


def sheet(rows: list[tuple[str, list[Image.Image]]], path: Path) -> None:
    """Rows of panels, each under its caption."""
    width = max(sum(p.width for p in panels) for _, panels in rows)
    result = Image.new("RGB", (width, (HEIGHT + 20) * len(rows)), "white")
    draw = ImageDraw.Draw(result)
    for number, (caption, panels) in enumerate(rows):
        top, left = number * (HEIGHT + 20), 0
        draw.text((4, top + 2), caption, fill="black", font=FONT)
        for picture in panels:
            result.paste(picture, (left, top + 20))
            left += picture.width
    result.save(path, quality=85)
    print(path)


def words() -> None:
    """The same three normal pictures in parts, under two sets of words each."""
    rows = []
    for category, versions in WORDS.items():
        pictures = [render_scene(category, 1, "train", "good", i).image for i in range(3)]
        for title, fine in zip(("first try", "better"), versions, strict=True):
            prompts = fmlad.PromptSet.from_text(
                f"coarse: {{background: [background]}}\ndecide: region\nfine: {{{fine}}}\n"
            )
            detector = fmlad.Detector.from_shots(pictures, prompts=prompts, profile="builtin")
            panels = [panel(detector.predict(one).parts_overlay()) for one in pictures]
            rows.append((f"{title}:  {fine}", panels))
    sheet(rows, OUT / "clip-lad-prompts.jpg")


def verdicts() -> None:
    """Parts and findings of logical anomalies."""
    rows = []
    for name in SHOWN:
        category = next(c for c in fmlad.datasets.SCENE_CATEGORIES if name.startswith(c))
        kind = name.removeprefix(category).lstrip("_")
        shots = [one.image for one in _of_kind(category, kind, "train", "good", 4)]
        detector = fmlad.Detector.from_shots(shots, prompts=f"scenes/{name}", profile="builtin")
        panels = []
        for scene in _of_kind(category, kind, "test", "logical_anomalies", 2):
            verdict = detector.predict(scene.image)
            panels += [panel(verdict.parts_overlay()), panel(verdict.overlay())]
            print(name, scene.anomaly, verdict.explain(), sep="\n  ", flush=True)
        rows.append((name, panels))
    sheet(rows, OUT / "clip-lad-scenes.jpg")


def _of_kind(category: str, kind: str, split: str, group: str, count: int) -> list[Scene]:
    from benchmarks.clip_lad_scores import kind_of

    found: list[Scene] = []
    index = 0
    while len(found) < count:
        scene = render_scene(category, 0, split, group, index)
        parts: dict[str, Any] = {"objects": [vars(o) for o in scene.objects], "anomaly": None}
        if scene.anomaly is not None:
            parts["anomaly"] = vars(scene.anomaly)
        if not kind or kind_of(category, parts) == kind:
            found.append(scene)
        index += 1
    return found


def sweep() -> None:
    """AUROC against the number of clusters, a line a set and the mean."""
    figures = json.loads((ROOT / "benchmarks" / "results" / "clip-lad.json").read_text())["figures"]
    counts = sorted(
        int(key.split(": ")[1].split(" ")[0])
        for key in figures
        if key.startswith("mean: ") and key.endswith(" clusters, logical")
    )
    names = [n for n in dict.fromkeys(key.partition(":")[0] for key in figures) if n != "mean"]
    scale, left, top, wide, high = 2, 60, 30, 560, 360
    picture = Image.new("RGB", (scale * (left + wide + 290), scale * (top + high + 50)), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=13 * scale)

    def at(count: float, value: float) -> tuple[float, float]:
        across = (count - counts[0]) / (counts[-1] - counts[0])
        return scale * (left + across * wide), scale * (top + (1 - (value - 0.2) / 0.8) * high)

    for tick in (0.2, 0.4, 0.6, 0.8, 1.0):
        draw.line([at(counts[0], tick), at(counts[-1], tick)], fill="#dddddd", width=scale)
        draw.text((scale * 28, at(0, tick)[1] - 8 * scale), f"{tick:.1f}", fill="black", font=font)
    for count in counts:
        x, y = at(count, 0.2)
        draw.text((x - 6 * scale, y + 6 * scale), str(count), fill="black", font=font)
    x, y = at(counts[-1] + 0.9, 0.2)
    draw.text((x - 16 * scale, y + 6 * scale), "auto", fill="black", font=font)
    for number, name in enumerate([*names, "mean"]):
        colour = "black" if name == "mean" else part_colour(number + 1)
        values = [figures[f"{name}: {count} clusters, logical"] for count in counts]
        line = [at(c, v) for c, v in zip(counts, values, strict=True)]
        draw.line(line, fill=colour, width=scale * (4 if name == "mean" else 2))
        stable = at(counts[-1] + 0.9, figures[f"{name}: clusters by stability, logical"])
        r = 4 * scale
        draw.ellipse((stable[0] - r, stable[1] - r, stable[0] + r, stable[1] + r), fill=colour)
        y = scale * (top + 20 * number)
        draw.text((scale * (left + wide + 90), y), name, fill=colour, font=font)
    title = "logical AUROC by number of clusters; auto: chosen by stability"
    draw.text((scale * left, scale * 6), title, fill="black", font=font)
    picture.resize((picture.width // scale, picture.height // scale)).save(
        OUT / "clip-lad-clusters.png"
    )
    print(OUT / "clip-lad-clusters.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sweep", action="store_true", help="the sweep alone")
    sweep()
    if not parser.parse_args().sweep:
        words()
        verdicts()


if __name__ == "__main__":
    main()
