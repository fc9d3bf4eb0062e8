"""Transparent holders: bottles and jars with liquid and labels, bags over their contents."""

import cv2
import numpy as np

from tools.objects.pictures.canvas import SIDE, Canvas, Window, fill, stroke, window_of
from tools.objects.pictures.labels import stick
from tools.objects.pictures.layout import Cell
from tools.objects.pictures.noise import Array, Rng, chance, colour, fractal, near, pick
from tools.objects.pictures.outlines import box, spline


def _silhouette(rng: Rng, width: float, height: float, jar: bool) -> tuple[Array, Array]:
    """Right half of a vessel from top to bottom: (k,) half widths and heights, middle at 0."""
    a = width / 2
    neck = a * (rng.uniform(0.6, 1.0) if jar else rng.uniform(0.2, 0.6))
    long = height * (rng.uniform(0.02, 0.1) if jar else rng.uniform(0.08, 0.38))
    slope = height * rng.uniform(0.02, 0.2)
    waist = a * (rng.uniform(0.75, 1.0) if chance(rng, 0.3) else 1.0)
    foot = a * rng.uniform(0.8, 1.0)
    ys = np.array([0, long, long + slope, 0.6 * height, 0.97 * height, height])
    halves = np.array([neck, neck, a, waist, a, foot])
    ys = np.maximum.accumulate(ys + np.arange(6) * 1e-3)
    at = np.linspace(0, ys[-1], 70)
    half = np.interp(at, ys, halves)
    kernel = np.hanning(int(rng.integers(3, 13)) + 2)
    half = np.convolve(np.pad(half, len(kernel) // 2, mode="edge"), kernel / kernel.sum(), "same")
    half = half[len(kernel) // 2 :][: len(at)]
    return half, at - height / 2


def bottle(canvas: Canvas, place: Cell, jar: bool) -> list[Cell]:
    """A bottle or jar; returns its room for things where it holds no liquid."""
    rng = canvas.rng
    height = place.height * rng.uniform(0.9, 1.05)
    width = height * (rng.uniform(0.5, 0.95) if jar else rng.uniform(0.22, 0.5))
    width = min(width, place.width)
    x, y = place.x, place.y
    half, down = _silhouette(rng, width, height, jar)
    right = np.stack([x + half, y + down], 1)
    left = np.stack([x - half, y + down], 1)
    outer = np.concatenate([right, left[::-1]])
    cap = _cap(rng, x, y + down[0], half[0]) if chance(rng, 0.5) else None
    window = window_of(outer if cap is None else np.concatenate([outer, cap]))
    if window is None:
        return []
    alpha = fill([outer], window)
    if cap is not None:  # it belongs to the bottle and lies one layer deeper
        alpha = np.maximum(alpha, fill([cap], window))
    rows = np.arange(window.y0, window.y1) + 0.5 - y
    across = (np.arange(window.x0, window.x1) + 0.5 - x)[None] / np.interp(rows, down, half)[
        :, None
    ]
    across = np.clip(across, -1.2, 1.2).astype(np.float32)
    tint = colour(rng, saturation=rng.random() ** 2 * 0.8, value=rng.uniform(0.5, 1))
    glass = tint * (1 - rng.uniform(0.2, 0.6) * across**4)[..., None]
    clear = rng.uniform(0.12, 0.6)
    edge = np.clip(np.abs(across) ** rng.uniform(6, 14), 0, 1) * 0.7
    number = canvas.add(
        glass, alpha * np.maximum(clear, edge), alpha, window,
        height=rng.uniform(0, 25), holder=True,
    )  # fmt: skip
    if not number:
        return []
    liquid = chance(rng, 0.75)
    if liquid:
        _liquid(canvas, window, across, (x, y), half, down)
    if cap is not None:
        _close(canvas, cap)
    body = Cell(x, y + 0.2 * height, width * 0.8, 0.5 * height)
    _labels(canvas, x, y, width, height, half, down)
    _glass_lights(canvas, window, across, alpha)
    return [] if liquid else [body]


def _liquid(
    canvas: Canvas,
    window: Window,
    across: Array,
    middle: tuple[float, float],
    half: Array,
    down: Array,
) -> None:
    rng = canvas.rng
    x, y = middle
    wall = rng.uniform(0.5, 4)
    top = down[0] + (down[-1] - down[0]) * rng.uniform(0.03, 0.75)
    keep = (down > top) & (down < down[-1] - wall)
    if keep.sum() < 4:
        return
    inner = np.maximum(1.0, half[keep] - wall)
    outline = np.concatenate(
        [np.stack([x + inner, y + down[keep]], 1), np.stack([x - inner, y + down[keep]], 1)[::-1]]
    )
    cover = fill([outline], window)
    tone = colour(rng, value=rng.uniform(0.25, 1))
    shade = 1 - rng.uniform(0.1, 0.5) * np.abs(across) ** 3
    colours = tone * shade[..., None]
    if chance(rng, 0.3):
        cloud = fractal(rng, window.height, window.width, 50, 3)
        colours = colours * (1 + rng.uniform(0.02, 0.1) * cloud)[..., None]
    canvas.add(colours, cover * rng.uniform(0.5, 1.0), cover, window)
    if chance(rng, 0.6):  # the surface, an ellipse or a line of another tone
        tall = rng.uniform(0.5, 4)
        turn = np.linspace(0, 2 * np.pi, 30)
        ring = np.stack([x + inner[0] * np.cos(turn), y + top + tall * np.sin(turn)], 1)
        share = fill([ring], window) * rng.uniform(0.2, 0.7)
        area = canvas.pixels[window.slices]
        area += share[..., None] * (near(rng, tone, 0.2) - area)


def _cap(rng: Rng, x: float, top: float, half: float) -> Array:
    wide, tall = half * rng.uniform(1.0, 1.25), rng.uniform(6, 26)
    return box(x - wide, top - 0.6 * tall, x + wide, top + 0.4 * tall, 2)


def _close(canvas: Canvas, cap: Array) -> None:
    """A ribbed cap; one layer below the bottle."""
    rng, window = canvas.rng, window_of(cap)
    if window is None:
        return
    alpha = fill([cap], window)
    low, high = cap[:, 0].min(), cap[:, 0].max()
    columns = (np.arange(window.x0, window.x1) + 0.5 - low) / (high - low) * 2 - 1
    ribs = np.sin(np.arcsin(np.clip(columns, -1, 1)) * rng.uniform(10, 40))
    shade = (1 - 0.5 * np.minimum(columns**2, 1)) * (1 + rng.uniform(0, 0.2) * ribs)
    colours = colour(rng) * np.broadcast_to(shade[None, :, None], (*alpha.shape, 1))
    canvas.add(colours.astype(np.float32), alpha, alpha, window)


def _labels(
    canvas: Canvas, x: float, y: float, width: float, height: float, half: Array, down: Array
) -> None:
    """None to three labels, one below the other, on the outside of the glass."""
    rng = canvas.rng
    count = int(rng.choice([0, 1, 1, 1, 2, 2, 3]))
    bend = rng.uniform(0, 0.06) * width if chance(rng, 0.4) else 0.0
    top = y - height * rng.uniform(-0.05, 0.15)
    shared = rng.uniform(0.5, 0.93)
    for _ in range(count):
        tall = height * rng.uniform(0.06, 0.32 if count > 1 else 0.42)
        if top + tall > y + 0.46 * height:
            return
        narrow = float(np.interp([top - y, top + tall - y], down, half).min())
        wide = 2 * narrow * (shared if chance(rng, 0.7) else rng.uniform(0.3, 0.93))
        stick(canvas, x, top + 0.5 * tall, wide, tall, 0.0, bend, depth=1)
        top += tall + height * rng.uniform(0.01, 0.1)


def _glass_lights(canvas: Canvas, window: Window, across: Array, alpha: Array) -> None:
    rng = canvas.rng
    light = np.zeros_like(alpha)
    for _ in range(int(rng.integers(0, 4))):
        at, wide = rng.uniform(-0.85, 0.85), rng.uniform(0.02, 0.09)
        light += rng.uniform(0.05, 0.5) * np.exp(-(((across - at) / wide) ** 2))
    if chance(rng, 0.5):
        first, last = rng.uniform(0, 1, 2)
        fade = np.linspace(first, last, len(light))[:, None]
        light = light * fade
    canvas.pixels[window.slices] += (light * alpha)[..., None].astype(np.float32)


def bag(canvas: Canvas, place: Cell) -> tuple[list[Cell], Array]:
    """A transparent bag below its contents: rooms, and its cover (SIDE, SIDE) for `film`."""
    rng = canvas.rng
    width, height = place.width, place.height
    x, y, turn = place.x, place.y, rng.normal(0, 0.12)
    rim = box(-width / 2, -height / 2, width / 2, height / 2, rng.uniform(0, 14))
    dense = np.concatenate(
        [
            np.linspace(p, q, 5, endpoint=False)
            for p, q in zip(rim, np.roll(rim, -1, 0), strict=True)
        ]
    )
    dense = dense + rng.normal(0, rng.uniform(0, 1.5), dense.shape)
    frame = Cell(x, y, 1.0, 1.0, turn)
    outer = np.array([frame.at(*point) for point in dense])
    whole = Window(0, 0, SIDE, SIDE)
    cover = fill([outer], whole)
    colours = np.full((SIDE, SIDE, 3), rng.uniform(0.4, 1.0), np.float32)
    if chance(rng, 0.2):
        colours *= colour(rng, value=1.0)
    number = canvas.add(
        colours, cover * rng.uniform(0.05, 0.4), cover, whole, height=rng.uniform(0, 6), holder=True
    )
    if not number:
        return [], cover
    inner = Cell(x, y, 0.88 * width, 0.85 * height, turn, outer)
    return [inner], cover


def film(canvas: Canvas, cell: Cell, cover: Array) -> None:
    """The bag's upper side: haze, folds, glints, welded edges, a zip. No instances."""
    rng = canvas.rng
    whole = Window(0, 0, SIDE, SIDE)
    pixels = canvas.pixels
    haze = cover * rng.uniform(0.0, 0.2)
    pixels += haze[..., None] * (rng.uniform(0.6, 1.0) - pixels)
    light = np.zeros((SIDE, SIDE), np.float32)
    for _ in range(int(rng.integers(2, 14))):
        start = np.array(cell.at(*rng.uniform(-0.5, 0.5, 2)))
        steps = np.cumsum(rng.normal(rng.normal(0, 14, 2), 8, (4, 2)), 0)
        fold = spline(np.concatenate([start[None], start + steps]), 20)
        strength = rng.uniform(0.1, 0.7) * (1 if chance(rng, 0.75) else -0.6)
        light += strength * stroke([fold], whole, rng.uniform(0.7, 4))
    light = np.asarray(cv2.GaussianBlur(light, (0, 0), rng.uniform(0.5, 2.5)), np.float32)
    if chance(rng, 0.7):
        light += rng.uniform(0.05, 0.35) * np.clip(fractal(rng, SIDE, SIDE, 45, 3) - 1, 0, 1)
    edge = cv2.morphologyEx((cover > 0.5).astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3)))
    tone = rng.uniform(0.1, 0.4) * (1 if chance(rng, 0.7) else -1)
    light = light * cover + tone * cv2.GaussianBlur(edge, (0, 0), 0.8)
    if chance(rng, 0.6):  # a zip or a welded seam
        at = rng.uniform(-0.55, -0.4)
        for index in range(int(rng.integers(1, 4))):
            shift = at + 0.012 * index
            ends = np.array([cell.at(-0.56, shift), cell.at(0.56, shift)])
            light += cover * stroke([ends], whole, rng.uniform(0.8, 2)) * rng.uniform(-0.3, 0.4)
    pixels += light[..., None]
    kind = pick(rng, ("none", "none", "sticker"))
    if kind == "sticker":
        sx, sy = cell.at(*rng.uniform(-0.25, 0.25, 2))
        stick(
            canvas, sx, sy, rng.uniform(30, 90), rng.uniform(20, 60), cell.turn + rng.normal(0, 0.2)
        )
