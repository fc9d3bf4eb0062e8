"""What every category is painted with: noise, signed distances, light and shadow.

Pictures are float64 (H, W, 3) in [0, 1] until the camera quantises them: with 53 bits of mantissa
the last-place differences between processors practically never reach a rounded byte, so the
pinned pixel hashes hold. Distances, heights and positions are in pixels, x to the right and y
down; a signed distance is negative inside. Angles are radians, clockwise on the screen.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int32]
Colour = tuple[float, float, float]
Point = tuple[float, float]


def value_noise(
    rng: np.random.Generator, height: int, width: int, cell: float | Point, octaves: int = 3
) -> Floats:
    """Smooth random field, about zero mean and unit spread.

    Args:
        rng: Source of randomness.
        height: Rows, pixels.
        width: Columns, pixels.
        cell: Size of the coarsest blob, pixels, or (x, y) for streaks such as wood grain.
        octaves: Halvings of the cell, each at half the amplitude.

    Returns:
        (height, width) float64.
    """
    cell_x, cell_y = cell if isinstance(cell, tuple) else (cell, cell)
    total = np.zeros((height, width))
    amplitude, power = 1.0, 0.0
    for octave in range(octaves):
        rows = max(2, math.ceil(height / max(1.0, cell_y / 2**octave)) + 1)
        columns = max(2, math.ceil(width / max(1.0, cell_x / 2**octave)) + 1)
        coarse = rng.standard_normal((min(rows, height), min(columns, width)))
        picture = Image.fromarray(coarse.astype(np.float32))
        resized = picture.resize((width, height), Image.Resampling.BICUBIC)
        total += amplitude * np.asarray(resized, dtype=np.float64)
        power += amplitude**2
        amplitude *= 0.5
    return total / (0.7 * math.sqrt(power))


def mix(first: Colour, second: Colour, amount: Floats) -> Floats:
    """Blends two colours by an (h, w) amount in [0, 1] into (h, w, 3)."""
    a, b = np.array(first), np.array(second)
    return np.asarray(a + (b - a) * amount[..., None])


def jitter_colour(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    """Moves a colour: brightness by `spread` (relative), hue by a third of it per channel."""
    gain = 1.0 + spread * rng.uniform(-1, 1)
    tint = 1.0 + spread / 3 * rng.uniform(-1, 1, 3)
    moved = np.clip(np.array(colour) * gain * tint, 0.01, 0.98)
    return (float(moved[0]), float(moved[1]), float(moved[2]))


def between(rng: np.random.Generator, first: Colour, second: Colour) -> Colour:
    """A random colour on the line between two."""
    t = rng.uniform()
    a, b, c = (x + (y - x) * t for x, y in zip(first, second, strict=True))
    return (float(a), float(b), float(c))


def circle(u: Floats, v: Floats, radius: float) -> Floats:
    """Signed distance to a disc about the origin."""
    return np.asarray(np.sqrt(u * u + v * v) - radius)


def ellipse(u: Floats, v: Floats, a: float, b: float) -> Floats:
    """Signed distance (first order) to an ellipse with half axes a, b."""
    p, q = u / a, v / b
    level = np.sqrt(p * p + q * q)
    slope = np.sqrt((p / a) ** 2 + (q / b) ** 2) / np.maximum(level, 1e-6)
    return (level - 1.0) / np.maximum(slope, 1e-6)


def box(u: Floats, v: Floats, half_u: float, half_v: float, radius: float = 0.0) -> Floats:
    """Signed distance to a rectangle with rounded corners."""
    qu, qv = np.abs(u) - half_u + radius, np.abs(v) - half_v + radius
    inside = np.minimum(np.maximum(qu, qv), 0) - radius
    np.maximum(qu, 0, out=qu)
    np.maximum(qv, 0, out=qv)
    return np.asarray(np.sqrt(qu * qu + qv * qv) + inside)


def hexagon(u: Floats, v: Floats, radius: float) -> Floats:
    """Signed distance (inside exact) to a regular hexagon with the given inner radius."""
    a, b = np.abs(u), np.abs(v)
    return np.maximum(b, 0.5 * b + 0.8660254037844386 * a) - radius


def capsule(u: Floats, v: Floats, start: Point, end: Point, radius: float) -> Floats:
    """Signed distance to a thick segment with round ends."""
    du, dv = end[0] - start[0], end[1] - start[1]
    length2 = max(du * du + dv * dv, 1e-9)
    t = np.clip(((u - start[0]) * du + (v - start[1]) * dv) / length2, 0, 1)
    off_u, off_v = u - start[0] - t * du, v - start[1] - t * dv
    return np.asarray(np.sqrt(off_u * off_u + off_v * off_v) - radius)


def pillow(sdf: Floats, bevel: float, rise: float | None = None) -> Floats:
    """Height of a body with a rounded rim: flat inside, a quarter circle over `bevel` pixels."""
    t = 1.0 - np.clip(-sdf / bevel, 0, 1)
    return (bevel if rise is None else rise) * np.sqrt(np.maximum(1.0 - t * t, 0.0))


def bezier(points: Sequence[Point], steps: int = 32) -> list[Point]:
    """Samples a cubic Bezier curve given by four control points."""
    t = np.linspace(0, 1, steps)[:, None]
    p = [np.array(point) for point in points]
    curve = (
        (1 - t) ** 3 * p[0] + 3 * (1 - t) ** 2 * t * p[1] + 3 * (1 - t) * t**2 * p[2] + t**3 * p[3]
    )
    return [(float(x), float(y)) for x, y in curve]


@dataclass(frozen=True)
class Window:
    """A rectangle of the canvas: x0 <= x < x1, y0 <= y < y1, pixels."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index into an (H, W, ...) array."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.y1 - self.y0, self.x1 - self.x0

    def local(self, cx: float, cy: float, angle: float = 0.0) -> tuple[Floats, Floats]:
        """Coordinates (h, w), (h, w) of the pixel centres in a frame at (cx, cy), turned."""
        x = np.arange(self.x0, self.x1)[None, :] - cx
        y = np.arange(self.y0, self.y1)[:, None] - cy
        cos, sin = math.cos(angle), math.sin(angle)
        return x * cos + y * sin, y * cos - x * sin


