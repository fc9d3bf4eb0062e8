"""Pictures of README and docs, each made anew from its detector."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

import fmlad
from benchmarks.clip_lad_scores import kind_of
from benchmarks.common import builtin_backbones, shared
from benchmarks.dice import NORMAL, ODD, photographs
from fmlad.datasets import SCENE_CATEGORIES, render_digits, render_scene
from fmlad.datasets.scenes import Scene, contact_sheet
from fmlad.draw import boxes, outlines, pairs, part_colour
from fmlad.explain import verdict_word
from fmlad.findings import Finding
from fmlad.power import NAMES, parts_of
from fmlad.prediction import Prediction
from fmlad.synthetic import DAMAGES, REARRANGEMENTS, damaged, rearranged
from tools.docs.markdown import ROOT, figures

IMAGES = ROOT / "docs" / "images"
Picture = Image.Image
Pixels = npt.NDArray[np.uint8]

WORDS = {
    "screw_bag": (
        "washer: [round washer], nut: [silver nut], long screw: [long screw], "
        "short screw: [thin screw]",
        "washer: [large round compact washer], nut: [small compact nut], "
        "long screw: [long thin screw], short screw: [short thin screw]",
    ),
    "breakfast_box": (
        "tangerine: [orange tangerine], nectarine: [orange nectarine], cereals: [brown cereals]",
        "tangerine: [orange round tangerine], nectarine: [red round nectarine], "
        "cereals: [brown textured cereals]",
    ),
}
PROMPTED = ("pushpins", "screw_bag", "splicing_connectors_red", "juice_bottle_cherry")


def save(picture: Picture, name: str, quality: int = 85) -> None:
    """Writes a picture of the documents."""
    picture.save(IMAGES / name, quality=quality)
    print(IMAGES / name, flush=True)


def panel(picture: Picture, height: int) -> Picture:
    """A picture at the height of a row."""
    return picture.convert("RGB").resize((round(picture.width * height / picture.height), height))


def sheet(rows: Sequence[tuple[str, Sequence[Picture]]], *, band: int = 0, gap: int = 0) -> Picture:
    """Rows of panels of one height, each below a band with its caption."""
    width = max(sum(one.width for one in panels) for _, panels in rows)
    height = sum(panels[0].height + band for _, panels in rows) + gap * (len(rows) - 1)
    large = Image.new("RGB", (width, height), "white")
    draw, font, top = ImageDraw.Draw(large), ImageFont.load_default(size=13), 0
    for caption, panels in rows:
        if caption:
            draw.text((4, top + 2), caption, fill="black", font=font)
        left = 0
        for one in panels:
            large.paste(one, (left, top + band))
            left += one.width
        top += panels[0].height + band + gap
    return large


def verdicts(
    title: str, detector: fmlad.Detector, queries: Sequence[Scene], height: int
) -> list[Picture]:
    """Parts and findings of each query, which are printed as well."""
    panels = []
    for scene in queries:
        verdict = detector.predict(scene.image)
        panels += [panel(verdict.parts_overlay(), height), panel(verdict.overlay(), height)]
        print(title, scene.anomaly, verdict.explain(), sep="\n  ", flush=True)
    return panels


def scenes() -> None:
    """Contact sheets of the scenes."""
    save(contact_sheet(seed=0), "scenes-sheet.jpg", 82)
    for category in SCENE_CATEGORIES:
        page = contact_sheet([category], seed=0, width=1500, tile=260)
        save(page, f"scenes-{category}.jpg", 80)


def parts() -> None:
    """Two logical anomalies of each scene category, four shots: parts with counts, and findings."""
    rows = []
    for category in SCENE_CATEGORIES:
        shots = [render_scene(category, 0, "train", "good", i).image for i in range(4)]
        detector = fmlad.Detector.from_shots(shots, profile="builtin")
        queries = [render_scene(category, 0, "test", "logical_anomalies", i) for i in (0, 1)]
        rows.append(("", verdicts(category, detector, queries, 260)))
    save(sheet(rows), "parts-scenes.jpg")


def captioned(picture: Picture, height: int, *lines: str) -> Picture:
    """A picture at a height with lines of text below it."""
    small = panel(picture, height)
    font = ImageFont.load_default(size=14)
    whole = Image.new("RGB", (small.width, small.height + 20 * len(lines) + 6), "white")
    whole.paste(small, (0, 0))
    draw = ImageDraw.Draw(whole)
    for number, line in enumerate(lines):
        draw.text((4, small.height + 3 + 20 * number), line, fill="black", font=font)
    return whole


def power() -> None:
    """What the power check shows a detector: altered copies of a shot, and how many it catches."""
    shots = [render_scene("pushpins", 7, "train", "good", i).image for i in range(4)]
    detector = fmlad.Detector.from_shots(shots, profile="builtin")
    check = detector.power_check()
    print("\n  ".join(["power check", *check.describe()]), flush=True)
    view, rng = builtin_backbones().view(shots[0]), np.random.default_rng(1)
    parts = parts_of(view)
    product = np.logical_or.reduce(parts)
    copies = [damaged(kind, view.pixels, product, rng) for kind in DAMAGES]
    for kind in REARRANGEMENTS:
        tries = (rearranged(kind, view.pixels, parts, i, rng) for i in rng.permutation(len(parts)))
        copies.append(next(copy for copy in tries if copy is not None))
    caught = {row.kind: f"{NAMES[row.kind]}: {row.caught} of {row.of} found" for row in check.rows}
    panels = []
    for copy in copies:
        rows, columns = np.nonzero(copy.changed)
        box = float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max())
        shown = Finding("defect", None, None, None, box, 1.0, "", (box,))
        picture = boxes(Image.fromarray(copy.pixels), [shown])
        panels.append(captioned(picture, 240, caught[copy.kind]))
    save(sheet([("", panels[:3]), ("", panels[3:])]), "power.jpg")


DEMO = (("logical_anomalies", 0), ("structural_anomalies", 0))


def demo_verdicts(number: int = 0) -> list[tuple[Scene, Prediction]]:
    """The first logical anomaly and the first damage of `fmlad demo`, judged as it judges them."""
    shots = [render_scene("pushpins", number, "train", "good", i).image for i in range(4)]
    detector = fmlad.Detector.from_shots(shots, profile="builtin", seed=number)
    scenes = [render_scene("pushpins", number, "test", group, i) for group, i in DEMO]
    return [(scene, detector.predict(scene.image)) for scene in scenes]


def readme() -> None:
    """What the first command of the README shows."""
    panels = []
    for scene, verdict in demo_verdicts():
        print(scene.anomaly, verdict.explain(), sep="\n  ", flush=True)
        text = verdict.findings[0].text if verdict.findings else "nothing found"
        said = textwrap.wrap(f"{verdict_word(verdict.decision)}: 1. {text}", 64)[:2]
        panels.append(captioned(verdict.overlay(), 300, *said, *[""] * (2 - len(said))))
    save(sheet([("", panels)]), "verdict.jpg")


def dice() -> None:
    """Ten photographs of dice, three of six dice, four shots: outlines and findings alone."""
    found, root, height, across = photographs(), shared("data", "dice", "images"), 260, 5
    six = [name for name, count in found.items() if count == NORMAL]
    odd = [next(n for n, count in found.items() if count == number) for number in ODD]
    # Drawn as in benchmarks/dice.py: neighbours in time show the very same six dice.
    drawn = [six[i] for i in np.random.default_rng(0).choice(len(six), 4, replace=False)]
    detector = fmlad.Detector.from_shots([root / n for n in drawn], profile="builtin")
    panels = []
    for name in (*[n for n in six if n not in drawn][:3], *odd):
        verdict = detector.predict(root / name)
        print(name, found[name], verdict.explain(), sep="\n  ", flush=True)
        parts = verdict.segmentation
        if parts is None:
            raise SystemExit("no parts: was a bank of parts left out?")
        grey = Image.new("RGB", verdict.parts_overlay().size, (235, 235, 235))
        plain = outlines(grey, parts.labels, parts.names, parts.objects)
        small = panel(boxes(plain, verdict.findings), height)
        word = "anomalous" if verdict.is_anomalous else "normal"
        text = f"{found[name]} dice: {word}"
        ImageDraw.Draw(small).text((6, height - 18), text, fill="black")
        panels.append(small)
    rows = [("", panels[i : i + across]) for i in range(0, len(panels), across)]
    save(sheet(rows), "parts-dice.jpg")


def clip_lad_prompts() -> None:
    """The same three normal pictures in parts, under two sets of words each."""
    rows = []
    for category, versions in WORDS.items():
        pictures = [render_scene(category, 1, "train", "good", i).image for i in range(3)]
        for title, fine in zip(("first try", "better"), versions, strict=True):
            prompts = fmlad.PromptSet.from_text(
                f"coarse: {{background: [background]}}\ndecide: region\nfine: {{{fine}}}\n"
            )
            detector = fmlad.Detector.from_shots(pictures, prompts=prompts, profile="builtin")
            panels = [panel(detector.predict(one).parts_overlay(), 230) for one in pictures]
            rows.append((f"{title}:  {fine}", panels))
    save(sheet(rows, band=20), "clip-lad-prompts.jpg")


def clip_lad_scenes() -> None:
    """Parts and findings of logical anomalies under some prompt sets, four shots."""
    rows = []
    for name in PROMPTED:
        category = next(c for c in SCENE_CATEGORIES if name.startswith(c))
        kind = name.removeprefix(category).lstrip("_")
        shots = [one.image for one in _of_kind(category, kind, "train", "good", 4)]
        detector = fmlad.Detector.from_shots(shots, prompts=f"scenes/{name}", profile="builtin")
        queries = _of_kind(category, kind, "test", "logical_anomalies", 2)
        rows.append((name, verdicts(name, detector, queries, 230)))
    save(sheet(rows, band=20), "clip-lad-scenes.jpg")


def _of_kind(category: str, kind: str, split: str, group: str, count: int) -> list[Scene]:
    found: list[Scene] = []
    index = 0
    while len(found) < count:
        scene = render_scene(category, 0, split, group, index)
        anomaly = None if scene.anomaly is None else vars(scene.anomaly)
        facts = {"objects": [vars(o) for o in scene.objects], "anomaly": anomaly}
        if not kind or kind_of(category, facts) == kind:
            found.append(scene)
        index += 1
    return found


def clip_lad_clusters() -> None:
    """AUROC against the number of clusters, a line per set and one for the mean."""
    found = figures("clip-lad")
    marker = " clusters, logical"
    counts = sorted(
        int(key.removeprefix("mean: ").removesuffix(marker))
        for key in found
        if key.startswith("mean: ") and key.endswith(marker)
    )
    names = [n for n in dict.fromkeys(key.partition(":")[0] for key in found) if n != "mean"]
    scale, left, top, wide, high = 2, 60, 30, 560, 360
    picture = Image.new("RGB", (scale * (left + wide + 290), scale * (top + high + 50)), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=13 * scale)

    def at(count: float, value: float, x: float = 0, y: float = 0) -> tuple[float, float]:
        across = (count - counts[0]) / (counts[-1] - counts[0])
        down = (1 - (value - 0.2) / 0.8) * high
        return scale * (left + across * wide + x), scale * (top + down + y)

    def text(place: tuple[float, float], words: str, colour: object = "black") -> None:
        draw.text(place, words, fill=colour, font=font)  # type: ignore[arg-type]

    for tick in (0.2, 0.4, 0.6, 0.8, 1.0):
        draw.line([at(counts[0], tick), at(counts[-1], tick)], fill="#dddddd", width=scale)
        text((scale * 28, at(0, tick, y=-8)[1]), f"{tick:.1f}")
    for count in counts:
        text(at(count, 0.2, -6, 6), str(count))
    last = counts[-1] + 0.9
    text(at(last, 0.2, -16, 6), "auto")
    for number, name in enumerate([*names, "mean"]):
        colour = "black" if name == "mean" else part_colour(number + 1)
        line = [at(count, found[f"{name}: {count}{marker}"]) for count in counts]
        draw.line(line, fill=colour, width=scale * (4 if name == "mean" else 2))
        stable = found[f"{name}: clusters by stability, logical"]
        draw.ellipse((*at(last, stable, -4, -4), *at(last, stable, 4, 4)), fill=colour)
        text((scale * (left + wide + 90), scale * (top + 20 * number)), name, colour)
    title = "logical AUROC by number of clusters; auto: chosen by stability"
    text((scale * left, scale * 6), title)
    save(picture.resize((picture.width // scale, picture.height // scale)), "clip-lad-clusters.png")


def sam_lad() -> None:
    """Matched pairs in one colour each, beside the reference of least cost; unmatched are white."""

    def digits(*which: Any) -> Pixels:
        return render_digits(*which).image.repeat(4, axis=0).repeat(4, axis=1)

    # Seed 1, which no benchmark reports.
    cases = [([digits(1, "train", i) for i in range(4)], digits(1, "test", 2, "missing"))]
    for name in ("pushpins", "screw_bag"):
        shots = [render_scene(name, 1, "train", "good", i).image for i in range(4)]
        cases.append((shots, render_scene(name, 1, "test", "logical_anomalies", 0).image))
    rows = [("", [_matched(*case)]) for case in cases]
    save(sheet(rows, gap=8), "sam-lad-pairs.jpg")


def _matched(shots: list[Pixels], query: Pixels) -> Picture:
    from fmlad.methods.sam_lad.method import SamLad
    from fmlad.methods.sam_lad.report import matched_objects, reference_objects
    from fmlad.methods.sam_lad.state import SamLadState

    detector = fmlad.Detector.from_shots(shots, method="sam-lad", profile="builtin")
    method, state = detector._fitted.method, detector._fitted.state
    if not isinstance(method, SamLad) or not isinstance(state, SamLadState):
        raise TypeError(type(method))
    maps = method._object_maps(detector._backbones.view(query), state.selection)
    best = min(method.matched(maps, state), key=lambda match: match.cost)
    shot = shots[state.numbers[best.number]]
    here, there = matched_objects(maps, best), reference_objects(best)
    picture = pairs(
        outlines(Image.fromarray(query), here.labels, here.names),
        outlines(Image.fromarray(shot), there.labels, there.names),
    )
    return picture.resize((720, round(picture.height * 720 / picture.width)))


SHEETS: dict[str, Callable[[], None]] = {
    "scenes": scenes,
    "parts": parts,
    "power": power,
    "readme": readme,
    "dice": dice,
    "clip-lad-prompts": clip_lad_prompts,
    "clip-lad-scenes": clip_lad_scenes,
    "clip-lad-clusters": clip_lad_clusters,
    "sam-lad-pairs": sam_lad,
}
