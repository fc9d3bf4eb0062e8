"""Juice bottle: three types whose juice goes with the fruit on the label.

The rule: the bottle is filled to the neck; a picture label with one fruit sits on the middle of the
body and a text label below it; banana, orange and cherry juice carry their own fruit.
"""

from __future__ import annotations

import math

import numpy as np

from fmlad.datasets.scenes.canvas import (
    Bools,
    Colour,
    Floats,
    Stage,
    Window,
    between,
    box,
    capsule,
    circle,
    ellipse,
    jitter_colour,
    mix,
    value_noise,
)
from fmlad.datasets.scenes.defects import STRUCTURAL
from fmlad.datasets.scenes.model import CategorySpec, DefectKind, Mark

FRUITS = ("banana", "orange", "cherry")
JUICES: dict[str, tuple[Colour, Colour]] = {
    "banana": ((0.80, 0.72, 0.40), (0.84, 0.64, 0.28)),
    "orange": ((0.86, 0.55, 0.12), (0.82, 0.38, 0.08)),
    "cherry": ((0.62, 0.12, 0.10), (0.36, 0.05, 0.10)),
}
BASE, TOP, BODY, NECK = 482.0, 34.0, 76.0, 27.0  # pixels: y, y, half width, half width
LEVEL = 112.0  # y of the surface of the juice
LABEL_V, LABEL_HALF_U, LABEL_HALF_V = 318.0, 58.0, 60.0
TEXT_V, TEXT_HALF_U, TEXT_HALF_V = 421.0, 52.0, 19.0
ICON_AREA, SMALL_ICON_AREA, TEXT_AREA = 1350.0, 860.0, 4100.0  # typical visible pixels

# Letters as strokes on a grid 4 wide and 6 high, so that no font is needed.
STROKES: dict[str, tuple[tuple[int, int, int, int], ...]] = {
    "1": ((1, 1, 2, 0), (2, 0, 2, 6)),
    "0": ((1, 0, 3, 0), (3, 0, 4, 2), (4, 2, 4, 4), (4, 4, 3, 6), (3, 6, 1, 6), (1, 6, 0, 4),
          (0, 4, 0, 2), (0, 2, 1, 0)),
    "%": ((4, 0, 0, 6), (1, 0, 1, 1), (3, 5, 3, 6)),
    " ": (),
    "J": ((3, 0, 3, 5), (3, 5, 2, 6), (2, 6, 1, 6), (1, 6, 0, 5)),
    "U": ((0, 0, 0, 5), (0, 5, 1, 6), (1, 6, 3, 6), (3, 6, 4, 5), (4, 5, 4, 0)),
    "I": ((2, 0, 2, 6),),
    "C": ((4, 1, 3, 0), (3, 0, 1, 0), (1, 0, 0, 2), (0, 2, 0, 4), (0, 4, 1, 6), (1, 6, 3, 6),
          (3, 6, 4, 5)),
    "E": ((4, 0, 0, 0), (0, 0, 0, 6), (0, 6, 4, 6), (0, 3, 3, 3)),
}  # fmt: skip