@dataclass(frozen=True)
class Frame:
    """A pose: local (u, v) pixels to canvas pixels by turn, scale and shift."""

    cx: float
    cy: float
    angle: float = 0.0
    scale: float = 1.0

    def at(self, u: float, v: float) -> Point:
        """Canvas position of a local point."""
        cos, sin = math.cos(self.angle) * self.scale, math.sin(self.angle) * self.scale
        return self.cx + u * cos - v * sin, self.cy + u * sin + v * cos

    def grid(self, window: Window) -> tuple[Floats, Floats]:
        """Local coordinates of a window's pixels, in units of the frame."""
        u, v = window.local(self.cx, self.cy, self.angle)
        return u / self.scale, v / self.scale


@dataclass(frozen=True)
class Light:
    """One lamp: unit vector towards it (x, y, z up) and the share of light from everywhere."""

    x: float
    y: float
    z: float
    ambient: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Light:
        """A lamp from any side, 38 to 62 degrees up."""
        azimuth, up = rng.uniform(0, 2 * math.pi), rng.uniform(0.66, 1.08)
        flat = math.cos(up)
        return cls(
            flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(up), rng.uniform(0.4, 0.6)
        )


@dataclass
class Placed:
    """One object on the canvas, before its visible pixels are counted."""

    ident: int
    part: str
    slot: str | None


