"""Closed outlines (k, 2) about the origin, within about one unit of it."""

from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tools.objects.pictures.noise import Array, Rng, chance, pick

LETTERS = "ABCDEFGHKLMNPRSTUVWXYZabdefghknprstuy0123456789&%$#?!+*"


def circle(x: float = 0.0, y: float = 0.0, a: float = 1.0, b: float | None = None) -> Array:
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.stack([x + a * np.cos(turn), y + (a if b is None else b) * np.sin(turn)], 1)


def box(x0: float, y0: float, x1: float, y1: float, corner: float = 0.0) -> Array:
    """A rectangle, its corners rounded by a radius."""
    corner = float(min(corner, 0.499 * (x1 - x0), 0.499 * (y1 - y0)))
    if corner <= 0.0:
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)
    turns = np.linspace(0, np.pi / 2, 6)
    arc = corner * np.stack([np.cos(turns), np.sin(turns)], 1)
    centres = [
        (x1 - corner, y1 - corner),
        (x0 + corner, y1 - corner),
        (x0 + corner, y0 + corner),
        (x1 - corner, y0 + corner),
    ]
    quarter = np.array([[0.0, 1.0], [-1.0, 0.0]])  # row vectors, turned by a quarter
    corners = []
    for centre in centres:
        corners.append(arc + centre)
        arc = arc @ quarter
    return np.concatenate(corners)


def polar(radii: Array) -> Array:
    """An outline of radii at equal angles, scaled to one unit."""
    turn = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    radii = radii / radii.max()
    return np.stack([radii * np.cos(turn), radii * np.sin(turn)], 1)


def profile(stations: Array, left: Array, right: Array) -> Array:
    """A turned body along x: half widths at the start and the end of each section."""
    along = np.repeat(stations, 2)[1:-1]
    half = np.stack([left, right], 1).ravel()
    top = np.stack([along, -half], 1)
    return np.concatenate([top, np.stack([along, half], 1)[::-1]])


