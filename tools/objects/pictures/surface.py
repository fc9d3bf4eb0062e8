"""What a surface looks like: colours, patterns, relief under the lamp."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from tools.objects.pictures.noise import Array, Rng, chance, colour, fractal, near, pick

PATTERNS = (
    "plain", "grain", "mottled", "stripes", "thread", "knurl",
    "spots", "gradient", "bands", "speckle", "brushed",
)  # fmt: skip
RELIEFS = ("flat", "bevel", "round", "dome")


@dataclass(frozen=True)
class Paint:
    """Lengths are in units of half the thing's size; `relief` "print" lies on what is below."""

    colour: Array
    second: Array
    pattern: str = "plain"
    period: float = 0.2
    level: float = 0.3
    turn: float = 0.0
    relief: str = "round"
    metal: float = 0.0
    bands: tuple[float, ...] = ()
    gloss: float = 0.0
    sharp: float = 20.0
    rim: float = 0.0


def paint(rng: Rng, base: Array | None = None, relief: str | None = None) -> Paint:
    """A random paint; one in five is metal."""
    first = colour(rng) if base is None else base
    metal = 0.0
    if base is None and chance(rng, 0.2):
        tint = colour(rng, saturation=rng.random() * 0.25, value=1.0)
        first, metal = tint * rng.uniform(0.45, 0.95), rng.uniform(0.6, 1.0)
    pattern = "plain" if chance(rng, 0.5) else pick(rng, PATTERNS)
    return Paint(
        colour=np.asarray(first, np.float32),
        second=near(rng, first, 0.2) if chance(rng, 0.5) else colour(rng),
        pattern=pick(rng, ("plain", "brushed", "thread", "knurl")) if metal else pattern,
        period=float(np.exp(rng.uniform(np.log(0.05), np.log(0.6)))),
        level=rng.uniform(-0.4, 1.0),
        turn=rng.uniform(0, np.pi) if chance(rng, 0.5) else 0.0,
        relief=relief or pick(rng, RELIEFS, (1.5, 2, 3, 1.5)),
        metal=metal,
        bands=tuple(rng.uniform(0.1, 1.7, 7)),
        gloss=float(rng.random() ** 2 * 0.9),
        sharp=rng.uniform(8, 60),
        rim=rng.uniform(0.2, 0.6) if chance(rng, 0.2) else 0.0,
    )


def metal(rng: Rng, relief: str = "round") -> Paint:
    """Shiny metal: bands of reflected surroundings."""
    base = near(rng, colour(rng, saturation=rng.random() * 0.2, value=rng.uniform(0.4, 0.9)), 0.05)
    return replace(
        paint(rng, base, relief),
        pattern=pick(rng, ("plain", "plain", "brushed")),
        metal=rng.uniform(0.6, 1.0),
        gloss=rng.uniform(0.2, 0.9),
    )


def albedo(paint: Paint, u: Array, v: Array, unit: float, rng: Rng) -> Array:
    """Colours (h, w, 3) at the coordinates u and v; `unit` pixels make one unit."""
    shape = u.shape[0], u.shape[1]
    flat = np.broadcast_to(paint.colour, (*shape, 3))
    kind, period = paint.pattern, max(paint.period, 2.5 / unit)
    if kind in ("plain", "thread", "knurl"):
        return np.array(flat, np.float32)
    if kind == "grain":
        rough = fractal(rng, *shape, max(2.0, period * unit), 3)
        return np.asarray(flat * (1.0 + 0.15 * rough)[..., None])
    along = u * np.cos(paint.turn) + v * np.sin(paint.turn)
    if kind == "brushed":
        lines = np.interp(v, np.linspace(-1, 1, 60), rng.normal(1, 0.12, 60))
        return np.asarray(flat * lines[..., None], np.float32)
    if kind == "gradient":
        share = np.clip(0.5 + 0.5 * along, 0, 1)
    elif kind == "stripes":
        share = np.clip((np.sin(along * 2 * np.pi / period) - paint.level) * 4, 0, 1)
    elif kind == "bands":
        share = (np.abs(along - paint.level * 0.6) < period).astype(np.float32)
    elif kind == "spots":
        across = -u * np.sin(paint.turn) + v * np.cos(paint.turn)
        near_u = (along / period + 0.5) % 1 - 0.5
        near_v = (across / period + 0.5) % 1 - 0.5
        radius = 0.2 + 0.12 * paint.level
        share = np.clip((radius - np.hypot(near_u, near_v)) * period * unit + 0.5, 0, 1)
    else:
        size = max(1.0, (period if kind == "mottled" else 0.03) * unit)
        share = np.clip((fractal(rng, *shape, size, 2) - 0.4 - paint.level) * 3 + 0.5, 0, 1)
    return np.asarray(flat + share[..., None] * (paint.second - flat), np.float32)


