"""Screw bag: two washers, two nuts, one long and one short screw, loose in a clear bag.

The rule is the counts alone; pose is free, parts may touch and overlap a little, and the finish
(zinc, brass, black) differs more between bags than between parts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    hexagon,
    jitter_colour,
    pillow,
    value_noise,
)
from fmlad.datasets.scenes.defects import STRUCTURAL
from fmlad.datasets.scenes.model import CategorySpec, DefectKind, Mark

NORMAL = {"washer": 2, "nut": 2, "long screw": 1, "short screw": 1}
AREAS = {"washer": 1660.0, "nut": 980.0, "long screw": 2040.0, "short screw": 1320.0}
HALF_U, HALF_V = 206.0, 146.0  # half size of the bag, pixels
INSIDE_U, INSIDE_V, INSIDE_Y = 190.0, 112.0, 20.0  # of where parts may lie, and its shift down
WASHER, NUT = 27.0, 20.0  # outer radius; inner radius of the hexagon
HALF_LENGTH = {"long screw": 80.0, "short screw": 50.0}
FINISHES: tuple[tuple[Colour, Colour], ...] = (
    ((0.52, 0.53, 0.56), (0.72, 0.72, 0.72)),
    ((0.60, 0.47, 0.24), (0.74, 0.62, 0.36)),
    ((0.30, 0.29, 0.30), (0.42, 0.41, 0.42)),
)


@dataclass(frozen=True)
class Item:
    """A part in the bag's own coordinates, with the segment that stands for its body."""

    part: str
    u: float
    v: float
    angle: float
    half: float
    radius: float
    slot: str = "bag"

    def spine(self) -> Floats:
        """(7, 2) points along the body."""
        t = np.linspace(-self.half, self.half, 7)
        return np.stack([self.u + t * math.cos(self.angle), self.v + t * math.sin(self.angle)], 1)


def build(stage: Stage, defect: str | None, variant: int | None) -> Mark | None:
    """Paints a bag; see `CategorySpec.build`."""
    del variant  # there is one type only
    rng = stage.rng
    kind = int(rng.integers(3))
    if kind == 0:
        ground.cloth(stage, between(rng, (0.46, 0.47, 0.48), (0.66, 0.62, 0.55)), 4.6, 0.06)
    elif kind == 1:
        ground.slab(stage, between(rng, (0.45, 0.52, 0.55), (0.72, 0.70, 0.66)), 0.03)
    else:
        ground.wood(stage)
    ground.clutter(stage, 1.0, 1)
    frame = Frame(
        stage.width / 2 + rng.uniform(-12, 12),
        stage.height / 2 + rng.uniform(-9, 9),
        rng.normal(0, 0.035),
        rng.uniform(0.94, 1.0),
    )
    bag = stage.add("bag")
    window = stage.full
    u, v = frame.grid(window)
    outline = box(u, v, HALF_U, HALF_V, 10) + 1.6 * value_noise(rng, *window.shape, 70, 2)
    outline = outline * frame.scale
    alpha = np.clip(0.5 - outline, 0, 1)
    stage.cast(window, alpha * 0.55, 5.0)
    film = rng.uniform(0.04, 0.16)
    stage.rgb += (np.array([0.9, 0.92, 0.93]) - stage.rgb) * (alpha * film)[..., None]
    stage.ids[outline < 0] = bag
    counts, outside, part, note = _plan(rng, defect)
    items = _scatter(rng, counts, outside)
    placed: dict[str, list[int]] = {name: [] for name in NORMAL}
    finish = FINISHES[int(rng.choice(3, p=[0.5, 0.3, 0.2]))]
    for item in items:
        coat = finish if rng.uniform() < 0.75 else FINISHES[int(rng.integers(2))]
        ident = stage.add(item.part, item.slot)
        placed[item.part].append(ident)
        x, y = frame.at(item.u, item.v)
        pose = Frame(x, y, item.angle + frame.angle, frame.scale * rng.uniform(0.96, 1.04))
        _paint(stage, item.part, pose, jitter_colour(rng, between(rng, *coat), 0.12), ident)
    _wrap(stage, u, v, alpha, frame.scale)
    if defect is None:
        return None
    inside = box(u, v - INSIDE_Y, INSIDE_U, INSIDE_V, 8) < 0
    region: Bools = inside if note == "missing" else stage.mask(*placed[part])
    if defect == "nut_outside":
        region = stage.mask(placed["nut"][-1])
    observed = sum(item.part == part and item.slot == "bag" for item in items)
    return Mark(region, part, NORMAL[part], observed, "bag")


