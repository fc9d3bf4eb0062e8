"""Breakfast box: fruit on the left, cereals above a mix of almonds and banana chips on the right.

The rule: two tangerines and one nectarine on the left; on the right cereals in the upper part, and
both almonds and banana chips in the lower part, about half and half.
"""

from __future__ import annotations

import math

import numpy as np

from fmlad.datasets.scenes import ground
from fmlad.datasets.scenes.canvas import (
    Bools,
    Colour,
    Floats,
    Frame,
    Stage,
    between,
    box,
    circle,
    ellipse,
    jitter_colour,
    mix,
    pillow,
    value_noise,
)
from fmlad.datasets.scenes.defects import LOOSE, STRUCTURAL
from fmlad.datasets.scenes.model import CategorySpec, DefectKind, Mark

HALF_U, HALF_V, RIM = 226.0, 176.0, 13.0  # half size of the box and its rim, pixels
LEFT, RIGHT = (-112.0, 97.0), (108.0, 101.0)  # centre u, half width of the two compartments
INSIDE_V = HALF_V - RIM
SPLIT = 8.0  # v of the border between cereals and mix
RADIUS = {"tangerine": 47.0, "nectarine": 51.0}
# Typical visible pixels; the mix is almonds and banana chips together.
TANGERINE_AREA, NECTARINE_AREA = 6650.0, 7800.0
ALMOND_AREA, CHIP_AREA, MIX_AREA = 10000.0, 12000.0, 22000.0


def build(stage: Stage, defect: str | None, variant: int | None) -> Mark | None:
    """Paints a box; see `CategorySpec.build`."""
    del variant  # there is one type only
    rng = stage.rng
    if rng.uniform() < 0.5:
        ground.wood(stage)
    else:
        ground.cloth(stage, between(rng, (0.42, 0.44, 0.50), (0.70, 0.64, 0.56)), 6.0, 0.08)
    ground.clutter(stage, 0.98, 1)
    frame = Frame(
        stage.width / 2 + rng.uniform(-9, 9),
        stage.height / 2 + rng.uniform(-8, 8),
        rng.normal(0, 0.016),
        rng.uniform(0.96, 1.03),
    )
    container = stage.add("box")
    _container(stage, frame, container)
    fruit = ["tangerine", "tangerine", "nectarine"]
    split = SPLIT + rng.uniform(-7, 7)
    wanted = {"almonds", "banana chips"}
    if defect == "missing_tangerine":
        fruit.remove("tangerine")
    elif defect == "missing_nectarine":
        fruit.remove("nectarine")
    elif defect == "extra_tangerine":
        fruit.append("tangerine")
    elif defect == "nectarine_for_tangerine":
        fruit = ["tangerine", "nectarine", "nectarine"]
    elif defect == "missing_almonds":
        wanted.remove("almonds")
    elif defect == "missing_banana_chips":
        wanted.remove("banana chips")
    elif defect == "too_many_cereals":
        split += rng.uniform(55, 80)
    swapped = defect == "swapped_sides"
    placed = _fruit(stage, frame, fruit)
    top, bottom = -INSIDE_V, INSIDE_V
    if swapped:
        split = -SPLIT + rng.uniform(-7, 7)
        loose = _loose(stage, frame, (split, bottom), (top, split), wanted, swapped)
    else:
        loose = _loose(stage, frame, (top, split), (split, bottom), wanted, swapped)
    if defect is None:
        return None
    u, v = frame.grid(stage.full)
    left = box(u - LEFT[0], v, LEFT[1] - 2, INSIDE_V - 2, 10) < 0
    lower = (box(u - RIGHT[0], v, RIGHT[1] - 2, INSIDE_V - 2, 10) < 0) & (v > split)
    return _mark(stage, defect, placed, loose, left, lower, split, v)


def _mark(
    stage: Stage,
    defect: str,
    placed: dict[str, list[int]],
    loose: dict[str, int],
    left: Bools,
    lower: Bools,
    split: float,
    v: Floats,
) -> Mark:
    if defect == "missing_tangerine":
        return Mark(left, "tangerine", 2, 1, "left")
    if defect == "missing_nectarine":
        return Mark(left, "nectarine", 1, 0, "left")
    if defect == "extra_tangerine":
        return Mark(stage.mask(*placed["tangerine"]), "tangerine", 2, 3, "left")
    if defect == "nectarine_for_tangerine":
        return Mark(stage.mask(*placed["nectarine"]), "nectarine", 1, 2, "left")
    if defect == "missing_almonds":
        return Mark(lower, "almonds", 1, 0, "lower right")
    if defect == "missing_banana_chips":
        return Mark(lower, "banana chips", 1, 0, "lower right")
    if defect == "too_many_cereals":
        cereals = stage.mask(loose["cereals"])
        return Mark(cereals & (v > SPLIT), "cereals", 1, 1, "upper right")
    return Mark(stage.mask(*loose.values()), "cereals", 1, 0, "upper right")


