"""What everything lies on, with what is on it and is no thing: stains, scratches, light."""

import cv2
import numpy as np

from tools.objects.pictures.canvas import SIDE
from tools.objects.pictures.noise import Array, Rng, chance, colour, field, fractal, hsv, near, pick

KINDS = (
    "plain", "rough", "wood", "weave", "concrete", "gravel",
    "gradient", "halves", "print", "planks", "blotched",
)  # fmt: skip
WEIGHTS = (2.5, 2, 2, 1.5, 1, 1, 1, 1, 0.8, 0.8, 1)


def ground(rng: Rng) -> Array:  # (SIDE, SIDE, 3) float32
    """A random surface with random distractors."""
    pixels = _surface(rng, pick(rng, KINDS, WEIGHTS))
    for _ in range(int(rng.poisson(0.9))):
        _distract(rng, pixels)
    return np.clip(pixels, 0.0, 1.2).astype(np.float32)


def _surface(rng: Rng, kind: str) -> Array:
    value = (
        rng.uniform(0.03, 1.0) ** 0.8 if chance(rng, 0.7) else float(rng.choice([0.03, 0.93, 0.99]))
    )
    base = colour(rng, saturation=rng.random() ** 2 * 0.7, value=value)
    pixels = np.full((SIDE, SIDE, 3), base, np.float32)
    if kind == "rough":
        scale = float(rng.choice([2, 5, 20, 90]))
        grain = fractal(rng, SIDE, SIDE, scale, int(rng.integers(1, 5)))
        pixels *= (1 + rng.uniform(0.02, 0.14) * grain)[..., None]
    elif kind in ("wood", "planks"):
        pixels = _wood(rng, kind == "planks")
    elif kind == "weave":
        y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
        turn, period = rng.uniform(0, np.pi), rng.uniform(2.2, 9)
        u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        warp, weft = np.sin(u * 2 * np.pi / period), np.sin(v * 2 * np.pi / period)
        cloth = warp * weft if chance(rng, 0.6) else np.maximum(warp, weft)
        folds = fractal(rng, SIDE, SIDE, 80, 3)
        pixels *= (1 + rng.uniform(0.02, 0.12) * cloth + rng.uniform(0, 0.12) * folds)[..., None]
    elif kind in ("concrete", "blotched"):
        blotch = fractal(rng, SIDE, SIDE, rng.uniform(30, 100), 5, fall=0.7)
        pixels += rng.uniform(0.02, 0.08) * blotch[..., None]
        if kind == "blotched":
            share = np.clip(0.5 + rng.uniform(0.5, 4) * blotch, 0, 1)[..., None]
            pixels += share * (near(rng, base, 0.15) - pixels)
    elif kind == "gravel":
        size = rng.uniform(3, 14)
        cells = np.abs(field(rng, SIDE, SIDE, size)) * np.abs(field(rng, SIDE, SIDE, size * 0.7))
        pixels *= (1 + rng.uniform(0.15, 0.5) * (np.minimum(cells, 1.5) - 0.6))[..., None]
    elif kind in ("gradient", "halves"):
        y, x = (np.mgrid[:SIDE, :SIDE] / SIDE - 0.5).astype(np.float32)
        turn = rng.uniform(0, 2 * np.pi)
        along = x * np.cos(turn) + y * np.sin(turn) + rng.uniform(-0.35, 0.35)
        steep = 2.0 if kind == "gradient" else float(rng.choice([20, 100, 400]))
        share = 1 / (1 + np.exp(-np.clip(along * steep, -30, 30)))
        pixels += share[..., None] * (near(rng, base, 0.25) - pixels)
    elif kind == "print":
        _rules(rng, pixels)
    grain = rng.standard_normal((SIDE, SIDE, 1), dtype=np.float32)
    return np.asarray(pixels * (1 + rng.uniform(0, 0.04) * grain))


