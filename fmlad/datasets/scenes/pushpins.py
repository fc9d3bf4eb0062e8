"""Pushpins: a tray of 5 x 3 compartments with one pin each, coloured by row.

The rule: every compartment holds exactly one pin; the rows are red, yellow and blue from the top;
all pins are short. Hues drift within a row's colour from tray to tray and pin to pin.
"""

from __future__ import annotations

import math

import numpy as np

from fmlad.datasets.scenes import ground
from fmlad.datasets.scenes.canvas import (
    Colour,
    Frame,
    Stage,
    between,
    box,
    capsule,
    circle,
    ellipse,
    jitter_colour,
    pillow,
    value_noise,
)
from fmlad.datasets.scenes.defects import STRUCTURAL
from fmlad.datasets.scenes.model import CategorySpec, DefectKind, Mark

ROWS, COLUMNS = 3, 5
COLOURS = ("red", "yellow", "blue")
PART_NAMES = tuple(f"{colour} pushpin" for colour in COLOURS)
SHADES: dict[str, tuple[Colour, Colour]] = {
    "red": ((0.72, 0.08, 0.10), (0.84, 0.26, 0.12)),
    "yellow": ((0.88, 0.62, 0.10), (0.80, 0.76, 0.22)),
    "blue": ((0.08, 0.20, 0.52), (0.16, 0.42, 0.62)),
}
PITCH_U, PITCH_V = 91.0, 88.0  # between the centres of neighbouring compartments, pixels
CELL = 40.5  # half side of a compartment, pixels
PIN_AREA = 570.0  # typical visible pixels of a pin

Place = tuple[int, int]  # row, column


def slot_name(place: Place) -> str:
    """Rows and columns from 1, from the top left."""
    return f"r{place[0] + 1}c{place[1] + 1}"


def _home(place: Place) -> tuple[float, float]:
    return (place[1] - (COLUMNS - 1) / 2) * PITCH_U, (place[0] - (ROWS - 1) / 2) * PITCH_V


def build(stage: Stage, defect: str | None, variant: int | None) -> Mark | None:
    """Paints a tray; see `CategorySpec.build`."""
    del variant  # there is one type only
    rng = stage.rng
    _table(stage)
    frame = Frame(
        stage.width / 2 + rng.uniform(-7, 7),
        stage.height / 2 + rng.uniform(-5, 5),
        rng.normal(0, 0.012),
        rng.uniform(0.955, 1.015),
    )
    tray = stage.add("tray")
    _tray(stage, frame, tray)
    shades = {c: between(rng, *SHADES[c]) for c in COLOURS}
    pins: dict[Place, list[str]] = {
        (r, c): [COLOURS[r]] for r in range(ROWS) for c in range(COLUMNS)
    }
    place = (int(rng.integers(ROWS)), int(rng.integers(COLUMNS)))
    other = place
    long_pin: Place | None = None
    if defect == "missing_pushpin":
        pins[place] = []
    elif defect == "extra_pushpin":
        pins[place].append(COLOURS[place[0]])
    elif defect == "moved_pushpin":
        # Along the row: the place that it came from is empty, its neighbour has two.
        step = 1 if place[1] == 0 or (place[1] < COLUMNS - 1 and rng.uniform() < 0.5) else -1
        other = (place[0], place[1] + step)
        pins[other].append(pins[place].pop())
    elif defect == "swapped_pushpins":
        other = ((place[0] + 1 + int(rng.integers(2))) % ROWS, int(rng.integers(COLUMNS)))
        pins[place], pins[other] = pins[other], pins[place]
    elif defect == "wrong_colour":
        pins[place] = [COLOURS[(place[0] + 1 + int(rng.integers(2))) % ROWS]]
    elif defect == "long_pushpin":
        long_pin = place
    placed: dict[Place, list[int]] = {}
    for spot, colours in pins.items():
        placed[spot] = []
        turn = rng.uniform(0, 2 * math.pi)
        for number, colour in enumerate(colours):
            ident = stage.add(f"{colour} pushpin", slot_name(spot))
            placed[spot].append(ident)
            angle = turn + (rng.normal(0, 0.35) if number == 0 else rng.uniform(1.2, 2.2))
            u, v = _home(spot)
            shift = 11.0 if len(colours) > 1 else 0.0
            side = 1 if number == 0 else -1
            du = -math.sin(turn) * shift * side + rng.uniform(-8, 8)
            dv = math.cos(turn) * shift * side + rng.uniform(-8, 8)
            stretch = 2.1 if spot == long_pin else rng.uniform(0.92, 1.08)
            x, y = frame.at(u + du, v + dv)
            _pin(
                stage,
                Frame(x, y, angle + frame.angle, frame.scale * rng.uniform(1.12, 1.24)),
                jitter_colour(rng, shades[colour], 0.1),
                ident,
                stretch,
            )
    return _mark(stage, frame, defect, place, other, placed)


def _mark(
    stage: Stage,
    frame: Frame,
    defect: str | None,
    place: Place,
    other: Place,
    placed: dict[Place, list[int]],
) -> Mark | None:
    if defect is None:
        return None
    part, slot = PART_NAMES[place[0]], slot_name(place)
    u, v = frame.grid(stage.full)
    home_u, home_v = _home(place)
    cell = box(u - home_u, v - home_v, CELL - 1, CELL - 1, 4) < 0
    if defect == "missing_pushpin":
        return Mark(cell, part, 1, 0, slot)
    if defect == "extra_pushpin":
        return Mark(stage.mask(*placed[place]), part, 1, 2, slot)
    if defect == "moved_pushpin":
        return Mark(cell | stage.mask(*placed[other]), part, 1, 2, slot_name(other))
    if defect == "swapped_pushpins":
        return Mark(stage.mask(*placed[place], *placed[other]), part, 1, 0, slot)
    if defect == "wrong_colour":
        return Mark(stage.mask(*placed[place]), part, 1, 0, slot)
    return Mark(stage.mask(*placed[place]), part, 1, 1, slot)