def _container(stage: Stage, frame: Frame, ident: int) -> None:
    """A shallow box with a rim and one wall between the compartments."""
    rng = stage.rng
    window = stage.full
    u, v = frame.grid(window)
    body = box(u, v, HALF_U, HALF_V, 24) * frame.scale
    left = box(u - LEFT[0], v, LEFT[1], INSIDE_V, 14)
    right = box(u - RIGHT[0], v, RIGHT[1], INSIDE_V, 14)
    well = np.minimum(left, right) * frame.scale
    paints: tuple[tuple[Colour, Colour], ...] = (
        ((0.66, 0.66, 0.64), (0.80, 0.77, 0.70)),
        ((0.20, 0.22, 0.24), (0.34, 0.33, 0.32)),
        ((0.36, 0.46, 0.46), (0.52, 0.58, 0.60)),
    )
    paint = between(rng, *paints[int(rng.integers(3))])
    grain = 1 + 0.02 * value_noise(rng, *window.shape, 3, 1)
    depth = np.clip(-well / 8.0, 0, 1)
    wall = depth * depth * (3 - 2 * depth)
    corner = np.exp(np.minimum(well, 0) / 16.0) * (well < 0)
    albedo = np.asarray(paint) * (grain * (1 - 0.2 * wall - 0.3 * corner * wall))[..., None]
    surface = pillow(body, 6.0) - 9.0 * wall
    stage.put(window, body, albedo, surface, ident=ident, gloss=0.2, shine=18, lift=10)


def _fruit(stage: Stage, frame: Frame, fruit: list[str]) -> dict[str, list[int]]:
    """Places the fruit in the left compartment, as far apart as the dice allow."""
    rng = stage.rng
    order = [fruit[i] for i in rng.permutation(len(fruit))]
    crowded = len(order) > 3
    best: tuple[float, list[tuple[float, float]]] = (-1e9, [])
    for _ in range(40):
        spots: list[tuple[float, float]] = []
        gap = 99.0
        for name in order:
            radius = RADIUS[name]
            u = LEFT[0] + rng.uniform(-1, 1) * (LEFT[1] - radius - 1)
            v = rng.uniform(-1, 1) * (INSIDE_V - radius - 1)
            for (a, b), other in zip(spots, order, strict=False):
                gap = min(gap, math.hypot(u - a, v - b) - radius - RADIUS[other])
            spots.append((u, v))
        if gap > best[0]:
            best = (gap, spots)
        if gap > (-18.0 if crowded else -5.0):
            break
    placed: dict[str, list[int]] = {"tangerine": [], "nectarine": []}
    for name, (u, v) in zip(order, best[1], strict=True):
        ident = stage.add(name, "left")
        placed[name].append(ident)
        x, y = frame.at(u, v)
        size = frame.scale * rng.uniform(0.93, 1.04)
        _one_fruit(stage, name, Frame(x, y, rng.uniform(0, 2 * math.pi), size), ident)
    return placed


def _one_fruit(stage: Stage, name: str, pose: Frame, ident: int) -> None:
    rng = stage.rng
    radius = RADIUS[name]
    window = stage.window(pose.cx, pose.cy, (radius + 6) * pose.scale)
    u, v = pose.grid(window)
    angle = np.arctan2(v, u)
    lumpy = 1 + 0.015 * np.cos(3 * angle + rng.uniform(0, 6)) + 0.012 * np.cos(5 * angle)
    sdf = circle(u, v, radius) - radius * (lumpy - 1)
    ball = np.sqrt(np.maximum((radius * 1.03) ** 2 - u**2 - v**2, 4)) * 0.85
    off_u, off_v = rng.uniform(-0.55, 0.55, 2) * radius
    du, dv = u - off_u, v - off_v
    if name == "tangerine":
        skin = np.asarray(between(rng, (0.86, 0.40, 0.06), (0.88, 0.56, 0.14)))
        patch = value_noise(rng, *window.shape, 40, 2)
        albedo = skin * (1 + 0.05 * patch)[..., None]
        pores = value_noise(rng, *window.shape, 3.2, 1)
        surface = ball + 0.22 * pores - 2.2 * np.exp(-(du**2 + dv**2) / 60)
        star = circle(du, dv, 3.4 + 0.8 * np.cos(5 * np.arctan2(dv, du)))
        albedo[star < 0] = (0.32, 0.38, 0.14)
        gloss, shine = 0.28, 12.0
    else:
        blush = np.clip(
            0.55 + 0.4 * value_noise(rng, *window.shape, 42, 3) + rng.uniform(-0.2, 0.25), 0, 1
        )
        red = between(rng, (0.52, 0.07, 0.08), (0.66, 0.14, 0.09))
        gold = between(rng, (0.84, 0.52, 0.14), (0.88, 0.42, 0.14))
        freckle = (value_noise(rng, *window.shape, 3, 1) > 1.9) * 0.10
        albedo = mix(gold, red, blush) * (1 + freckle)[..., None]
        cleft = np.exp(-((dv + 0.004 * du**2) ** 2) / 14)
        surface = ball - 2.4 * cleft - 3.0 * np.exp(-(du**2 + dv**2) / 45)
        albedo *= (1 - 0.22 * cleft)[..., None]
        albedo[circle(du, dv, 2.8) < 0] = (0.22, 0.14, 0.08)
        gloss, shine = 0.4, 26.0
    rim = np.clip(-sdf / radius, 0, 1)
    albedo = albedo * (0.72 + 0.28 * np.sqrt(rim))[..., None]
    stage.put(
        window,
        sdf * pose.scale,
        albedo,
        surface,
        ident=ident,
        gloss=gloss,
        shine=shine,
        lift=15,
    )