def build(stage: Stage, defect: str | None, variant: int | None) -> Mark | None:
    """Paints a bottle; see `CategorySpec.build`."""
    rng = stage.rng
    fruit = FRUITS[(int(rng.integers(3)) if variant is None else variant) % 3]
    others = [name for name in FRUITS if name != fruit]
    wrong = others[int(rng.integers(2))]
    _room(stage)
    scale = rng.uniform(0.95, 1.01)
    cx = stage.width / 2 + rng.uniform(-8, 8)
    cy = rng.uniform(-5, 5)
    tilt = rng.normal(0, 0.008)
    u, v = stage.full.local(cx, stage.height / 2 + cy, tilt)
    u, v = u / scale, v / scale + stage.height / 2
    width = _profile(v)
    outline = _outline(u, v, width)
    level = LEVEL + rng.uniform(-7, 7)
    if defect == "underfilled":
        level += rng.uniform(48, 120)
    elif defect == "overfilled":
        level -= rng.uniform(34, 50)
    juice_kind = wrong if defect == "wrong_juice" else fruit
    bottle = stage.add("bottle")
    juice = stage.add(f"{juice_kind} juice")
    _glass(stage, u, v, width, outline, level, JUICES[juice_kind], bottle, juice)
    label_v, text_v = LABEL_V + rng.uniform(-4, 4), TEXT_V + rng.uniform(-3, 3)
    label_slot, text_slot = "middle", "lower"
    if defect == "misplaced_label":
        label_v += rng.choice([-1.0, 1.0]) * rng.uniform(30, 42)
        if label_v > LABEL_V:  # it would hide the text label: move up instead
            label_v = 2 * LABEL_V - label_v
        label_slot = "off"
    elif defect == "swapped_labels":
        label_v, text_v = LABEL_V + 50 + rng.uniform(-4, 4), LABEL_V - 46 + rng.uniform(-4, 4)
        label_slot, text_slot = "off", "off"
    turn = rng.normal(0, 0.006)
    label = stage.add("label", label_slot)
    label_at = (rng.uniform(-3, 3), label_v, turn)
    paper = _paper(stage, u, v, width, label_at, (LABEL_HALF_U, LABEL_HALF_V), label)
    icons: list[int] = []
    offsets = [0.0]
    if defect == "missing_icon":
        offsets = []
    elif defect == "extra_icon":
        offsets = [-25.0, 25.0]
    for offset in offsets:
        ident = stage.add(f"{fruit} icon", "label")
        icons.append(ident)
        _icon(stage, fruit, paper, offset, 0.8 if len(offsets) > 1 else 1.0, ident)
    texts: list[int] = []
    if defect != "missing_text_label":
        texts.append(stage.add("text label", text_slot))
        at = (rng.uniform(-3, 3), text_v, rng.normal(0, 0.008))
        _text(stage, _paper(stage, u, v, width, at, (TEXT_HALF_U, TEXT_HALF_V), texts[0]))
    if defect == "extra_text_label":
        texts.append(stage.add("text label", "upper"))
        at = (rng.uniform(-3, 3), LABEL_V - 88 + rng.uniform(-4, 4), rng.normal(0, 0.008))
        _text(stage, _paper(stage, u, v, width, at, (TEXT_HALF_U, TEXT_HALF_V), texts[1]))
    _reflections(stage, u, v, width, outline)
    if defect is None:
        return None
    inside = outline < -2
    if defect in ("underfilled", "overfilled"):
        low, high = sorted((level, LEVEL))
        # Too little: the empty part that should be full; too much: the part that should be empty.
        region = inside & (v > low) & (v < high)
        return Mark(region, f"{fruit} juice", 1, 1)
    if defect == "wrong_juice":
        return Mark(stage.mask(juice, *icons), f"{fruit} juice", 1, 0)
    if defect == "missing_icon":
        return Mark(stage.mask(label), f"{fruit} icon", 1, 0, "label")
    if defect == "extra_icon":
        return Mark(stage.mask(*icons), f"{fruit} icon", 1, 2, "label")
    if defect == "missing_text_label":
        return Mark(
            _admissible(u, v, TEXT_V, TEXT_HALF_U, TEXT_HALF_V), "text label", 1, 0, "lower"
        )
    if defect == "extra_text_label":
        return Mark(stage.mask(*texts), "text label", 1, 2)
    region = stage.mask(label, *icons)
    if defect == "swapped_labels":
        region |= stage.mask(*texts)
    return Mark(region, "label", 1, 0, "middle")


def _admissible(u: Floats, v: Floats, centre: float, half_u: float, half_v: float) -> Bools:
    """Where a label may sit: its size and the jitter of its place."""
    return np.asarray(box(u, v - centre, half_u + 3, half_v + 3, 2) < 0)


