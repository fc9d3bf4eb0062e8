"""Heaps of many small grains: one instance each, no grain is one."""

import cv2
import numpy as np

from tools.objects.pictures.canvas import SIDE, Canvas, Window
from tools.objects.pictures.noise import Array, Rng, chance, colour, fractal, log_uniform


def _kinds(rng: Rng) -> list[tuple[Array, float, float]]:
    """Colour, size in pixels and slimness of each kind of grain in a heap."""
    kinds = []
    size = log_uniform(rng, 3, 20) if chance(rng, 0.6) else log_uniform(rng, 14, 40)
    for _ in range(1 if chance(rng, 0.5) else int(rng.integers(2, 4))):
        base = colour(rng, value=rng.uniform(0.3, 1.0))
        kinds.append((base, size * rng.uniform(0.6, 1.5), rng.uniform(0.2, 1.0)))
    return kinds


def heap(canvas: Canvas, region: Array, height: float = 6.0) -> int:
    """Fill a region (SIDE, SIDE) of 0..1 with grains; returns the heap's number or 0."""
    rng = canvas.rng
    ys, xs = np.nonzero(region > 0.5)
    if len(ys) < 250 or canvas.full:
        return 0
    kinds = _kinds(rng)
    size = float(np.mean([k[1] for k in kinds]))
    x0, y0 = max(0, int(xs.min() - size)), max(0, int(ys.min() - size))
    x1, y1 = min(SIDE, int(xs.max() + size) + 1), min(SIDE, int(ys.max() + size) + 1)
    window = Window(x0, y0, x1, y1)
    bed = np.ascontiguousarray(region[window.slices], np.float32)
    cover = (bed > 0.5).astype(np.uint8)
    if chance(rng, 0.6):
        cover = np.asarray(cv2.erode(cover, np.ones((3, 3), np.uint8)), np.uint8)
    depth = 1 + 0.12 * fractal(rng, window.height, window.width, 40, 2)
    colours = np.full((window.height, window.width, 3), kinds[0][0] * 0.35, np.float32)
    loose = size > 12 and chance(rng, 0.5)  # what it lies on is seen between the grains
    if loose:
        colours = canvas.pixels[window.slices] * np.float32(rng.uniform(0.5, 1.0))
        cover[:] = 0
    number = int(min(700, (1.3 if loose else 2.6) * len(ys) / (size * size * 0.6)))
    at = rng.integers(0, len(ys), number)
    spread, tilt = rng.uniform(0.02, 0.12), rng.uniform(0, 180)
    chaos = 90.0 if chance(rng, 0.8) else 10.0
    which = rng.integers(0, len(kinds), number)
    tones = rng.normal(0, spread, (number, 1)) + rng.normal(0, 0.02, (number, 3))
    turns = tilt + rng.uniform(-chaos, chaos, number)
    scales = rng.uniform(0.75, 1.25, number)
    flakes, ringed = size > 5 and chance(rng, 0.3), chance(rng, 0.3)
    bends = rng.uniform(0.6, 1.2, (number, int(rng.integers(3, 7))))
    lift = canvas.light[:2] * 0.12
    palette = np.stack([k[0] for k in kinds])[which]
    bright = np.clip(palette + tones, 0, 1)
    for index in range(number):
        _, long, slim = kinds[which[index]]
        a = 0.5 * long * scales[index]
        axes = (max(1, round(a)), max(1, round(a * slim)))
        small = (max(1, round(0.72 * a)), max(1, round(0.72 * a * slim)))
        centre = (int(xs[at[index]] - x0), int(ys[at[index]] - y0))
        up = (round(centre[0] + lift[0] * long), round(centre[1] + lift[1] * long))
        tone, turn = bright[index], float(turns[index])
        if flakes:
            corners = _flake(centre, a, a * slim, turn, bends[index])
            cv2.fillConvexPoly(colours, corners, tone.tolist(), cv2.LINE_AA)
            cv2.polylines(colours, [corners], True, (0.5 * tone).tolist(), 1, cv2.LINE_AA)
            cv2.fillConvexPoly(cover, corners, 1)
            continue
        cv2.ellipse(colours, centre, axes, turn, 0, 360, (0.55 * tone).tolist(), -1)
        cv2.ellipse(colours, up, small, turn, 0, 360, tone.tolist(), -1, cv2.LINE_AA)
        if ringed and min(small) > 4:
            for share in (0.7, 0.4):
                ring = (round(share * small[0]), round(share * small[1]))
                cv2.ellipse(colours, up, ring, turn, 0, 360, (0.8 * tone).tolist(), 1, cv2.LINE_AA)
        cv2.ellipse(cover, centre, axes, turn, 0, 360, 1, -1)
    colours *= depth[..., None]
    reach = 5 if size < 12 else int(0.8 * size) | 1  # gaps narrower than a grain belong to it
    near_by = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    closed = cv2.morphologyEx(cover, cv2.MORPH_CLOSE, near_by)
    soft = cv2.GaussianBlur(closed.astype(np.float32), (0, 0), 0.6)
    return canvas.add(colours, soft, closed.astype(np.float32), window, height=height, stuff=True)


def _flake(
    centre: tuple[int, int], a: float, b: float, turn: float, radii: Array
) -> Array:  # (k, 2) int32
    """Corners of a flat chip; the turn in degrees."""
    at = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    x, y = a * radii * np.cos(at), b * radii * np.sin(at)
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    points = np.stack([centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos], 1)
    return np.round(cv2.convexHull(points.astype(np.float32))[:, 0]).astype(np.int32)


def patch(rng: Rng, x: float, y: float, reach: float) -> Array:  # (SIDE, SIDE) float32
    """A ragged round region for a heap on the table."""
    ty, tx = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    squeeze = rng.uniform(0.5, 1.0)
    away = np.hypot((tx - x) / reach, (ty - y) / (reach * squeeze))
    away += rng.uniform(0.05, 0.2) * fractal(rng, SIDE, SIDE, 50, 3)
    return np.asarray(away < 1, np.float32)


def halves(rng: Rng, region: Array) -> tuple[Array, Array]:
    """A region cut in two along a straggling line."""
    ys, xs = np.nonzero(region > 0.5)
    turn = rng.uniform(0, np.pi) if chance(rng, 0.5) else float(rng.choice([0, np.pi / 2]))
    ty, tx = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    middle = np.array([xs.mean(), ys.mean()]) if len(xs) else np.array([160.0, 160.0])
    along = (tx - middle[0]) * np.cos(turn) + (ty - middle[1]) * np.sin(turn)
    along += rng.uniform(1, 8) * fractal(rng, SIDE, SIDE, 30, 3) + rng.uniform(-25, 25)
    first = (region > 0.5) & (along < 0)
    return first.astype(np.float32), ((region > 0.5) & ~first).astype(np.float32)
