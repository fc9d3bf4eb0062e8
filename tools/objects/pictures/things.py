"""A thing: painted parts in its own coordinates, drawn as one instance."""

from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

from tools.objects.pictures.canvas import Canvas, Window, fill, stroke, window_of
from tools.objects.pictures.noise import Array, near
from tools.objects.pictures.surface import Paint, albedo, lighting


@dataclass(frozen=True)
class Part:
    """Even-odd outlines, or lines of a `width`; `printed` takes the relief of what is below.

    `spine`: (2, 3) x, y and half width at both ends of a turned body, shaded as a cone.
    """

    outlines: tuple[Array, ...]
    paint: Paint
    width: float = 0.0
    printed: bool = False
    spine: Array | None = None


@dataclass(frozen=True)
class Thing:
    """Parts in units of half the size; `squeeze` is the height over the width as it is seen."""

    parts: tuple[Part, ...]
    squeeze: float = 1.0
    opacity: float = 1.0
    holder: bool = False
    flat: bool = False
    upright: bool = False

    @cached_property
    def slim(self) -> float:
        """Half the width across its own x axis, in units of half the size."""
        widths = [np.abs(o[:, 1]).max() for part in self.parts for o in part.outlines]
        return float(max(widths)) * self.squeeze

    def recoloured(self, colours: list[Array]) -> "Thing":
        """The same thing in other colours, one for each part in turn."""
        parts = []
        for index, part in enumerate(self.parts):
            new = replace(part.paint, colour=colours[index % len(colours)])
            parts.append(replace(part, paint=new))
        return replace(self, parts=tuple(parts))


def fitted(parts: list[Part], **options: float) -> Thing:
    """A thing of the parts, moved and scaled into one unit about the origin."""
    points = np.concatenate([o for part in parts for o in part.outlines])
    middle = 0.5 * (points.min(0) + points.max(0))
    scale = 1.0 / max(1e-6, float(np.hypot(*(points - middle).T).max()))
    moved = []
    for part in parts:
        outlines = tuple((o - middle) * scale for o in part.outlines)
        spine = part.spine
        if spine is not None:
            spine = (spine - (middle[0], middle[1], 0.0)) * scale
        moved.append(replace(part, outlines=outlines, width=part.width * scale, spine=spine))
    return Thing(tuple(moved), **options)  # type: ignore[arg-type]


def _raster(part: Part, placed: list[Array], window: Window, unit: float) -> tuple[Array, Array]:
    """Coverage, and coverage with the holes filled."""
    if part.width > 0.0:
        alpha = stroke(placed, window, part.width * unit)
        return alpha, alpha
    alpha = fill(placed, window)
    if len(placed) == 1 or part.printed:
        return alpha, alpha
    whole = alpha
    for outline in placed:
        whole = np.maximum(whole, fill([outline], window))
    return alpha, whole


def _across(spine: Array, u: Array, v: Array) -> Array:
    """The fall of a cone's surface away from its spine, with the sign of v."""
    share = np.clip((u - spine[0, 0]) / (spine[1, 0] - spine[0, 0] + 1e-6), 0, 1)
    middle, half = (spine[0, i] + share * (spine[1, i] - spine[0, i]) for i in (1, 2))
    offset = np.clip((v - middle) / np.maximum(half, 1e-3), -0.97, 0.97)
    return np.asarray(-offset / np.sqrt(1 - offset * offset), np.float32)


def draw(
    canvas: Canvas,
    thing: Thing,
    x: float,
    y: float,
    size: float,
    turn: float | None = None,
    height: float | None = None,
    depth: int | None = None,
) -> int:
    """Draw a thing of a size in pixels at a place; returns its number, 0 where it has none."""
    rng, unit = canvas.rng, 0.5 * size
    if turn is None:
        turn = rng.normal(0, 0.1) if thing.upright else rng.uniform(0, 2 * np.pi)
    cos, sin = np.cos(turn), np.sin(turn)
    forward = unit * np.array([[cos, -sin * thing.squeeze], [sin, cos * thing.squeeze]])
    placed = [[o @ forward.T + (x, y) for o in part.outlines] for part in thing.parts]
    widest = max(part.width for part in thing.parts) * unit
    window = window_of(np.concatenate([o for group in placed for o in group]), 1.5 + widest)
    if window is None or canvas.full:
        return 0
    shape = (window.height, window.width)
    at_y, at_x = np.mgrid[window.y0 : window.y1, window.x0 : window.x1].astype(np.float32)
    back = np.linalg.inv(forward)
    at_x, at_y = at_x + np.float32(0.5 - x), at_y + np.float32(0.5 - y)
    u = np.float32(back[0, 0]) * at_x + np.float32(back[0, 1]) * at_y
    v = np.float32(back[1, 0]) * at_x + np.float32(back[1, 1]) * at_y
    colours = np.zeros((*shape, 3), np.float32)
    factor, glow = np.ones(shape, np.float32), np.zeros(shape, np.float32)
    alpha, filled = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for part, outlines in zip(thing.parts, placed, strict=True):
        cover, whole = _raster(part, outlines, window, unit)
        own = replace(part.paint, colour=near(rng, part.paint.colour, 0.02))
        tint = albedo(own, u, v, unit, rng)
        if part.printed:
            cover = cover * (alpha > 0.3)
        else:
            slopes = None
            if part.spine is not None:
                across = _across(part.spine, u, v)
                slopes = (-sin * across, cos * across)
            lit, shine = lighting(own, cover, u, v, unit, canvas.light, canvas.ambient, slopes)
            factor += cover * (lit - factor)
            glow += cover * (shine - glow)
            filled = np.maximum(filled, whole)
        # What is below a part's soft edge counts only where there is something.
        share = cover / np.maximum(1e-4, cover + alpha * (1 - cover))
        colours += share[..., None] * (tint - colours)
        if not part.printed:
            alpha = cover + alpha * (1 - cover)
    colours = np.clip(colours * factor[..., None] + glow[..., None], 0, 1.25)
    if height is None:
        height = 0.5 * min(size, 90.0)
    return canvas.add(
        colours,
        alpha * np.float32(thing.opacity),
        filled,
        window,
        height=height,
        holder=thing.holder,
        flat=thing.flat,
        depth=depth,
    )


def blur(mask: Array, sigma: float) -> Array:
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma))