def _loose(
    stage: Stage,
    frame: Frame,
    cereal_span: tuple[float, float],
    mix_span: tuple[float, float],
    wanted: set[str],
    swapped: bool,
) -> dict[str, int]:
    """Fills the right compartment; returns the identifier of each kind of loose food."""
    rng = stage.rng
    upper, lower = ("lower right", "upper right") if swapped else ("upper right", "lower right")
    idents = {"cereals": stage.add("cereals", upper)}
    for name in ("almonds", "banana chips"):
        if name in wanted:
            idents[name] = stage.add(name, lower)
    inner = (RIGHT[0] - RIGHT[1] + 3, RIGHT[0] + RIGHT[1] - 3)
    lean = rng.uniform(-0.06, 0.06)
    _oats(stage, frame, inner, cereal_span, idents["cereals"], lean)
    names = [name for name in ("banana chips", "almonds") if name in wanted]
    # A loosely jittered grid covers the floor; the kinds are dealt out in random order.
    places = [
        (a + rng.uniform(-9, 9), b + rng.uniform(-9, 9))
        for a in np.arange(inner[0] + 14, inner[1] - 8, 23.0)
        for b in np.arange(mix_span[0] + 14, mix_span[1] - 8, 23.0)
    ]
    deal = rng.permutation(len(places))
    spots = [(a, b, names[int(deal[i]) % len(names)]) for i, (a, b) in enumerate(places)]
    for _ in range(12 if len(names) > 1 else 0):
        a = rng.uniform(inner[0] + 14, inner[1] - 14)
        spots.append((a, rng.uniform(mix_span[0] + 14, mix_span[1] - 14), "almonds"))
    chip = between(rng, (0.72, 0.56, 0.30), (0.78, 0.68, 0.44))
    almond = between(rng, (0.46, 0.28, 0.15), (0.58, 0.38, 0.21))
    for i in rng.permutation(len(spots)):
        a, b, name = spots[i]
        a = min(max(a, inner[0] + 13), inner[1] - 13)
        b = min(max(b, mix_span[0] + 11), mix_span[1] - 13)
        x, y = frame.at(a, b)
        pose = Frame(x, y, rng.uniform(0, 2 * math.pi), frame.scale * rng.uniform(0.85, 1.12))
        if name == "almonds":
            _almond(stage, pose, jitter_colour(rng, almond, 0.18), idents[name])
        else:
            _chip(stage, pose, jitter_colour(rng, chip, 0.12), idents[name])
    return idents


