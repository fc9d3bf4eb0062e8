"""What is let into a surface and flush with it: screws, rivets, holes, buttons, feet."""

import cv2
import numpy as np

from tools.objects.pictures import outlines as out
from tools.objects.pictures.canvas import Canvas, fill, window_of
from tools.objects.pictures.layout import Cell
from tools.objects.pictures.noise import Array, chance, log_uniform, near, pick

PLACES = ("corners", "ends", "row", "anywhere")


def fit(canvas: Canvas, cell: Cell) -> None:
    """A few fittings of one kind in a cell, near its edges or in a row, each an instance."""
    rng = canvas.rng
    short = min(cell.width, cell.height)
    size = log_uniform(rng, 8, min(32, max(9, 0.45 * short)))
    kind = pick(rng, ("circle", "circle", "regular", "box", "gear"))
    outline = out.circle() if kind == "circle" else out.simple(rng, kind)
    outline = 0.5 * size * outline @ _turn(rng.uniform(0, 2 * np.pi))
    soft = rng.uniform(0.4, 1.8)
    ring = rng.uniform(0.5, 0.8) if chance(rng, 0.3) else 0.0
    tone = _tone(canvas, cell)
    for across, down in _spots(canvas, cell, size):
        _fitting(canvas, outline + cell.at(across, down), tone, soft, ring)


def _tone(canvas: Canvas, cell: Cell) -> Array:
    """A colour not far from that of the surface: mostly darker."""
    rng = canvas.rng
    inside = cell.region() > 0.5
    surface = canvas.pixels[inside].mean(0) if inside.any() else canvas.pixels.mean((0, 1))
    step = rng.uniform(0.08, 0.4) * (1 if chance(rng, 0.3) else -1)
    return np.asarray(near(rng, np.clip(surface + step, 0, 1), 0.02))


def _spots(canvas: Canvas, cell: Cell, size: float) -> list[tuple[float, float]]:
    """Places in a cell, each in -0.5..0.5."""
    rng = canvas.rng
    x = 0.5 - min(0.45, rng.uniform(0.7, 1.6) * size / cell.width)
    y = 0.5 - min(0.45, rng.uniform(0.7, 1.6) * size / cell.height)
    where = pick(rng, PLACES)
    if where == "corners":
        return [(-x, -y), (x, -y), (x, y), (-x, y)]
    if where == "ends":
        middle = rng.uniform(-y, y)
        return [(-x, middle), (x, middle)]
    if where == "row":
        edge = y if chance(rng, 0.5) else -y
        return [(float(place), edge) for place in np.linspace(-x, x, int(rng.integers(3, 7)))]
    return [(rng.uniform(-x, x), rng.uniform(-y, y)) for _ in range(int(rng.integers(1, 4)))]


def _fitting(canvas: Canvas, outline: Array, tone: Array, soft: float, ring: float) -> None:
    rng = canvas.rng
    window = window_of(outline, 4)
    if window is None:
        return
    sharp = fill([outline], window)
    middle = outline.mean(0)
    colours: Array = np.broadcast_to(near(rng, tone, 0.02), (*sharp.shape, 3)).astype(np.float32)
    if ring:
        inner = fill([middle + ring * (outline - middle)], window)
        colours = colours * (1 + np.float32(rng.uniform(-0.5, 0.4)) * inner[..., None])
    alpha = np.asarray(cv2.GaussianBlur(sharp, (0, 0), soft), np.float32)
    canvas.add(colours, alpha, sharp, window)


def _turn(angle: float) -> Array:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, sin], [-sin, cos]])
