"""Trays, boxes, plates and bowls. Compartments and walls are surface of the holder."""

from dataclasses import dataclass

import cv2
import numpy as np

from tools.objects.pictures.canvas import SIDE, Canvas, fill, window_of
from tools.objects.pictures.layout import Cell
from tools.objects.pictures.noise import Array, Rng, chance, colour, fractal, near, pick
from tools.objects.pictures.outlines import box, circle, simple


@dataclass(frozen=True)
class View:
    """Where a flat holder lies: middle, turn, and how much its far side is narrowed."""

    x: float
    y: float
    turn: float
    far: float = 0.0  # per pixel

    def place(self, points: Array) -> Array:
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        turned = points @ np.array([[cos, sin], [-sin, cos]])
        return np.asarray(turned / (1.0 + self.far * turned[:, 1:]) + (self.x, self.y))


def view(rng: Rng, room: Cell) -> View:
    wild = chance(rng, 0.15) and room.width > 0.4 * SIDE
    turn = 0.0 if chance(rng, 0.4) else rng.normal(0, 0.8 if wild else 0.12)
    far = rng.normal(0, 0.0006) if chance(rng, 0.4) else 0.0
    return View(room.x, room.y, room.turn + turn, far)


def _split(rng: Rng, room: tuple[float, float, float, float], left: int) -> list[Array]:
    """A rectangle cut again and again across its longer side."""
    x0, y0, x1, y1 = room
    if left <= 1 or max(x1 - x0, y1 - y0) < 34:
        return [np.array(room)]
    share = float(rng.choice([0.5, 0.5, 0.33, 0.67])) if chance(rng, 0.6) else rng.uniform(0.3, 0.7)
    first = round(left * share) if left > 2 else 1
    first = min(left - 1, max(1, first))
    if (x1 - x0) * rng.uniform(0.7, 1.4) > y1 - y0:
        cut = x0 + share * (x1 - x0)
        rooms = (x0, y0, cut, y1), (cut, y0, x1, y1)
    else:
        cut = y0 + share * (y1 - y0)
        rooms = (x0, y0, x1, cut), (x0, cut, x1, y1)
    return _split(rng, rooms[0], first) + _split(rng, rooms[1], left - first)


def _rooms(rng: Rng, width: float, height: float, wall: float) -> list[Array]:
    """Rows of x0, y0, x1, y1 about the middle of a tray: the insides of its compartments."""
    whole = (-width / 2 + wall, -height / 2 + wall, width / 2 - wall, height / 2 - wall)
    kind = pick(rng, ("single", "split", "grid"), (0.35, 0.4, 0.25))
    if kind == "single":
        return [np.array(whole)]
    if kind == "split":
        rooms = _split(rng, whole, int(rng.integers(2, 8)))
    else:
        columns, rows = int(rng.integers(1, 6)), int(rng.integers(1, 5))
        columns += columns * rows == 1
        xs, ys = (
            np.linspace(whole[0], whole[2], columns + 1),
            np.linspace(whole[1], whole[3], rows + 1),
        )
        rooms = [
            np.array((xs[i], ys[j], xs[i + 1], ys[j + 1]))
            for i in range(columns)
            for j in range(rows)
        ]
    thin = wall * rng.uniform(0.15, 0.5)
    return [room + np.array([thin, thin, -thin, -thin]) for room in rooms]


def tray(canvas: Canvas, place: Cell) -> list[Cell]:
    """A tray, box or crate with 1 to 20 compartments; returns those, [] if it was not drawn."""
    rng = canvas.rng
    width, height = place.width, place.height
    seen = view(rng, place)
    short = min(width, height)
    wall = rng.uniform(0.015, 0.09) * short + 2.0
    corner = short * rng.uniform(0, 0.15) if chance(rng, 0.6) else 0.0
    outer = seen.place(box(-width / 2, -height / 2, width / 2, height / 2, corner))
    window = window_of(outer)
    if window is None:
        return []
    shape = (window.height, window.width)
    alpha = fill([outer], window)
    shell = colour(rng, saturation=rng.random() ** 2)
    if chance(rng, 0.25):
        shell = near(rng, canvas.pixels.mean((0, 1)), 0.12)
    floor = (
        near(rng, shell, 0.06) if chance(rng, 0.6) else colour(rng, saturation=rng.random() ** 2)
    )
    rough = 1 + rng.uniform(0, 0.06) * fractal(rng, *shape, float(rng.choice([2, 8, 40])), 3)
    colours = shell * rough[..., None]
    round_rooms = chance(rng, 0.12)
    rooms = [r for r in _rooms(rng, width, height, wall) if min(r[2] - r[0], r[3] - r[1]) > 9]
    outlines, cells = [], []
    for x0, y0, x1, y1 in rooms:
        middle = np.array([(0.5 * (x0 + x1), 0.5 * (y0 + y1))])
        ((cx, cy),) = seen.place(middle)
        if round_rooms:
            flat = circle(middle[0, 0], middle[0, 1], 0.47 * (x1 - x0), 0.47 * (y1 - y0))
        else:
            flat = box(x0, y0, x1, y1, 0.7 * corner)
        outline = seen.place(flat)
        outlines.append(outline)
        scale = 0.68 if round_rooms else 0.96
        w, h = (x1 - x0) * scale, (y1 - y0) * scale
        cells.append(Cell(float(cx), float(cy), w, h, seen.turn, outline))
    steep = rng.uniform(0.02, 0.35) * min(60.0, short)
    _hollow(
        canvas,
        colours,
        outlines,
        window_origin=(window.x0, window.y0),
        floor=floor * rough[..., None],
        deep=steep,
    )
    if chance(rng, 0.6):  # a bright or dark edge along the rim
        edge = cv2.morphologyEx(
            (alpha > 0.5).astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3))
        )
        colours = colours * (1 + rng.uniform(-0.5, 0.4) * edge)[..., None]
    height_px = rng.uniform(5, 40)
    number = canvas.add(
        np.asarray(colours, np.float32), alpha, alpha, window, height=height_px, holder=True
    )
    return cells if number else []