def _room(stage: Stage) -> None:
    """A wall, out of focus, and a table top with the bottle's shadow."""
    rng, height, width = stage.rng, stage.height, stage.width
    wall = between(rng, (0.40, 0.42, 0.45), (0.72, 0.70, 0.66))
    smooth = value_noise(rng, height, width, 110, 3)
    u, v = stage.full.local(width / 2, 0, rng.normal(0, 0.01))
    tone = 1.0 + 0.05 * smooth + rng.uniform(-0.12, 0.12) * u / width
    stage.rgb[:] = np.asarray(jitter_colour(rng, wall, 0.12)) * tone[..., None]
    for _ in range(int(rng.integers(0, 3))):  # things far behind, blurred
        x, y = rng.choice([-1.0, 1.0]) * rng.uniform(95, 135), rng.uniform(40, 400)
        blob = box(u - x, v - y, rng.uniform(8, 26), rng.uniform(20, 70), 6)
        amount = 0.3 / (1 + np.exp(blob / 5))
        dim = np.asarray(between(rng, (0.25, 0.24, 0.26), (0.75, 0.70, 0.58)))
        stage.rgb += (dim - stage.rgb) * amount[..., None]
    edge = rng.uniform(440, 462)
    grain = value_noise(rng, height, width, (50.0, 2.0), 3)
    table = mix(
        between(rng, (0.28, 0.22, 0.18), (0.42, 0.40, 0.38)),
        between(rng, (0.46, 0.38, 0.30), (0.60, 0.58, 0.55)),
        np.clip(0.5 + 0.22 * grain, 0, 1),
    )
    amount = 1 / (1 + np.exp(-(v - edge) / 1.6))
    stage.rgb += (table - stage.rgb) * amount[..., None]
    shadow = ellipse(u + 30 * stage.light.x, v - BASE + 4, 96, 17)
    stage.rgb *= (1 - 0.5 / (1 + np.exp(shadow / 5)))[..., None]


def _profile(v: Floats) -> Floats:
    """(h, w) half width of the bottle at each height."""
    t = np.clip((v - 118.0) / 92.0, 0, 1)
    shoulder = NECK + (BODY - NECK) * (t * t * (3 - 2 * t))
    lip = 4.0 * np.exp(-(((v - TOP - 6) / 6.0) ** 2))
    foot = np.clip((v - BASE + 14) / 14, 0, 1)
    return np.asarray(shoulder + lip - 9.0 * foot * foot)


def _outline(u: Floats, v: Floats, width: Floats) -> Floats:
    """Signed distance (first order) to the silhouette; the foot is slightly round."""
    slope = np.abs(np.gradient(width, axis=0))
    side = (np.abs(u) - width) / np.sqrt(1 + slope**2)
    foot = v - BASE - 4.0 * np.sqrt(np.maximum(1 - (u / BODY) ** 2, 0))
    return np.asarray(np.maximum(np.maximum(side, foot), TOP - v))


def _glass(
    stage: Stage,
    u: Floats,
    v: Floats,
    width: Floats,
    outline: Floats,
    level: float,
    shades: tuple[Colour, Colour],
    bottle: int,
    juice: int,
) -> None:
    """Empty glass, then the juice in it with its meniscus, darker where the glass is thick."""
    rng = stage.rng
    alpha = np.clip(0.5 - outline, 0, 1)
    across = np.clip(np.abs(u) / width, 0, 1)
    rim = across**6
    clear = np.clip(0.12 + 0.75 * rim, 0, 0.85) * alpha
    tint = np.asarray(jitter_colour(rng, (0.36, 0.40, 0.40), 0.2))
    stage.rgb += (tint - stage.rgb) * clear[..., None]
    inner = outline + 3.2
    curve = 3.5 * np.sqrt(np.maximum(1 - (u / np.maximum(width, 1)) ** 2, 0))
    wet = np.maximum(inner, level - curve - v)
    amount = np.clip(0.5 - wet, 0, 1)
    cloud = value_noise(rng, stage.height, stage.width, 60, 3)
    colour = np.asarray(between(rng, *shades))
    depth = 1.06 - 0.42 * across**3 + 0.05 * cloud - 0.1 * np.clip((v - 300) / 200, -1, 1)
    side = 1 + 0.22 * stage.light.x * u / BODY
    liquid = np.asarray(colour * (depth * side)[..., None])
    pulp = rng.uniform(0.0, 0.03)
    liquid = liquid * (1 + pulp * value_noise(rng, stage.height, stage.width, 3, 2))[..., None]
    top = np.exp(-(((v - level + curve) / 2.2) ** 2)) * (inner < 0)
    stage.rgb += (liquid - stage.rgb) * (0.95 * amount)[..., None]
    stage.rgb += (np.clip(colour * 1.25 + 0.12, 0, 1) - stage.rgb) * (0.5 * top * alpha)[..., None]
    stage.ids[outline < 0] = bottle
    stage.ids[wet < 0] = juice
    for y, sharp in ((TOP + 15, 2.0), (TOP + 3, 2.0)):  # rings of the mouth
        ring = np.exp(-(((v - y) / sharp) ** 2)) * alpha
        stage.rgb *= (1 - 0.3 * ring)[..., None]