def _height(alpha: Array, relief: str, unit: float) -> Array:
    solid = (alpha > 0.5).astype(np.uint8)
    # The window's edge is no edge of the thing.
    away = cv2.distanceTransform(solid, cv2.DIST_L2, 3)
    deepest = max(1.0, float(away.max()))
    width = deepest if relief in ("round", "dome") else min(deepest, max(1.5, 0.13 * unit))
    inward = np.clip(away / width, 0, 1)
    lift = np.sqrt(np.maximum(0.0, 1.0 - (1.0 - inward) ** 2)) * width
    lift *= 0.45 if relief == "dome" else 0.85
    smooth = cv2.GaussianBlur(lift.astype(np.float32), (0, 0), max(0.6, 0.12 * width))
    return np.asarray(smooth, np.float32)


def lighting(
    paint: Paint,
    alpha: Array,
    u: Array,
    v: Array,
    unit: float,
    light: Array,
    ambient: float,
    slopes: tuple[Array, Array] | None = None,
) -> tuple[Array, Array]:  # factor and addition, both (h, w) float32
    """How the lamp changes the colours of a part: pixel = colour * factor + addition.

    `slopes`: the surface's rise along x and y, in place of what the paint's relief makes of it.
    """
    slope_x = slope_y = np.zeros_like(alpha)
    if slopes is not None:
        slope_x, slope_y = slopes
    elif paint.relief != "flat":
        lift = _height(alpha, paint.relief, unit)
        slope_x = cv2.Sobel(lift, cv2.CV_32F, 1, 0, scale=0.125)
        slope_y = cv2.Sobel(lift, cv2.CV_32F, 0, 1, scale=0.125)
    up = 1.0 / np.sqrt(1.0 + slope_x * slope_x + slope_y * slope_y)
    facing = (light[2] - slope_x * light[0] - slope_y * light[1]) * up
    lit = np.maximum(facing, 0.0)
    factor = ambient + (1.0 - ambient) * lit / max(0.35, float(light[2]))
    if paint.metal > 0.0:
        # Surroundings seen in the metal: bright and dark bands over the normal's tilt.
        tilt = np.clip((slope_y * 0.8 + slope_x * 0.6) * up, -1, 1)
        mirror = np.interp(tilt, np.linspace(-1, 1, len(paint.bands)), paint.bands)
        factor = (1 - paint.metal) * factor + paint.metal * mirror
    if paint.pattern in ("thread", "knurl"):
        wave = 2 * np.pi / max(min(paint.period, 0.12), 3.0 / unit)
        ridges = np.sin((u + 0.15 * v) * wave)
        if paint.pattern == "knurl":
            ridges = 0.5 * (ridges + np.sin((v + 0.4 * u) * wave))
        factor = factor * (1.0 + 0.45 * ridges)
    if paint.rim > 0.0:
        away = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
        factor = factor * (1.0 - paint.rim * np.exp(-away / 1.8))
    glow = np.zeros_like(alpha)
    if paint.gloss > 0.08 and paint.relief != "flat":
        glow = paint.gloss * np.clip(facing, 0, 1) ** paint.sharp
    return np.asarray(np.clip(factor, 0, 2.2), np.float32), np.asarray(glow, np.float32)