def _wood(rng: Rng, planks: bool) -> Array:
    base = hsv(rng.uniform(0.02, 0.13), rng.uniform(0.1, 0.75), rng.uniform(0.2, 0.95))
    grain = fractal(rng, SIDE, SIDE, rng.uniform(4, 22), 4, rng.uniform(6, 25))
    if chance(rng, 0.6):
        rows = np.linspace(0, rng.uniform(2, 40), SIDE, dtype=np.float32)[:, None]
        grain = np.sin(grain * rng.uniform(0.5, 3) + rows)
    pixels = base * (1 + rng.uniform(0.03, 0.18) * grain)[..., None]
    if planks:
        edges = np.arange(rng.integers(0, 60), SIDE, rng.integers(40, 130))
        for first, last in zip([0, *edges], [*edges, SIDE], strict=True):
            pixels[first:last] *= rng.uniform(0.8, 1.2)
            pixels[last : last + int(rng.integers(1, 4))] *= rng.uniform(0.3, 0.8)
    return np.ascontiguousarray(pixels.transpose(1, 0, 2) if chance(rng, 0.5) else pixels)


def _rules(rng: Rng, pixels: Array) -> None:
    """Lines, checks or tiles over the whole ground."""
    step = int(rng.integers(10, 90))
    wide = int(rng.integers(1, 4)) if chance(rng, 0.6) else step // 2
    rows = (np.arange(SIDE) % step < wide).astype(np.float32)
    columns = rows if chance(rng, 0.5) else np.zeros_like(rows)
    share = np.maximum(rows[:, None], columns[None]) * rng.uniform(0.05, 0.6)
    pixels += share[..., None] * (colour(rng) - pixels)


def _distract(rng: Rng, pixels: Array) -> None:
    kind = pick(rng, ("stain", "scratch", "specks", "light", "shade", "seam", "smear"))
    x, y = rng.integers(0, SIDE, 2)
    if kind in ("stain", "smear"):
        patch = fractal(rng, SIDE, SIDE, rng.uniform(25, 120), 2, rng.uniform(1, 4))
        share = cv2.GaussianBlur((patch > 1.3).astype(np.float32), (0, 0), rng.uniform(3, 14))
        pixels *= (1 + rng.choice([-1, 0.6]) * rng.uniform(0.03, 0.25) * share)[..., None]
    elif kind == "scratch":
        for _ in range(int(rng.integers(1, 6))):
            start, reach = rng.uniform(0, SIDE, 2), rng.normal(0, 60, 2)
            ends = [tuple(int(c) for c in point) for point in (start, start + reach)]
            tone = float(rng.random())
            line = np.zeros((SIDE, SIDE), np.float32)
            cv2.line(line, ends[0], ends[1], rng.uniform(0.15, 0.6), 1, cv2.LINE_AA)
            pixels += line[..., None] * (tone - pixels)
    elif kind == "specks":
        ink = near(rng, pixels[y, x], 0.3)
        for _ in range(int(rng.integers(3, 60))):
            px, py = (int(c) for c in rng.integers(0, SIDE, 2))
            cv2.circle(pixels, (px, py), int(rng.integers(0, 2)), ink.tolist(), -1, cv2.LINE_AA)
    elif kind == "seam":
        turn = rng.uniform(0, np.pi)
        far = 500 * np.array([np.cos(turn), np.sin(turn)])
        a, b = ((int(x + s * far[0]), int(y + s * far[1])) for s in (-1, 1))
        line = np.zeros((SIDE, SIDE), np.float32)
        cv2.line(line, a, b, 1.0, int(rng.integers(1, 4)), cv2.LINE_AA)
        pixels *= (1 + rng.uniform(-0.5, 0.3) * line)[..., None]
    else:
        spot = np.zeros((SIDE, SIDE), np.float32)
        axes = (int(rng.integers(20, 140)), int(rng.integers(10, 90)))
        cv2.ellipse(spot, (int(x), int(y)), axes, rng.uniform(0, 180), 0, 360, 1.0, -1)
        soft = cv2.GaussianBlur(spot, (0, 0), rng.uniform(5, 25))
        change = rng.uniform(0.05, 0.4) * (1 if kind == "light" else -1)
        pixels *= (1 + change * soft)[..., None]