Paper = tuple[Window, Floats, Floats, Floats]


def _paper(
    stage: Stage,
    u: Floats,
    v: Floats,
    width: Floats,
    at: tuple[float, float, float],
    half: tuple[float, float],
    ident: int,
) -> Paper:
    """A paper label bent round the glass.

    Returns:
        The window, the label's own coordinates (h, w) each, unrolled, and the signed distance.
    """
    rng = stage.rng
    # Unrolled: the same paper looks narrower towards the side of the bottle.
    bent = np.arcsin(np.clip(u / np.maximum(width, 1), -0.999, 0.999)) * BODY * 0.82
    rows = np.flatnonzero((np.abs(v - at[1]) < half[1] + 8).any(axis=1))
    window = Window(0, int(rows[0]), stage.width, int(rows[-1]) + 1)
    bent, along = bent[window.slices] - at[0], v[window.slices] - at[1]
    along = along + at[2] * bent
    sdf = box(bent, along, half[0], half[1], 3)
    tone = np.asarray(between(rng, (0.80, 0.79, 0.75), (0.90, 0.87, 0.78)))
    fibre = 1 + 0.015 * value_noise(rng, *window.shape, 3, 2)
    across = u[window.slices] / BODY
    light = 1 - 0.28 * across**2 + 0.25 * stage.light.x * across
    trim = np.exp(-(((sdf + 6) / 0.9) ** 2)) * 0.3
    albedo = tone * (fibre * light * (1 - trim))[..., None]
    stage.put(window, sdf, albedo, None, ident=ident, lift=1.2)
    return window, bent, along, sdf


def _icon(stage: Stage, fruit: str, paper: Paper, offset: float, size: float, ident: int) -> None:
    """A printed fruit: banana, orange or a pair of cherries."""
    rng = stage.rng
    window, bent, along, _ = paper
    p, q = (bent - offset) / size, (along + rng.uniform(-3, 3)) / size
    shade = 1 + 0.18 * np.clip((-p - q) / 28, -1, 1)
    light = 1 - 0.28 * (bent / BODY) ** 2
    if fruit == "banana":
        arc = np.hypot(p, q + 26) - 33
        bend = np.arctan2(p, q + 26)
        taper = np.sqrt(np.maximum(1 - (bend / 1.12) ** 2, 0.0))
        sdf = np.abs(arc + 3 * (1 - taper)) - 11.5 * taper + 0.4
        sdf = np.where(np.abs(bend) < 1.12, sdf, 6.0)
        ink = mix((0.90, 0.74, 0.16), (0.62, 0.46, 0.10), np.clip((arc + 2) / 12, 0, 1))
        ink[np.abs(bend) > 0.98] = (0.30, 0.22, 0.10)
    elif fruit == "orange":
        sdf = circle(p, q, 21)
        ink = np.broadcast_to(np.array([0.92, 0.52, 0.10]), (*window.shape, 3)).copy()
        angle = np.arctan2(q, p)
        spokes = (np.abs(np.sin(angle * 4)) < 0.11) & (np.hypot(p, q) < 17)
        ink[spokes | (np.abs(np.hypot(p, q) - 17.6) < 0.9)] = (0.96, 0.82, 0.55)
    else:
        first, second = circle(p + 11, q - 9, 10.5), circle(p - 11, q - 12, 10.5)
        stems = np.minimum(
            capsule(p, q, (-10, 0), (4, -21), 1.3), capsule(p, q, (11, 2), (4, -21), 1.3)
        )
        leaf = ellipse(p - 11, q + 19, 9, 4)
        sdf = np.minimum(np.minimum(first, second), np.minimum(stems, leaf))
        ink = np.broadcast_to(np.array([0.70, 0.07, 0.12]), (*window.shape, 3)).copy()
        ink[np.minimum(first, second) > np.minimum(stems, leaf)] = (0.22, 0.42, 0.14)
        for x, y in ((-14, 5), (8, 8)):
            ink[circle(p - x, q - y, 2.6) < 0] = (0.86, 0.42, 0.44)
    tint = np.asarray(jitter_colour(rng, (0.9, 0.9, 0.9), 0.08))
    stage.put(
        window, sdf * size, ink * tint * (shade * light)[..., None], None, ident=ident, lift=0
    )


