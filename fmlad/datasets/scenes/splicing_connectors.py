"""Splicing connectors: two lever connectors joined by one cable.

The rule: both connectors have the same number of clamps (2, 3 or 5), the colour of the cable goes
with it (yellow, blue, red), and the cable ends at the same clamp, from the top, on both sides.
"""

from __future__ import annotations

import numpy as np

from fmlad.datasets.scenes import ground
from fmlad.datasets.scenes.canvas import (
    Colour,
    Frame,
    Point,
    Stage,
    Window,
    between,
    bezier,
    box,
    circle,
    jitter_colour,
    pillow,
    stroke_distance,
    value_noise,
)
from fmlad.datasets.scenes.defects import STRUCTURAL
from fmlad.datasets.scenes.model import CategorySpec, DefectKind, Mark

CLAMPS = (2, 3, 5)
CABLES = {2: "yellow cable", 3: "blue cable", 5: "red cable"}
SHADES: dict[int, tuple[Colour, Colour]] = {
    2: ((0.86, 0.66, 0.10), (0.78, 0.74, 0.20)),
    3: ((0.10, 0.22, 0.52), (0.18, 0.44, 0.66)),
    5: ((0.66, 0.08, 0.08), (0.80, 0.24, 0.10)),
}
PITCH, HALF_LENGTH, CABLE_RADIUS = 24.0, 47.0, 4.6  # pixels
CABLE_AREA, END_AREA, CONNECTOR_AREA = 1950.0, 350.0, 4800.0  # typical visible pixels
SIDES = ("left", "right")


def connector_part(clamps: int) -> str:
    """`"3-clamp connector"`."""
    return f"{clamps}-clamp connector"


def _half_height(clamps: int) -> float:
    return clamps * PITCH / 2 + 3