def _table(stage: Stage) -> None:
    rng = stage.rng
    if rng.uniform() < 0.5:
        ground.wood(stage)
    else:
        ground.slab(stage, between(rng, (0.30, 0.33, 0.36), (0.62, 0.62, 0.60)))


def _tray(stage: Stage, frame: Frame, ident: int) -> None:
    """A moulded tray: outer body, then a sunken, slightly darker floor per compartment."""
    rng = stage.rng
    window = stage.full
    u, v = frame.grid(window)
    half_u, half_v = PITCH_U * COLUMNS / 2 + 4, PITCH_V * ROWS / 2 + 4
    body = box(u, v, half_u, half_v, 12) * frame.scale
    cell_u = u - PITCH_U * (np.clip(np.round(u / PITCH_U), -2, 2))
    cell_v = v - PITCH_V * (np.clip(np.round(v / PITCH_V), -1, 1))
    well = box(cell_u, cell_v, CELL, CELL, 9) * frame.scale
    plastic = between(rng, (0.62, 0.63, 0.62), (0.80, 0.76, 0.68))
    grain = 1.0 + 0.025 * value_noise(rng, *window.shape, 2.5, 2)
    grain += 0.02 * value_noise(rng, *window.shape, 120, 2)
    albedo = np.asarray(plastic) * grain[..., None]
    depth = np.clip((-well) / 5.0, 0, 1)
    wall = depth * depth * (3 - 2 * depth)
    surface = pillow(body, 5.0) - 7.0 * wall
    # Light reaches the corners of a well badly, and one wall throws its shadow on the floor.
    corner = np.exp(np.minimum(well, 0) / 9.0) * (well < 0)
    albedo *= (1 - 0.13 * wall - 0.2 * corner * wall)[..., None]
    stage.put(window, body, albedo, surface, ident=ident, gloss=0.12, shine=14, lift=7)
    sun_u = cell_u + 9 * stage.light.x
    sun_v = cell_v + 9 * stage.light.y
    lit = np.clip(0.5 - box(sun_u, sun_v, CELL - 2, CELL - 2, 8) / 5, 0, 1)
    stage.rgb *= (1 - 0.3 * wall * (1 - lit) * (body < 0))[..., None]


def _pin(stage: Stage, pose: Frame, colour: Colour, ident: int, stretch: float) -> None:
    """A pin lying on its side: steel needle, collar, waist and cap, seen from above."""
    rng = stage.rng
    window = stage.window(pose.cx, pose.cy, 42 * pose.scale)
    u, v = pose.grid(window)
    u = u + 3
    tip = 11 + 15 * stretch
    taper = 1.25 * np.clip((tip - u) / 7, 0.35, 1)
    needle = np.maximum(capsule(u, v, (9, 0), (tip, 0), 0.0) - taper, 0 - u)
    steel: Colour = (0.62, 0.62, 0.64)
    stage.put(
        window, needle, steel, 2 * pillow(needle, 1.3), ident=ident, metal=0.6, gloss=0.4, lift=3
    )
    waist = 6.0 - 1.6 * np.cos(np.clip((u + 5) / 8, -1.2, 1.2) * 1.6)
    shaft = np.maximum(np.abs(v) - waist, np.abs(u + 2) - 10)
    collar = ellipse(u - 8.0, v, 3.6, 9.6)
    cap = ellipse(u + 13.0, v, 4.6, 10.6)
    height = np.sqrt(np.maximum(waist**2 - v**2, 0)) * (shaft < 0.8)
    height = np.maximum(height, np.sqrt(np.maximum(9.6**2 - v**2, 0)) * (collar < 0.8) * 0.9)
    height = np.maximum(height, np.sqrt(np.maximum(10.6**2 - v**2, 0)) * (cap < 0.8) * 0.95)
    body = np.minimum(np.minimum(shaft, collar), cap)
    tone = np.asarray(colour) * (1 + 0.03 * value_noise(rng, *window.shape, 4, 2))[..., None]
    tone = tone * (1 - 0.25 * np.exp(-(circle(u - 4.5, v * 0.3, 0.5) ** 2) / 2.5))[..., None]
    shine = rng.uniform(20, 36)
    stage.put(
        window, body, tone, height, ident=ident, gloss=rng.uniform(0.3, 0.5), shine=shine, lift=6
    )


SPEC = CategorySpec(
    name="pushpins",
    width=512,
    height=301,
    parts=("tray", *PART_NAMES),
    slots=(
        ("tray", None),
        *(
            (part, slot_name((r, c)))
            for part in PART_NAMES
            for r in range(ROWS)
            for c in range(COLUMNS)
        ),
    ),
    logical=(
        DefectKind("missing_pushpin", "missing", PIN_AREA, relative=False),
        DefectKind("extra_pushpin", "extra", PIN_AREA, relative=False),
        DefectKind("moved_pushpin", "misplaced", PIN_AREA, relative=False),
        DefectKind("swapped_pushpins", "misplaced", 1.0),
        DefectKind("wrong_colour", "recoloured", 1.0),
        DefectKind("long_pushpin", "resized", 1.0),
    ),
    structural=STRUCTURAL,
    targets=("tray", *PART_NAMES),
    build=build,
)