def _oats(
    stage: Stage,
    frame: Frame,
    inner: tuple[float, float],
    span: tuple[float, float],
    ident: int,
    lean: float,
) -> None:
    """A heap of flakes: a rough brown ground, then flakes in random order."""
    rng = stage.rng
    half_u, half_v = (inner[1] - inner[0]) / 2, (span[1] - span[0]) / 2
    mid_u, mid_v = (inner[0] + inner[1]) / 2, (span[0] + span[1]) / 2
    x, y = frame.at(mid_u, mid_v)
    window = stage.window(x, y, (max(half_u, half_v) + 14) * frame.scale)
    u, v = frame.grid(window)
    u, v = u - mid_u, v - mid_v + lean * (u - mid_u)
    edge = value_noise(rng, *window.shape, 26, 2)
    sdf = np.maximum(box(u, v, half_u, half_v, 12), box(u, v, half_u - 1, half_v, 12) + 2 * edge)
    tone = between(rng, (0.46, 0.30, 0.16), (0.62, 0.45, 0.26))
    rough = value_noise(rng, *window.shape, 9, 3)
    albedo = np.asarray(tone) * (0.84 + 0.09 * rough)[..., None]
    heap = pillow(sdf, 20, 8) + 1.6 * rough
    stage.put(window, sdf * frame.scale, albedo, heap, ident=ident, gloss=0.05, lift=4)
    count = int(1.0 * 4 * half_u * half_v / 195)
    for _ in range(count):
        a, b = rng.uniform(-1, 1) * (half_u - 8), rng.uniform(-1, 1) * (half_v - 7)
        px, py = frame.at(mid_u + a, mid_v + b - lean * a)
        size = rng.uniform(6.5, 11.0) * frame.scale
        tile = stage.window(px, py, size + 4)
        p, q = tile.local(px, py, rng.uniform(0, math.pi))
        flake = ellipse(p, q, size, size * rng.uniform(0.5, 0.85))
        tilt = rng.uniform(-0.4, 0.4, 2)
        bowl = pillow(flake, 3.0) + tilt[0] * p + tilt[1] * q + 0.03 * p * p
        colour = jitter_colour(rng, tone, 0.22)
        colour = (colour[0] * 1.25, colour[1] * 1.25, colour[2] * 1.2)
        stage.put(tile, flake, colour, bowl, ident=ident, gloss=0.1, lift=2, crumb=True)


def _almond(stage: Stage, pose: Frame, colour: Colour, ident: int) -> None:
    rng = stage.rng
    window = stage.window(pose.cx, pose.cy, 21 * pose.scale)
    u, v = pose.grid(window)
    sdf = ellipse(u, v * (1 + 0.014 * u), 15.0, 8.8)
    ridges = 0.35 * np.sin(v * 2.1 + 0.8 * np.sin(u * 0.3 + rng.uniform(0, 6)))
    surface = pillow(sdf, 8.5, 7) + ridges * (sdf < 0)
    tone = 1 + 0.14 * ridges
    stage.put(
        window,
        sdf * pose.scale,
        np.asarray(colour) * tone[..., None],
        surface,
        ident=ident,
        gloss=0.1,
        lift=4,
        crumb=True,
    )


def _chip(stage: Stage, pose: Frame, colour: Colour, ident: int) -> None:
    rng = stage.rng
    window = stage.window(pose.cx, pose.cy, 22 * pose.scale)
    u, v = pose.grid(window)
    angle = np.arctan2(v, u)
    wavy = 0.7 * np.cos(3 * angle + rng.uniform(0, 6)) + 0.35 * np.cos(5 * angle)
    sdf = ellipse(u, v, 16.5, rng.uniform(12, 15.5)) - wavy
    tilt = rng.uniform(-0.16, 0.16, 2)
    surface = pillow(sdf, 3.5) - 2.0 * pillow(-ellipse(u, v, 9, 8), 4.0, 0.5)
    surface = surface + tilt[0] * u + tilt[1] * v
    core = np.exp(-(u**2 + (v * 1.4) ** 2) / 22)
    rim = np.exp(-((sdf + 1.5) ** 2) / 4)
    tone = 1 - 0.18 * core - 0.16 * rim + 0.05 * np.cos(6 * angle) * np.exp(-np.hypot(u, v) / 9)
    stage.put(
        window,
        sdf * pose.scale,
        np.asarray(colour) * tone[..., None],
        surface,
        ident=ident,
        gloss=0.18,
        shine=14,
        lift=3,
        crumb=True,
    )


SPEC = CategorySpec(
    name="breakfast_box",
    width=512,
    height=410,
    parts=("box", "tangerine", "nectarine", *LOOSE),
    slots=(
        ("box", None),
        ("tangerine", "left"),
        ("nectarine", "left"),
        *((part, slot) for part in LOOSE for slot in ("upper right", "lower right")),
    ),
    logical=(
        DefectKind("missing_tangerine", "missing", TANGERINE_AREA, relative=False),
        DefectKind("nectarine_for_tangerine", "extra", NECTARINE_AREA, relative=False),
        DefectKind("missing_almonds", "missing", ALMOND_AREA, relative=False),
        DefectKind("swapped_sides", "misplaced", MIX_AREA, relative=False),
        DefectKind("too_many_cereals", "resized", 1.0),
        DefectKind("extra_tangerine", "extra", TANGERINE_AREA, relative=False),
        DefectKind("missing_banana_chips", "missing", CHIP_AREA, relative=False),
        DefectKind("missing_nectarine", "missing", NECTARINE_AREA, relative=False),
    ),
    structural=STRUCTURAL,
    targets=("box", "tangerine", "nectarine", *LOOSE),
    build=build,
)