def _plan(rng: np.random.Generator, defect: str | None) -> tuple[dict[str, int], bool, str, str]:
    """Counts in the bag, whether a nut lies beside it, the part concerned, and missing or not."""
    counts = dict(NORMAL)
    if defect is None:
        return counts, False, "washer", ""
    if defect.startswith("missing_"):
        part = defect.removeprefix("missing_").replace("_", " ")
        counts[part] -= 1
        return counts, False, part, "missing"
    if defect.startswith("extra_"):
        part = defect.removeprefix("extra_").replace("_", " ")
        counts[part] += 1
        return counts, False, part, ""
    if defect == "two_long_screws":
        counts.update({"long screw": 2, "short screw": 0})
        return counts, False, "long screw", ""
    if defect == "two_short_screws":
        counts.update({"long screw": 0, "short screw": 2})
        return counts, False, "short screw", ""
    if defect == "washer_for_nut":
        counts.update({"washer": 3, "nut": 1})
        return counts, False, "washer", ""
    return counts, True, "nut", ""  # nut_outside


def _scatter(rng: np.random.Generator, counts: dict[str, int], outside: bool) -> list[Item]:
    """Free poses, longest first; neighbours may overlap by up to three pixels."""
    items: list[Item] = []
    order = [
        part for part in ("long screw", "short screw", "washer", "nut") for _ in range(counts[part])
    ]
    nuts = counts["nut"]
    for part in order:
        half = HALF_LENGTH.get(part, 0.0)
        radius = {"washer": WASHER, "nut": NUT * 1.1}.get(part, 10.0)
        if part == "nut" and outside:
            nuts -= 1
            if nuts == 0:  # the last nut lies beside the bag
                side = rng.choice([-1.0, 1.0])
                u, v = side * (HALF_U + NUT + 5), rng.uniform(-0.7, 0.7) * HALF_V
                items.append(Item(part, u, v, rng.uniform(0, 6.3), 0.0, radius, "outside"))
                continue
        best: tuple[float, Item] | None = None
        for _ in range(60):
            angle = rng.uniform(0, 2 * math.pi)
            span_u = INSIDE_U - radius - abs(half * math.cos(angle)) - 2
            span_v = INSIDE_V - radius - abs(half * math.sin(angle)) - 2
            if span_v < 0:
                continue
            item = Item(
                part,
                rng.uniform(-span_u, span_u),
                INSIDE_Y + rng.uniform(-span_v, span_v),
                angle,
                half,
                radius,
            )
            room = min((_gap(item, other) for other in items), default=99.0)
            if best is None or room > best[0]:
                best = (room, item)
            if room > rng.uniform(-3.0, 6.0):
                break
        if best is not None:
            items.append(best[1])
    return items


def _gap(first: Item, second: Item) -> float:
    """Pixels between two bodies, negative where they overlap."""
    a, b = first.spine(), second.spine()
    distance = np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2)).min()
    return float(distance) - first.radius - second.radius


def _paint(stage: Stage, part: str, pose: Frame, colour: Colour, ident: int) -> None:
    rng = stage.rng
    reach = (HALF_LENGTH.get(part, 28.0) + 16) * pose.scale
    window = stage.window(pose.cx, pose.cy, reach)
    u, v = pose.grid(window)
    wear = 1 + 0.05 * value_noise(rng, *window.shape, (9.0, 2.0), 2)
    albedo = np.asarray(colour) * wear[..., None]
    gloss, metal = rng.uniform(0.3, 0.55), rng.uniform(0.5, 0.7)
    if part == "washer":
        sdf = np.maximum(circle(u, v, WASHER), 13.0 - np.hypot(u, v))
        surface = pillow(sdf, 2.2) + rng.normal(0, 0.03) * u + rng.normal(0, 0.03) * v
        lift = 3.0
    elif part == "nut":
        hexa = hexagon(u, v, NUT)
        hole = 10.5 - np.hypot(u, v)
        sdf = np.maximum(hexa, hole)
        chamfer = np.clip((np.hypot(u, v) - NUT) / 4.0, 0, 1)
        surface = pillow(hexa, 3.0) + pillow(hole, 2.0) - 3.0 * chamfer
        surface = surface + 0.6 * np.sin((np.hypot(u, v) - 10) * 2.2) * (hole > -3)
        lift = 7.0
    else:
        half = HALF_LENGTH[part]
        _screw(stage, pose, half, albedo, ident, gloss, metal)
        return
    stage.put(
        window,
        sdf * pose.scale,
        albedo,
        surface,
        ident=ident,
        gloss=gloss,
        metal=metal,
        shine=24,
        lift=lift,
    )


