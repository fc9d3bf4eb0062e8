"""Damage: scratch, stain, crack, deformation and contamination, on or beside the parts.

Each function changes the stage and returns the (H, W) bool mask of what it changed. Damage is
drawn against the local colour with a least contrast, so that a person can see it.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from fmlad.datasets.scenes.canvas import (
    Bools,
    Colour,
    Floats,
    Point,
    Stage,
    Window,
    stroke_distance,
    value_noise,
)
from fmlad.datasets.scenes.model import DefectKind, Mark

STRUCTURAL = (
    DefectKind("scratch", "defect"),
    DefectKind("stain", "defect"),
    DefectKind("crack", "defect"),
    DefectKind("deformation", "defect"),
    DefectKind("contamination", "defect"),
)

# A heap has no outline of its own that could be dented.
LOOSE = ("cereals", "almonds", "banana chips")


def damage(stage: Stage, name: str, targets: tuple[str, ...]) -> Mark:
    """Damages one of the target parts (the background now and then).

    Args:
        stage: A finished normal scene.
        name: One of `STRUCTURAL`.
        targets: Parts that may be hit.

    Returns:
        The mark of the damage.
    """
    rng = stage.rng
    if name == "deformation":
        targets = tuple(part for part in targets if part not in LOOSE)
    if name == "crack":  # what bends does not crack
        targets = tuple(part for part in targets if not part.endswith("cable"))
    visible = [p for p in stage.objects if p.part in targets and (stage.ids == p.ident).any()]
    # Large containers and small parts are hit alike: first the kind, then the object.
    kinds = sorted({p.part for p in visible})
    kind = kinds[int(rng.integers(len(kinds)))]
    same = [p for p in visible if p.part == kind]
    target = same[int(rng.integers(len(same)))]
    mask = stage.ids == target.ident
    inner = ndimage.binary_erosion(mask, iterations=3)
    inner = inner if inner.any() else mask
    if name == "deformation":
        return Mark(deform(stage, mask), target.part, None, None, target.slot)
    # A crack ends where the body ends, and nothing clings to the air beside a standing bottle.
    solid = stage.ids > 0
    clip = name == "crack" or (stage.height > stage.width and name != "contamination")
    y, x = _pick(stage, inner)
    for _ in range(8 if clip else 0):
        if solid[max(y - 16, 0) : y + 17, max(x - 16, 0) : x + 17].mean() > 0.8:
            break
        y, x = _pick(stage, inner)
    before = stage.rgb.copy()
    if name == "scratch":
        region = scratch(stage, x, y, _direction(mask, rng))
    elif name == "stain":
        region = stain(stage, x, y)
    elif name == "crack":
        region = crack(stage, x, y)
    else:
        region = contaminate(stage, x, y)
    if clip:
        stage.rgb[~solid] = before[~solid]
        region &= solid
    return Mark(region, target.part, None, None, target.slot)


def _pick(stage: Stage, mask: Bools) -> tuple[int, int]:
    """A random True pixel, (row, column)."""
    places = np.flatnonzero(mask)
    place = int(places[int(stage.rng.integers(len(places)))])
    return place // stage.width, place % stage.width


def _direction(mask: Bools, rng: np.random.Generator) -> float:
    """Mostly along the longer side of a part, so that a scratch stays on it."""
    rows, columns = np.nonzero(mask)
    cov = np.cov(np.stack([columns, rows]))
    axis = 0.5 * math.atan2(2 * cov[0, 1], cov[0, 0] - cov[1, 1])
    return axis + rng.normal(0, 0.45)


def _surround(stage: Stage, x: float, y: float, reach: float = 9) -> Floats:
    """Mean colour (3,) about a point."""
    window = stage.window(x, y, reach)
    return np.asarray(stage.rgb[window.slices].mean(axis=(0, 1)))


def _blend(stage: Stage, window: Window, alpha: Floats, colour: Floats | Colour) -> None:
    view = stage.rgb[window.slices]
    view += (np.asarray(colour) - view) * alpha[..., None]


def _whole(stage: Stage, window: Window, mask: Bools) -> Bools:
    region = np.zeros((stage.height, stage.width), dtype=bool)
    region[window.slices] = mask
    return region


def scratch(stage: Stage, x: float, y: float, angle: float) -> Bools:
    """One to three thin bent lines side by side, lighter or darker than the ground, with a burr."""
    rng = stage.rng
    length, bend = rng.uniform(22, 42), rng.normal(0, 5)
    cos, sin = math.cos(angle), math.sin(angle)
    window = stage.window(x, y, length + 14)
    alpha = np.zeros(window.shape)
    distance = np.full(window.shape, 1e3)
    for track in range(int(rng.integers(1, 4))):
        reach, aside = length * (1.0 if track == 0 else rng.uniform(0.4, 0.8)), 4.6 * track
        points: list[Point] = []
        for t in np.linspace(-1, 1, 14):
            side = bend * (1 - t * t) + rng.normal(0, 0.35) + aside
            points.append((x + t * reach * cos - side * sin, y + t * reach * sin + side * cos))
        line = stroke_distance(window, points, 6.0)
        alpha = np.maximum(alpha, np.clip(rng.uniform(1.0, 1.7) + 0.5 - line, 0, 1))
        distance = np.minimum(distance, line)
    luma = float(_surround(stage, x, y).mean())
    light = luma < 0.45 or (luma < 0.55 and rng.uniform() < 0.5)
    colour = np.full(3, min(luma + 0.6, 1.05) if light else max(luma - 0.55, 0.02))
    alpha *= rng.uniform(0.85, 0.97)
    shifted = ndimage.shift(distance, (1.6, 1.2), order=1, mode="nearest")
    burr = np.clip(1.4 - shifted, 0, 1) * 0.45 * (alpha < 0.3)
    _blend(stage, window, burr, np.full(3, 0.05 if light else min(luma + 0.35, 1.0)))
    _blend(stage, window, alpha, colour)
    return _whole(stage, window, (alpha > 0.3) | (burr > 0.15))


def stain(stage: Stage, x: float, y: float) -> Bools:
    """A blotch of ink, mould or juice with a dark rim and a few splashes around."""
    rng = stage.rng
    radius = rng.uniform(11, 18)
    window = stage.window(x, y, radius * 2.6)
    u, v = window.local(x, y, rng.uniform(0, math.pi))
    wobble = value_noise(rng, *window.shape, radius * 0.8, 3)
    sdf = np.hypot(u, v * rng.uniform(1.0, 1.5)) - radius + 2.6 * wobble
    for _ in range(int(rng.integers(6, 13))):
        far, around = radius * rng.uniform(1.1, 2.0), rng.uniform(0, 2 * math.pi)
        drop = np.hypot(u - far * math.cos(around), v - far * math.sin(around))
        sdf = np.minimum(sdf, drop - rng.uniform(1.4, 3.4))
    alpha = np.clip(0.5 - sdf / 1.2, 0, 1)
    rim = np.exp(-((sdf + 1.6) ** 2) / 2.0)
    here = _surround(stage, x, y)
    inks: tuple[Colour, ...] = (
        (0.06, 0.06, 0.42),
        (0.06, 0.36, 0.08),
        (0.42, 0.03, 0.36),
        (0.04, 0.05, 0.06),
        (0.93, 0.95, 0.90),
    )
    # The ink must differ from where it falls, or nobody could see it.
    contrast = [float(np.abs(np.array(ink) - here).mean()) for ink in inks]
    visible = np.argsort(contrast)[-2:]
    colour = np.array(inks[int(visible[int(rng.integers(2))])])
    strength = rng.uniform(0.84, 0.95) * alpha * (0.92 + 0.06 * wobble.clip(-1, 1))
    _blend(stage, window, np.clip(strength, 0, 0.95), colour)
    _blend(stage, window, 0.5 * rim * alpha, colour * 0.4)
    return _whole(stage, window, alpha > 0.35)


def crack(stage: Stage, x: float, y: float) -> Bools:
    """A jagged dark fissure with a branch and one lit lip."""
    rng = stage.rng
    heading = rng.uniform(0, 2 * math.pi)
    paths = []
    for turn, steps in ((0.0, 6), (math.pi, 6), (rng.uniform(0.7, 1.3), 4)):
        px, py, direction = float(x), float(y), heading + turn
        path: list[Point] = [(px, py)]
        for _ in range(steps):
            step = rng.uniform(3, 6.5)
            direction += rng.normal(0, 0.55)
            px, py = px + step * math.cos(direction), py + step * math.sin(direction)
            direction += 0.3 * math.sin(heading + turn - direction)
            path.append((px, py))
        paths.append(path)
    window = stage.window(x, y, 46)
    distance = np.minimum.reduce([stroke_distance(window, path, 6.0) for path in paths])
    u, v = window.local(x, y)
    width = 2.3 * np.clip(1.15 - np.hypot(u, v) / 42, 0.2, 1)
    here = _surround(stage, x, y)
    # On a dark ground a crack shows by its broken edge, which is lighter.
    dark = float(here.mean()) > 0.2
    alpha = np.clip(width + 0.4 - distance, 0, 1)
    offset = (-1.4 * stage.light.y, -1.4 * stage.light.x)
    lip = np.clip(width + 0.4 - ndimage.shift(distance, offset, order=1, mode="nearest"), 0, 1)
    _blend(stage, window, 0.75 * lip * (1 - alpha), np.clip(here * 1.7 + 0.2, 0, 1))
    _blend(stage, window, 0.92 * alpha, here * 0.12 if dark else here * 0.5 + 0.42)
    return _whole(stage, window, (alpha > 0.3) | (lip > 0.6))


def contaminate(stage: Stage, x: float, y: float) -> Bools:
    """A foreign splinter or fibre lying on top, with its shadow."""
    rng = stage.rng
    reach, here = 34.0, _surround(stage, x, y)
    window = stage.window(x, y, reach)
    if rng.uniform() < 0.5:  # a curled fibre
        angle, curl = rng.uniform(0, 2 * math.pi), rng.normal(0, 0.28)
        points: list[Point] = []
        px, py = x - 14 * math.cos(angle), y - 14 * math.sin(angle)
        for _ in range(12):
            points.append((px, py))
            angle += curl + rng.normal(0, 0.12)
            px, py = px + 3.4 * math.cos(angle), py + 3.4 * math.sin(angle)
        sdf = stroke_distance(window, points, 7.0) - rng.uniform(1.9, 2.6)
    else:  # an angular splinter: a few half planes
        u, v = window.local(x, y, rng.uniform(0, math.pi))
        sdf = np.full(window.shape, -1e3)
        for k in range(5):
            side = 2 * math.pi * k / 5 + rng.normal(0, 0.25)
            sdf = np.maximum(sdf, u * math.cos(side) + v * math.sin(side) - rng.uniform(8, 13))
    choices: tuple[Colour, ...] = ((0.05, 0.22, 0.62), (0.92, 0.92, 0.9), (0.08, 0.55, 0.28))
    distances = [float(np.abs(np.array(colour) - here).sum()) for colour in choices]
    order = np.argsort(distances)
    colour = choices[int(order[1 + int(rng.integers(2))])]
    height = np.clip(-sdf, 0, 3) + 0.8 * value_noise(rng, *window.shape, 5, 2)
    # Broken facets: some catch the light, some do not.
    facets = np.where(value_noise(rng, *window.shape, 7, 1) > 0.1, 1.15, 0.3)
    paint = np.asarray(colour) * facets[..., None]
    before = stage.rgb[window.slices].copy()
    stage.put(window, sdf, paint, height, gloss=0.6, shine=24, lift=3.5)
    changed = np.abs(stage.rgb[window.slices] - before).mean(axis=2) > 0.12
    return _whole(stage, window, (sdf < 0.0) | (changed & (sdf < 2.0)))


def deform(stage: Stage, mask: Bools) -> Bools:
    """Dents or bulges the outline of a part by moving the picture (and its labels) locally.

    The mask is where the move changed the picture visibly.
    """
    rng = stage.rng
    mask = ndimage.binary_fill_holes(mask)  # of a container the outside, not where things lie
    rim = mask & ~ndimage.binary_erosion(mask)
    smooth = ndimage.gaussian_filter(mask.astype(np.float64), 4.0)
    slope_y, slope_x = np.gradient(smooth)
    best: tuple[int, Window, Floats, Floats, Bools] | None = None
    for _ in range(8):
        y, x = _pick(stage, rim)
        norm = math.hypot(slope_y[y, x], slope_x[y, x]) + 1e-9
        push = rng.uniform(12, 18) * (1 if rng.uniform() < 0.6 else -1)
        du, dv = push * slope_x[y, x] / norm, push * slope_y[y, x] / norm
        radius = rng.uniform(26, 38)
        window = stage.window(x, y, radius)
        u, v = window.local(x, y)
        weight = np.maximum(1 - (u * u + v * v) / radius**2, 0) ** 2
        rows = np.clip(v + y - weight * dv, 0, stage.height - 1)
        columns = np.clip(u + x - weight * du, 0, stage.width - 1)
        moved = np.stack(
            [
                ndimage.map_coordinates(stage.rgb[..., c], (rows, columns), order=1)
                for c in range(3)
            ],
            axis=2,
        )
        # A dent catches the light: its slopes shade the picture, in folds across the push.
        ripple = np.cos((u * du + v * dv) / abs(push) * rng.uniform(0.2, 0.32) + rng.uniform(0, 6))
        dent = 9.0 * weight * (1 + 0.35 * ripple)
        slope_v, slope_u = np.gradient(dent)
        lit = 1 - 0.95 * (slope_u * stage.light.x + slope_v * stage.light.y) / stage.light.z
        body = ndimage.map_coordinates(mask.astype(np.float64), (rows, columns), order=1)
        moved *= 1 + (np.clip(lit, 0.45, 1.45) - 1)[..., None] * body[..., None]
        change = np.abs(moved - stage.rgb[window.slices]).mean(axis=2) > 0.06
        area = int(change.sum())
        if best is None or area > best[0]:
            best = (area, window, np.stack([rows, columns]), moved, change)
        if area > 220:
            break
    if best is None:
        raise RuntimeError("no place to deform")
    _, window, where, moved, change = best
    ids = ndimage.map_coordinates(stage.ids, where, order=0)
    stage.rgb[window.slices] = moved
    stage.ids[window.slices] = ids
    closed = ndimage.binary_closing(change, iterations=2) | change
    labels, count = ndimage.label(closed)
    if count > 1:  # drop specks of texture that moved by chance
        sizes = np.bincount(labels.ravel())[1:]
        closed = np.isin(labels, 1 + np.flatnonzero(sizes >= max(12, sizes.max() // 4)))
    return _whole(stage, window, closed)