@dataclass
class Stage:
    """The picture being painted and, pixel by pixel, whose it is.

    Attributes:
        rgb: (H, W, 3) float64 in [0, 1] (highlights may exceed it until the camera).
        ids: (H, W) int32, 0 = background, else the identifier of the object on top.
    """

    rng: np.random.Generator
    width: int
    height: int
    light: Light = field(init=False)
    rgb: Floats = field(init=False)
    ids: Ints = field(init=False)
    objects: list[Placed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.light = Light.random(self.rng)
        self.rgb = np.full((self.height, self.width, 3), 0.5)
        self.ids = np.zeros((self.height, self.width), dtype=np.int32)

    @property
    def full(self) -> Window:
        """The whole canvas."""
        return Window(0, 0, self.width, self.height)

    def window(self, cx: float, cy: float, reach: float) -> Window:
        """The square of half side `reach` about a point, cut to the canvas (at least 2 x 2)."""
        x0 = min(max(math.floor(cx - reach), 0), self.width - 2)
        y0 = min(max(math.floor(cy - reach), 0), self.height - 2)
        x1 = max(min(math.ceil(cx + reach) + 1, self.width), x0 + 2)
        y1 = max(min(math.ceil(cy + reach) + 1, self.height), y0 + 2)
        return Window(x0, y0, x1, y1)

    def add(self, part: str, slot: str | None = None) -> int:
        """Registers an object and returns its identifier, from 1 on."""
        self.objects.append(Placed(len(self.objects) + 1, part, slot))
        return len(self.objects)

    def mask(self, *idents: int) -> Bools:
        """(H, W) bool: the visible pixels of these objects."""
        return np.isin(self.ids, idents)

    def put(
        self,
        window: Window,
        sdf: Floats,
        albedo: Floats | Colour,
        surface: Floats | None = None,
        *,
        ident: int | None = None,
        gloss: float = 0.15,
        shine: float = 18.0,
        metal: float = 0.0,
        lift: float = 3.0,
        opacity: float | Floats = 1.0,
        crumb: bool = False,
    ) -> None:
        """Paints one body: its shadow on what lies below, then its lit surface.

        Args:
            window: Where, rows x columns = h x w.
            sdf: (h, w) signed distance to its outline, pixels.
            albedo: (h, w, 3) or one colour, in [0, 1].
            surface: (h, w) height in pixels, of which the slope is lit; None is flat.
            ident: Whose pixels these become; None leaves the label map alone.
            gloss: Strength of the highlight.
            shine: Its sharpness.
            metal: Share of mirrored surroundings, in [0, 1].
            lift: Height above what lies below, pixels: length and softness of the shadow.
            opacity: Of the body, in [0, 1].
            crumb: A small thing in a heap: its shadow is read off the signed distance, without a
                blur. The window must reach `1 + lift` pixels beyond the outline.
        """
        alpha = np.clip(0.5 - sdf, 0, 1) * opacity
        if crumb:
            self._cast_crumb(window, sdf, lift)
        elif lift > 0:
            self.cast(window, alpha, lift)
        lit = self.shade(albedo, surface, window.shape, gloss, shine, metal)
        below = self.rgb[window.slices]
        below += (lit - below) * alpha[..., None]
        if ident is not None:
            self.ids[window.slices][sdf < 0] = ident

    def cast(self, window: Window, alpha: Floats, lift: float, strength: float = 0.62) -> None:
        """Darkens the picture by the blurred, shifted shadow of an (h, w) alpha."""
        sigma = 0.7 + 0.33 * lift
        margin = math.ceil(lift * 1.3 + 2.5 * sigma)
        x0, y0 = max(window.x0 - margin, 0), max(window.y0 - margin, 0)
        outer = Window(
            x0, y0, min(window.x1 + margin, self.width), min(window.y1 + margin, self.height)
        )
        rows, columns = window.shape
        padded = np.zeros((rows + 2 * margin, columns + 2 * margin))
        for share, reach in ((0.65, 1.2), (0.35, 0.0)):  # thrown shadow, contact shadow
            dx = margin - round(self.light.x * lift * reach)
            dy = margin - round(self.light.y * lift * reach)
            padded[dy : dy + rows, dx : dx + columns] += share * alpha
        left, top = x0 - (window.x0 - margin), y0 - (window.y0 - margin)
        shadow = ndimage.gaussian_filter(padded, sigma, truncate=2.5)
        height, width = outer.shape
        shadow = shadow[top : top + height, left : left + width]
        self.rgb[outer.slices] *= 1.0 - strength * np.minimum(shadow, 1.0)[..., None]

    def _cast_crumb(self, window: Window, sdf: Floats, lift: float) -> None:
        shadow = np.clip(0.5 - sdf / (2 + 2 * lift), 0, 1)
        dx, dy = -round(self.light.x * lift), -round(self.light.y * lift)
        x0, y0 = max(window.x0 + dx, 0), max(window.y0 + dy, 0)
        x1, y1 = min(window.x1 + dx, self.width), min(window.y1 + dy, self.height)
        if x0 >= x1 or y0 >= y1:
            return
        top, left = y0 - dy - window.y0, x0 - dx - window.x0
        cut = shadow[top : top + y1 - y0, left : left + x1 - x0]
        self.rgb[y0:y1, x0:x1] *= 1.0 - 0.55 * cut[..., None]

    def shade(
        self,
        albedo: Floats | Colour,
        surface: Floats | None,
        shape: tuple[int, int],
        gloss: float,
        shine: float,
        metal: float,
    ) -> Floats:
        """Lambert and a highlight from a height field; (h, w, 3)."""
        base = np.broadcast_to(np.asarray(albedo, dtype=np.float64), (*shape, 3))
        if surface is None:
            return np.array(base)
        sun = self.light
        slope_y, slope_x = np.gradient(surface)
        nz = 1.0 / np.sqrt(slope_x**2 + slope_y**2 + 1.0)
        nx, ny = -slope_x * nz, -slope_y * nz
        facing = np.maximum(nx * sun.x + ny * sun.y + nz * sun.z, 0.0)
        lit = base * (sun.ambient + (1 - sun.ambient) * facing / sun.z)[..., None]
        if metal > 0:
            side = 2 * nz * (nx * sun.x + ny * sun.y)
            across = 2 * nz * (nx * sun.y - ny * sun.x)
            room = 0.62 + 0.42 * np.tanh(2.4 * side) - 0.3 * np.exp(-((across - 0.35) ** 2) / 0.05)
            lit += metal * (base * (room + 0.2)[..., None] - lit)
        if gloss > 0:
            norm = math.sqrt(sun.x**2 + sun.y**2 + (sun.z + 1) ** 2)
            half = (nx * sun.x + ny * sun.y + nz * (sun.z + 1)) / norm
            flat = ((sun.z + 1) / norm) ** shine
            lit += gloss * np.maximum(np.maximum(half, 0) ** shine - 0.7 * flat, 0)[..., None]
        return np.asarray(lit)


def stroke_distance(window: Window, points: Sequence[Point], reach: float) -> Floats:
    """(h, w) distance to a polyline in canvas pixels, exact up to `reach`, larger beyond."""
    distance = np.full(window.shape, reach + 1e3)
    for (ax, ay), (bx, by) in itertools.pairwise(points):
        x0 = max(math.floor(min(ax, bx) - reach), window.x0)
        x1 = min(math.ceil(max(ax, bx) + reach) + 1, window.x1)
        y0 = max(math.floor(min(ay, by) - reach), window.y0)
        y1 = min(math.ceil(max(ay, by) + reach) + 1, window.y1)
        if x0 >= x1 or y0 >= y1:
            continue
        inner = Window(x0, y0, x1, y1)
        u, v = inner.local(0, 0)
        part = capsule(u, v, (ax, ay), (bx, by), 0.0)
        view = distance[y0 - window.y0 : y1 - window.y0, x0 - window.x0 : x1 - window.x0]
        np.minimum(view, part, out=view)
    return distance
