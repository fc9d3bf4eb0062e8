"""Cables, strips and ropes: each one is one instance however often it is crossed."""

import numpy as np

from tools.objects.pictures import families
from tools.objects.pictures.canvas import SIDE, Canvas, stroke, window_of
from tools.objects.pictures.noise import Array, chance, colour, log_uniform, near, pick
from tools.objects.pictures.outlines import spline
from tools.objects.pictures.things import draw


def cable(canvas: Canvas, points: Array, width: float, tone: Array, look: str) -> int:
    """A line (k, 2) of a width in pixels, shaded across: round, flat or twisted."""
    window = window_of(points, width + 2)
    if window is None:
        return 0
    alpha = stroke([points], window, width)
    inner = stroke([points + canvas.light[:2] * width * 0.15], window, max(1.0, width * 0.45))
    shade = 0.95 * np.ones_like(alpha) if look == "flat" else 0.6 + 0.5 * inner
    if look == "twisted":
        length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
        step = max(2.5, width * 0.8)
        for at in np.arange(step, length[-1], step):
            here = np.array([np.interp(at, length, points[:, axis]) for axis in (0, 1)])
            ahead = np.array([np.interp(at + 1, length, points[:, axis]) for axis in (0, 1)])
            along = ahead - here
            across = np.array([-along[1], along[0]]) * width * 0.5
            tick = np.stack([here - across, here + across + along * step * 0.6])
            shade -= 0.35 * stroke([tick], window, 1.0)
    colours = tone * np.clip(shade, 0.2, 1.2)[..., None]
    if look == "glossy":
        colours = (
            colours
            + 0.5 * stroke([points + canvas.light[:2] * width * 0.2], window, 0.8)[..., None]
        )
    return canvas.add(colours.astype(np.float32), alpha, alpha, window, height=2.5 * width)


def _bends(canvas: Canvas, start: Array, end: Array, slack: float) -> Array:
    rng = canvas.rng
    share = np.linspace(0, 1, int(rng.integers(3, 6)))[:, None]
    middle = start + share * (end - start)
    middle[1:-1] += rng.normal(0, slack, (len(share) - 2, 2))
    return spline(middle, 60)


LOOKS = ("round", "round", "flat", "glossy", "twisted")


def _far(canvas: Canvas, least: float) -> tuple[Array, Array]:
    """Two ends at a distance of at least so many pixels."""
    while True:
        start, end = canvas.rng.uniform(-20, SIDE + 20, (2, 2))
        if float(np.hypot(*(end - start))) >= least:
            return start, end


def free(canvas: Canvas) -> None:
    """One to eight cables that cross, lie loose or side by side; at times blocks on their ends."""
    rng = canvas.rng
    count, width = int(rng.integers(1, 9)), log_uniform(rng, 3, 11)
    look, few = pick(rng, LOOKS), [colour(rng) for _ in range(3)]
    if chance(rng, 0.45):  # side by side
        start, end = _far(canvas, 180)
        line = _bends(canvas, start, end, rng.uniform(2, 18))
        along = np.gradient(line, axis=0)
        normal = np.stack([-along[:, 1], along[:, 0]], 1)
        normal /= np.maximum(1e-3, np.hypot(*normal.T))[:, None]
        gap = width * rng.uniform(1.05, 3.0)
        lines = [line + normal * gap * index for index in range(count)]
    else:
        slack = rng.uniform(5, 60)
        lines = [_bends(canvas, *_far(canvas, 60), slack) for _ in range(count)]
    for points in lines:
        tone = colour(rng) if chance(rng, 0.6) else few[int(rng.integers(3))]
        cable(canvas, points, width * rng.uniform(0.9, 1.1), tone, look)
    if chance(rng, 0.4):
        kinds = [families.block(rng), families.brick(rng)]
        for points in lines[: int(rng.integers(1, 4))]:
            x, y = points[0 if chance(rng, 0.5) else -1]
            draw(canvas, kinds[int(rng.integers(2))], x, y, width * rng.uniform(4, 12))


def connected(canvas: Canvas) -> None:
    """Two blocks and one to five cables between them; the ends lie under or on the blocks."""
    rng = canvas.rng
    upright = chance(rng, 0.3)
    size, y = rng.uniform(45, 110), rng.uniform(100, 220)
    xa, xb = rng.uniform(30, 90), rng.uniform(230, 290)
    ends = np.array([(xa, y), (xb, y + rng.normal(0, 20))])
    if upright:
        ends = ends[:, ::-1]
    maker = families.block if chance(rng, 0.6) else families.brick
    same = maker(rng)
    things = (same, same if chance(rng, 0.6) else maker(rng))
    count, width = int(rng.integers(1, 6)), log_uniform(rng, 3, 10)
    look, slack = pick(rng, LOOKS), rng.uniform(3, 35)
    under = chance(rng, 0.75)
    first = rng.uniform(0, 0.15)

    def blocks() -> None:
        for thing, (cx, cy) in zip(things, ends, strict=True):
            draw(
                canvas, thing, cx, cy, size, turn=np.pi / 2 * rng.integers(4) + rng.normal(0, first)
            )

    if not under:
        blocks()
    room = 0.7 * size
    offsets = (np.arange(count) - 0.5 * (count - 1)) * min(
        room / count, width * rng.uniform(1.2, 3)
    )
    base = colour(rng)
    for offset in offsets:
        shift = np.array([offset, 0.0]) if upright else np.array([0.0, offset])
        a, b = ends[0] + shift, ends[1] + shift * (1 if chance(rng, 0.9) else -1)
        inset = 0.0 if under else 0.42
        a = a + inset * size * (b - a) / np.hypot(*(b - a))
        tone = colour(rng) if chance(rng, 0.6) else near(rng, base, 0.05)
        cable(canvas, _bends(canvas, a, b, slack), width, tone, look)
    if under:
        blocks()