def spline(points: Array, count: int = 48) -> Array:
    """A smooth line through control points (Catmull-Rom)."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    at = np.linspace(0, len(points) - 1 - 1e-6, count)
    first, t = at.astype(int), (at % 1.0)[:, None]
    a, b, c, d = (padded[first + shift] for shift in range(4))
    return np.asarray(
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2)
        + 0.5 * (3 * b - a - 3 * c + d) * t**3
    )


SIMPLE = (
    "ellipse", "disc", "super", "polygon", "regular", "star", "blob", "bar", "gear",
    "crescent", "cross", "angle", "drop", "box", "half", "bean",
)  # fmt: skip


def simple(rng: Rng, kind: str | None = None) -> Array:
    """One random outline of a named kind."""
    kind = kind or pick(rng, SIMPLE)
    turn = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    if kind == "ellipse":
        return circle(a=1.0, b=rng.uniform(0.35, 1.0))
    if kind == "disc":
        return circle()
    if kind == "super":
        power = rng.uniform(2.5, 9)
        radii = (np.abs(np.cos(turn)) ** power + np.abs(np.sin(turn)) ** power) ** (-1 / power)
        return polar(radii) * (1.0, rng.uniform(0.5, 1.0))
    if kind in ("polygon", "regular"):
        sides = int(rng.integers(3, 9))
        spread = 0.35 if kind == "polygon" else 0.0
        at = (np.arange(sides) + rng.uniform(-spread, spread + 1e-9, sides)) * 2 * np.pi / sides
        return np.stack([np.cos(at), np.sin(at)], 1)
    if kind == "star":
        points, depth = int(rng.integers(4, 12)), rng.uniform(0.3, 0.8)
        wave = 2 * np.abs((turn * points / (2 * np.pi)) % 1 - 0.5)
        return polar(depth + (1 - depth) * wave)
    if kind == "gear":
        teeth = int(rng.integers(6, 16))
        turn = np.linspace(0, 2 * np.pi, 160, endpoint=False)
        return polar(1.0 + rng.uniform(0.08, 0.25) * np.clip(3 * np.sin(teeth * turn), -1, 1))
    if kind == "blob":
        radii = np.ones_like(turn)
        for order in range(1, 6):
            a, b = rng.normal(0, 0.24 / order, 2)
            radii += a * np.cos(order * turn) + b * np.sin(order * turn)
        return polar(np.maximum(radii, 0.3))
    if kind == "bar":
        half = rng.uniform(0.05, 0.35)
        return box(-1, -half, 1, half, half * rng.random() * 1.2)
    if kind == "box":
        half = rng.uniform(0.3, 0.95)
        return box(-0.95, -half, 0.95, half, rng.random() * 0.4 if chance(rng, 0.6) else 0.0)
    if kind == "crescent":
        arc = np.linspace(-1.3, 1.3, 24) * rng.uniform(0.5, 1.2)
        outer = np.stack([np.sin(arc), np.cos(arc)], 1)
        inner = np.stack([np.sin(arc), np.cos(arc)], 1) * (1 - rng.uniform(0.15, 0.5))
        return np.concatenate([outer, inner[::-1]]) - (0.0, 0.5)
    if kind == "bean":
        arc = np.linspace(-1, 1, 20) * rng.uniform(0.6, 1.3)
        middle = np.stack([0.8 * np.sin(arc), 0.8 * np.cos(arc)], 1)
        width = rng.uniform(0.2, 0.4) * np.sqrt(np.maximum(0.02, 1 - (arc / arc[-1]) ** 2))[:, None]
        out = np.stack([np.sin(arc), np.cos(arc)], 1)
        return np.concatenate([middle + width * out, (middle - width * out)[::-1]]) - (0, 0.5)
    if kind == "cross":
        a, b = rng.uniform(0.12, 0.45, 2)
        quarter = [(a, b), (1, b), (1, -b), (a, -b), (a, -1), (-a, -1)]
        rest = [(-a, -b), (-1, -b), (-1, b), (-a, b), (-a, 1), (a, 1)]
        return np.array(quarter + rest, float)
    if kind == "angle":
        a, b, long = *rng.uniform(0.15, 0.5, 2), rng.uniform(0.6, 1.0)
        corner = [(-0.8, -long), (-0.8 + a, -long), (-0.8 + a, long - b)]
        return np.array([*corner, (0.8, long - b), (0.8, long), (-0.8, long)], float)
    if kind == "half":
        arc = np.linspace(0, np.pi * rng.uniform(0.7, 1.4), 30)
        return np.stack([np.cos(arc), np.sin(arc)], 1) - (0, 0.3)
    # a drop
    sharp = rng.uniform(1.2, 3.0)
    return np.stack([np.cos(turn), np.sin(turn) * np.sin(turn / 2) ** sharp * 0.7], 1)


@lru_cache(maxsize=1024)
def glyph(letter: str, bold: int) -> tuple[Array, ...]:
    """Outlines of a letter, one unit high about the origin; holes are outlines too."""
    image = Image.new("L", (96, 96))
    font = ImageFont.load_default(64)
    ImageDraw.Draw(image).text(
        (48, 48), letter, fill=255, font=font, anchor="mm", stroke_width=bold
    )
    found, _ = cv2.findContours(
        (np.asarray(image) > 127).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_TC89_L1
    )
    return tuple((c[:, 0].astype(float) - 47.5) / 24.0 for c in found if len(c) > 2)


def text(rng: Rng, letters: str, x0: float, y0: float, x1: float, y1: float) -> list[Array]:
    """Outlines of a line of text that fills a rectangle's height, cut off at its width."""
    height = y1 - y0
    outlines: list[Array] = []
    x, bold = x0 + 0.35 * height, int(rng.integers(0, 3))
    for letter in letters:
        if x > x1 - 0.3 * height:
            break
        if letter != " ":
            shift = (x, 0.5 * (y0 + y1))
            outlines += [o * 0.5 * height + shift for o in glyph(letter, bold)]
        x += 0.62 * height
    return outlines