def build(stage: Stage, defect: str | None, variant: int | None) -> Mark | None:
    """Paints two connectors and their cable; see `CategorySpec.build`."""
    rng = stage.rng
    _table(stage)
    number = int(rng.integers(60)) if variant is None else variant
    clamps = CLAMPS[number % 3]
    # In the train split every clamp of every type has its turn.
    position = (number // 3) % clamps
    others = [count for count in CLAMPS if count != clamps]
    other = others[int(rng.integers(2))]
    sizes, ends, colour = [clamps, clamps], [position, position], clamps
    if defect == "wrong_cable_colour":
        colour = other
    elif defect == "mismatched_connectors":
        wrong = int(rng.integers(2))
        sizes[wrong] = other
        position = min(position, other - 1)
        ends = [position, position]
    elif defect == "wrong_clamp":
        wrong = int(rng.integers(2))
        ends[wrong] = (position + 1 + int(rng.integers(clamps - 1))) % clamps
    gone = int(rng.integers(2)) if defect == "missing_connector" else None
    scale = rng.uniform(0.93, 1.03)
    shift_x, shift_y = rng.uniform(-12, 12), rng.uniform(-9, 9)
    poses, bodies = [], []
    for side in range(2):
        sign = 2 * side - 1
        pose = Frame(
            stage.width / 2 + shift_x + sign * (150 * scale + rng.uniform(-6, 6)),
            stage.height / 2 + shift_y + rng.uniform(-4, 4),
            rng.normal(0, 0.03),
            scale,
        )
        poses.append(pose)
        if side != gone:
            ident = stage.add(connector_part(sizes[side]), SIDES[side])
            bodies.append(ident)
            _connector(stage, pose, sizes[side], sign, ident)
    cables: list[int] = []
    shade = between(rng, *SHADES[colour])
    runs = [ends]
    if defect == "extra_cable":
        free = (position + 1 + int(rng.integers(clamps - 1))) % clamps
        runs.append([free, free])
    if defect == "missing_cable":
        runs = []
    for run in runs:
        names = ["0" if side == gone else str(run[side] + 1) for side in range(2)]
        ident = stage.add(CABLES[colour], "-".join(names))
        cables.append(ident)
        tips = [_entry(poses[side], sizes[side], run[side], 2 * side - 1) for side in range(2)]
        _cable(stage, poses, tips, jitter_colour(rng, shade, 0.12), ident)
    if defect is None:
        return None
    cable_mask, body_mask = stage.mask(*cables), stage.mask(*bodies)
    link = f"{ends[0] + 1}-{ends[1] + 1}"
    if defect == "wrong_cable_colour":
        return Mark(cable_mask | body_mask, CABLES[clamps], 1, 0, link)
    if defect == "mismatched_connectors":
        wrong = 0 if sizes[0] != clamps else 1
        return Mark(body_mask, connector_part(clamps), 1, 0, SIDES[wrong])
    if defect == "wrong_clamp":
        return Mark(cable_mask, CABLES[clamps], 1, 1, link)
    if defect == "extra_cable":
        return Mark(cable_mask, CABLES[clamps], 1, 2)
    if defect == "missing_cable":
        (lx, ly), (rx, ry) = (_entry(poses[s], clamps, 0, 2 * s - 1) for s in range(2))
        u, v = stage.full.local((lx + rx) / 2, (poses[0].cy + poses[1].cy) / 2)
        del ly, ry
        between_them = box(u, v, (rx - lx) / 2, _half_height(clamps) * scale + 14, 6) < 0
        return Mark(between_them & ~body_mask, CABLES[clamps], 1, 0)
    side = 0 if gone is None else gone
    u, v = poses[side].grid(stage.full)
    place = box(u, v, HALF_LENGTH + 6, _half_height(clamps) + 6, 5) < 0
    return Mark(place, connector_part(clamps), 1, 0, SIDES[side])


def _table(stage: Stage) -> None:
    rng = stage.rng
    kind = int(rng.integers(3))
    if kind == 0:
        ground.cloth(stage, between(rng, (0.24, 0.32, 0.27), (0.46, 0.48, 0.45)), 6.0, 0.13)
    elif kind == 1:
        ground.slab(stage, between(rng, (0.42, 0.44, 0.46), (0.70, 0.68, 0.64)))
    else:
        ground.cloth(stage, between(rng, (0.44, 0.42, 0.40), (0.62, 0.58, 0.52)), 7.5, 0.16)
    ground.clutter(stage, 1.0, 1)


def _entry(pose: Frame, clamps: int, position: int, sign: int) -> Point:
    """Where a cable enters a clamp (just inside the body), canvas pixels."""
    v = (position - (clamps - 1) / 2) * PITCH
    return pose.at(-sign * (HALF_LENGTH - 4), v)


def _connector(stage: Stage, pose: Frame, clamps: int, sign: int, ident: int) -> None:
    """A smoky clear body with copper inside, an orange lever and an entry hole per clamp."""
    rng = stage.rng
    half = _half_height(clamps)
    window = stage.window(pose.cx, pose.cy, (max(half, HALF_LENGTH) + 8) * pose.scale)
    u, v = pose.grid(window)
    u = u * -sign  # the entries look at each other: +u is the open end
    lane = v - PITCH * (np.clip(np.round(v / PITCH + (clamps - 1) / 2), 0, clamps - 1)
                        - (clamps - 1) / 2)  # fmt: skip
    body = box(u, v, HALF_LENGTH, half, 5) * pose.scale
    smoke = between(rng, (0.50, 0.52, 0.52), (0.72, 0.72, 0.68))
    cloud = 1 + 0.05 * value_noise(rng, *window.shape, 14, 2)
    albedo = np.asarray(smoke) * cloud[..., None]
    bar = (np.abs(u - 6) < 5) & (np.abs(v) < half - 6)
    albedo[bar] = 0.45 * albedo[bar] + 0.55 * np.array([0.62, 0.40, 0.24])
    albedo *= (1 - 0.35 * np.exp(-(((np.abs(lane) - PITCH / 2) / 1.2) ** 2)))[..., None]
    surface = pillow(body, 5.0)
    stage.put(
        window, body, albedo, surface, ident=ident, gloss=0.45, shine=22, lift=9, opacity=0.93
    )
    hole = box(u - HALF_LENGTH + 6, lane, 4.5, 7.0, 3.5) * pose.scale
    hole = np.maximum(hole, body + 1.5)
    stage.put(window, hole, (0.19, 0.19, 0.19), None, ident=ident, lift=0)
    tint = between(rng, (0.86, 0.36, 0.06), (0.80, 0.48, 0.14))
    lever = box(u + 13, lane, 27.0, 8.8, 3.0) * pose.scale
    lever = np.maximum(lever, body + 1.0)
    ribs = 0.35 * np.sin(u * 1.5) * (u < -24)
    tone = np.asarray(jitter_colour(rng, tint, 0.1)) * cloud[..., None]
    stage.put(
        window,
        lever,
        tone,
        pillow(lever, 4.0) + ribs,
        ident=ident,
        gloss=rng.uniform(0.2, 0.4),
        shine=24,
        lift=3,
    )
    eye = circle(u - 9, lane, 2.4) * pose.scale
    stage.put(window, eye, (0.16, 0.13, 0.12), None, ident=ident, lift=0)


def _cable(stage: Stage, poses: list[Frame], tips: list[Point], colour: Colour, ident: int) -> None:
    """A round, slack cable between two entries."""
    rng = stage.rng
    scale = poses[0].scale
    (x0, y0), (x1, y1) = tips
    pull = (x1 - x0) * rng.uniform(0.3, 0.42)
    sag = rng.uniform(-12, 12)
    middle = rng.uniform(-8, 8)
    points = bezier(
        [(x0, y0), (x0 + pull, y0 + sag + middle), (x1 - pull, y1 + sag - middle), (x1, y1)], 30
    )
    radius = CABLE_RADIUS * scale * rng.uniform(0.94, 1.06)
    ys = [p[1] for p in points]
    window = Window(
        max(int(x0) - 8, 0),
        max(int(min(ys)) - 14, 0),
        min(int(x1) + 9, stage.width),
        min(int(max(ys)) + 15, stage.height),
    )
    distance = stroke_distance(window, points, radius + 6)
    surface = np.sqrt(np.maximum(radius**2 - distance**2, 0))
    tone = np.asarray(colour) * (1 + 0.03 * value_noise(rng, *window.shape, 6, 2))[..., None]
    stage.put(window, distance - radius, tone, surface, ident=ident, gloss=0.5, shine=22, lift=6)


SPEC = CategorySpec(
    name="splicing_connectors",
    width=512,
    height=256,
    parts=(*(connector_part(count) for count in CLAMPS), *CABLES.values()),
    slots=(
        *((connector_part(count), side) for count in CLAMPS for side in SIDES),
        *(
            (cable, f"{left}-{right}")
            for cable in CABLES.values()
            for left in range(6)
            for right in range(6)
        ),
    ),
    logical=(
        DefectKind("wrong_cable_colour", "recoloured", CABLE_AREA, relative=False),
        DefectKind("wrong_clamp", "misplaced", END_AREA, relative=False),
        DefectKind("missing_cable", "missing", CABLE_AREA, relative=False),
        DefectKind("mismatched_connectors", "resized", CONNECTOR_AREA, relative=False),
        DefectKind("extra_cable", "extra", CABLE_AREA, relative=False),
        DefectKind("missing_connector", "missing", CONNECTOR_AREA, relative=False),
    ),
    structural=STRUCTURAL,
    targets=(*(connector_part(count) for count in CLAMPS), *CABLES.values()),
    build=build,
)