def _hollow(
    canvas: Canvas,
    colours: Array,
    outlines: list[Array],
    window_origin: tuple[int, int],
    floor: Array,
    deep: float,
) -> None:
    """Sink the outlines into `colours`: floor, inner sides by the lamp, shadow of the walls."""
    rng = canvas.rng
    shape = colours.shape[:2]
    moved = [np.round((o - window_origin - 0.5) * 16).astype(np.int32) for o in outlines]
    sunk = np.zeros(shape, np.uint8)
    for outline in moved:
        cv2.fillPoly(sunk, [outline], 255, cv2.LINE_AA, 4)
    mask = sunk.astype(np.float32) / 255.0
    inside = floor.astype(np.float32)
    if chance(
        rng, 0.5
    ):  # seen into: a floor smaller than the opening, four sides of their own tone
        lean = canvas.light[:2] * 0.0 + rng.normal(0, 0.25, 2)
        shade = rng.uniform(0.35, 0.9)
        sides = inside * shade
        share = np.zeros(shape, np.float32)
        for outline in outlines:
            middle = outline.mean(0)
            extent = np.maximum(1.0, np.ptp(outline, axis=0))
            inset = min(deep, 0.3 * float(extent.min()))
            small = middle + (outline - middle) * (1 - 2 * inset / extent) + lean * inset
            points = np.round((small - window_origin - 0.5) * 16).astype(np.int32)
            layer = np.zeros(shape, np.uint8)
            cv2.fillPoly(layer, [points], 255, cv2.LINE_AA, 4)
            share = np.maximum(share, layer.astype(np.float32) / 255.0)
        slope = cv2.GaussianBlur(mask, (0, 0), max(1.0, 0.5 * deep))
        gx = cv2.Sobel(slope, cv2.CV_32F, 1, 0, scale=0.125)
        gy = cv2.Sobel(slope, cv2.CV_32F, 0, 1, scale=0.125)
        size = np.maximum(1e-4, np.hypot(gx, gy))
        facing = (gx * canvas.light[0] + gy * canvas.light[1]) / size
        sides = sides * (1 + 0.35 * facing)[..., None]
        inside = sides + share[..., None] * (inside - sides)
    else:
        away = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
        side = np.exp(-away / max(1.0, 0.5 * deep))
        gx = cv2.Sobel(cv2.GaussianBlur(away, (0, 0), 1.5), cv2.CV_32F, 1, 0, scale=0.125)
        gy = cv2.Sobel(cv2.GaussianBlur(away, (0, 0), 1.5), cv2.CV_32F, 0, 1, scale=0.125)
        facing = gx * canvas.light[0] + gy * canvas.light[1]
        inside = inside * (1 - rng.uniform(0.1, 0.6) * side + 0.4 * side * facing)[..., None]
    # The walls' own shadow on the floor.
    dx, dy = -canvas.light[:2] * deep * rng.uniform(0.3, 1.5)
    shift = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    walls = cv2.warpAffine(1 - mask, shift, (shape[1], shape[0]), borderValue=0.0)
    walls = cv2.GaussianBlur(walls, (0, 0), max(0.7, 0.3 * canvas.soft))
    inside = inside * (1 - canvas.dark * walls)[..., None]
    colours += mask[..., None] * (inside - colours)


def plate(canvas: Canvas, place: Cell) -> list[Cell]:
    """A plate, a bowl or a lid from above, with a rim; one round room."""
    rng = canvas.rng
    width, height = place.width, place.height
    seen = view(rng, place)
    if chance(rng, 0.6):
        flat = circle(a=width / 2, b=height / 2)
    else:
        flat = simple(rng, pick(rng, ("super", "regular", "ellipse"))) * (width / 2, height / 2)
    outer = seen.place(flat)
    window = window_of(outer)
    if window is None:
        return []
    base = colour(rng, saturation=rng.random() ** 2)
    alpha = fill([outer], window)
    colours = np.full((*alpha.shape, 3), base, np.float32)
    middle = np.array([seen.x, seen.y])
    share = rng.uniform(0.55, 0.9)
    inner = middle + (outer - middle) * share
    deep = rng.uniform(2, 0.12 * min(width, height) + 3)
    floor = np.full_like(colours, near(rng, base, 0.05) if chance(rng, 0.7) else colour(rng))
    _hollow(canvas, colours, [inner], (window.x0, window.y0), floor, deep)
    if chance(rng, 0.4):
        trim = middle + (outer - middle) * (0.5 + 0.5 * share)
        thin = middle + (outer - middle) * (0.53 + 0.45 * share)
        colours += fill([trim, thin], window)[..., None] * (colour(rng) - colours)
    number = canvas.add(colours, alpha, alpha, window, height=rng.uniform(4, 25), holder=True)
    room = Cell(seen.x, seen.y, width * share * 0.7, height * share * 0.7, seen.turn, inner)
    return [room] if number else []