def _screw(
    stage: Stage, pose: Frame, half: float, albedo: Floats, ident: int, gloss: float, metal: float
) -> None:
    """A thread, a plain shank and a cylindrical head with a recess, lying on its side."""
    window = stage.window(pose.cx, pose.cy, (half + 16) * pose.scale)
    u, v = pose.grid(window)
    head_end, thread_start = -half + 13, -half + 13 + half * 0.5
    thread = (u > thread_start).astype(np.float64)
    ridge = np.sin(2 * math.pi * (u + 0.16 * v) / 4.4)
    radius = 6.2 + thread * (0.3 + 0.45 * ridge)
    radius = radius - 2.2 * np.clip((u - half + 6) / 6, 0, 1)
    shank = np.maximum(np.abs(v) - radius, np.maximum(head_end - u - 2, u - half))
    head = box(u + half - 6.5, v, 6.5, 12.0, 3.0)
    tube = np.sqrt(np.maximum(6.6**2 - v**2, 0)) + 0.45 * thread * ridge
    knob = np.sqrt(np.maximum(12.4**2 - v**2, 0)) * (1 - 0.05 * np.abs(u + half - 6.5))
    sdf = np.minimum(shank, head)
    surface = np.where(head < 0.6, knob, tube)
    groove = 1 - 0.25 * thread * np.clip(-ridge, 0, 1)
    stage.put(
        window,
        sdf * pose.scale,
        albedo * groove[..., None],
        surface,
        ident=ident,
        gloss=gloss,
        metal=metal,
        shine=26,
        lift=7,
    )


def _wrap(stage: Stage, u: Floats, v: Floats, alpha: Floats, scale: float) -> None:
    """The film on top: creases that glint, welded seams, and the zip."""
    rng = stage.rng
    shape = (stage.height, stage.width)
    bend = value_noise(rng, *shape, (130.0, 70.0), 3)
    crease = np.exp(-((bend / 0.07) ** 2)) * np.clip(value_noise(rng, *shape, 90, 2), 0, 1)
    swell = 10 * value_noise(rng, *shape, 60, 2)
    slope_y, slope_x = np.gradient(swell)
    glint = np.clip(slope_x * stage.light.x + slope_y * stage.light.y - 0.35, 0, 0.6)
    shine = alpha * np.clip(0.32 * crease + 0.45 * glint, 0, 0.5) * rng.uniform(0.5, 1.0)
    stage.rgb += (0.97 - stage.rgb) * shine[..., None]
    inset = box(u, v, HALF_U - 7, HALF_V - 7, 8) * scale
    seam = np.exp(-((inset / 1.3) ** 2)) * 0.30 + np.clip(inset, 0, 1) * 0.12
    zip_lines = np.zeros(shape)
    for offset in (-HALF_V + 26, -HALF_V + 32):
        zip_lines += np.exp(-(((v - offset) / 1.3) ** 2)) * (np.abs(u) < HALF_U - 6)
    stage.rgb += (0.95 - stage.rgb) * (alpha * np.clip(seam + 0.34 * zip_lines, 0, 0.6))[..., None]
    dark = np.exp(-(((v + HALF_V - 29) / 1.4) ** 2)) * (np.abs(u) < HALF_U - 6)
    dark += np.exp(-(((inset + 2.5) / 1.2) ** 2)) * 0.5
    stage.rgb *= (1 - 0.22 * alpha * np.clip(dark, 0, 1))[..., None]


SPEC = CategorySpec(
    name="screw_bag",
    width=512,
    height=352,
    parts=("bag", *NORMAL),
    slots=(("bag", None), *((part, "bag") for part in NORMAL), ("nut", "outside")),
    logical=(
        DefectKind("missing_washer", "missing", AREAS["washer"], relative=False),
        DefectKind("extra_nut", "extra", AREAS["nut"], relative=False),
        DefectKind("two_long_screws", "resized", AREAS["long screw"], relative=False),
        DefectKind("missing_short_screw", "missing", AREAS["short screw"], relative=False),
        DefectKind("washer_for_nut", "extra", AREAS["washer"], relative=False),
        DefectKind("two_short_screws", "resized", AREAS["short screw"], relative=False),
        DefectKind("nut_outside", "misplaced", 1.0),
        DefectKind("extra_washer", "extra", AREAS["washer"], relative=False),
    ),
    structural=STRUCTURAL,
    targets=("bag", *NORMAL),
    build=build,
)