def _text(stage: Stage, paper: Paper) -> None:
    """Writes on the text label; ink belongs to the label."""
    window, bent, along, _ = paper
    sdf = np.full(window.shape, 50.0)
    pitch, unit = 8.4, 1.4
    text = "100% JUICE"
    for number, letter in enumerate(text):
        left = (number - len(text) / 2) * pitch + 1.5
        for x0, y0, x1, y1 in STROKES[letter]:
            start = (left + x0 * unit, (y0 - 3) * unit * 1.2)
            end = (left + x1 * unit, (y1 - 3) * unit * 1.2)
            sdf = np.minimum(sdf, capsule(bent, along, start, end, 1.0))
    rule = np.minimum(box(bent, along - 12, 42, 0.7), box(bent, along + 12, 42, 0.7))
    stage.put(window, np.minimum(sdf, rule), (0.30, 0.29, 0.31), None, lift=0, opacity=0.8)


def _reflections(stage: Stage, u: Floats, v: Floats, width: Floats, outline: Floats) -> None:
    """Windows and lamps mirrored in the glass: upright streaks, stronger on one side."""
    rng = stage.rng
    across = u / np.maximum(width, 1)
    alpha = np.clip(0.5 - outline, 0, 1)
    side = 1.0 if stage.light.x > 0 else -1.0
    wobble = 0.03 * value_noise(rng, stage.height, stage.width, 120, 2)
    strong, weak = rng.uniform(0.25, 0.5), rng.uniform(0.08, 0.22)
    place = rng.uniform(0.60, 0.76)
    streak = strong * np.exp(-(((across - side * place + wobble) / 0.05) ** 2))
    streak += weak * np.exp(-(((across + side * rng.uniform(0.72, 0.85) + wobble) / 0.035) ** 2))
    reach = np.clip((v - TOP - 12) / 20, 0, 1) * np.clip((BASE - 16 - v) / 24, 0, 1)
    fade = 0.75 + 0.25 * np.sin(v / rng.uniform(40, 90) + rng.uniform(0, math.pi))
    stage.rgb += (0.97 - stage.rgb) * (streak * reach * fade * alpha)[..., None]
    base = np.exp(-(((v - BASE + 4) / 3.0) ** 2)) * alpha
    stage.rgb *= (1 - 0.25 * base)[..., None]


SPEC = CategorySpec(
    name="juice_bottle",
    width=256,
    height=512,
    parts=(
        "bottle",
        *(f"{fruit} juice" for fruit in FRUITS),
        "label",
        *(f"{fruit} icon" for fruit in FRUITS),
        "text label",
    ),
    slots=(
        ("bottle", None),
        *((f"{fruit} juice", None) for fruit in FRUITS),
        ("label", "middle"),
        ("label", "off"),
        *((f"{fruit} icon", "label") for fruit in FRUITS),
        ("text label", "lower"),
        ("text label", "upper"),
        ("text label", "off"),
    ),
    logical=(
        DefectKind("wrong_juice", "recoloured", ICON_AREA, relative=False),
        DefectKind("underfilled", "resized", 1.0),
        DefectKind("missing_text_label", "missing", TEXT_AREA, relative=False),
        DefectKind("swapped_labels", "misplaced", TEXT_AREA, relative=False),
        DefectKind("missing_icon", "missing", ICON_AREA, relative=False),
        DefectKind("overfilled", "resized", 1.0),
        DefectKind("misplaced_label", "misplaced", 1.0),
        DefectKind("extra_text_label", "extra", TEXT_AREA, relative=False),
        DefectKind("extra_icon", "extra", SMALL_ICON_AREA, relative=False),
    ),
    structural=STRUCTURAL,
    targets=("bottle", "label", "text label", *(f"{fruit} juice" for fruit in FRUITS)),
    build=build,
)
