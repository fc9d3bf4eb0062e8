"""The picture while it is drawn: pixels, the truth in three layers, one lamp and its shadows."""

from dataclasses import dataclass

import cv2
import numpy as np

from tools.objects.pictures.noise import Array, Rng, chance

SIDE = 320
DEPTHS = 3
MOST = 250  # instances in one picture
SMALLEST = 25  # visible pixels that make an instance
_FRACTION = 4  # bits of a pixel that cv2 is told of


@dataclass(frozen=True)
class Window:
    """Pixels x0 <= x < x1, y0 <= y < y1 of the canvas."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


def window_of(points: Array, margin: float = 1.5) -> Window | None:
    """The part of the canvas that holds the points (k, 2); None where it is below 3 pixels."""
    low, high = points.min(0) - margin, points.max(0) + margin
    x0, y0 = max(0, int(low[0])), max(0, int(low[1]))
    x1, y1 = min(SIDE, int(high[0]) + 1), min(SIDE, int(high[1]) + 1)
    return Window(x0, y0, x1, y1) if x1 - x0 > 2 and y1 - y0 > 2 else None


def _fixed(points: Array, window: Window) -> Array:
    # A pixel's centre is at + 0.5 here and at whole numbers for cv2.
    moved = (np.asarray(points) - (window.x0 + 0.5, window.y0 + 0.5)) * 2**_FRACTION
    return np.asarray(np.round(np.clip(moved, -30000, 30000)), np.int32)


def fill(outlines: list[Array], window: Window) -> Array:  # (height, width) float32 in 0..1
    """Closed outlines (k, 2), even-odd: an outline inside another is a hole."""
    mask = np.zeros((window.height, window.width), np.uint8)
    cv2.fillPoly(mask, [_fixed(o, window) for o in outlines], 255, cv2.LINE_AA, _FRACTION)
    return mask.astype(np.float32) / 255.0


def stroke(
    lines: list[Array], window: Window, width: float, closed: bool = False
) -> Array:  # (height, width) float32 in 0..1
    """Lines (k, 2) of a width in pixels; below one pixel they fade instead."""
    mask = np.zeros((window.height, window.width), np.uint8)
    fixed = [_fixed(line, window) for line in lines]
    thick = max(1, round(width))
    cv2.polylines(mask, fixed, closed, 255, thick, cv2.LINE_AA, _FRACTION)
    return mask.astype(np.float32) * (min(1.0, max(width, 0.3)) / 255.0)


class Canvas:
    """`pixels` (SIDE, SIDE, 3) float32 in about 0..1.2; `layers` (DEPTHS, SIDE, SIDE) uint8."""

    def __init__(self, rng: Rng, pixels: Array) -> None:
        self.rng = rng
        self.pixels = pixels
        self.layers = np.zeros((DEPTHS, SIDE, SIDE), np.uint8)
        self.count = 0
        self.holders: set[int] = set()
        self.flat: set[int] = set()  # cards and the like: holders once something lies on them
        self.stuff: set[int] = set()
        self.areas: dict[int, int] = {}
        self.parents: dict[int, int] = {}
        turn, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 1.35)
        across = np.cos(height)
        self.light = np.array(
            [across * np.cos(turn), across * np.sin(turn), np.sin(height)], np.float32
        )
        self.ambient = rng.uniform(0.25, 0.65)
        self.dark = rng.uniform(0.15, 0.75) if chance(rng, 0.8) else 0.0
        self.soft = rng.uniform(0.5, 5.0)
        self.reach = rng.uniform(0.0, 0.14)

    @property
    def full(self) -> bool:
        return self.count >= MOST

    def shadow(self, alpha: Array, window: Window, height: float) -> None:
        """Darken the ground beside a thing of a height in pixels."""
        if self.dark <= 0.0 or height <= 0.0:
            return
        soft = max(0.5, self.soft * min(1.0, height / 30.0))
        dx, dy = (-self.light[:2] * self.reach * height).round().astype(int)
        pad = int(2.5 * soft) + 2
        wide = cv2.copyMakeBorder(alpha, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0.0)
        wide = cv2.GaussianBlur(wide, (0, 0), soft)
        left, top = window.x0 - pad + dx, window.y0 - pad + dy
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(SIDE, left + wide.shape[1]), min(SIDE, top + wide.shape[0])
        if x1 <= x0 or y1 <= y0:
            return
        part = wide[y0 - top : y1 - top, x0 - left : x1 - left]
        self.pixels[y0:y1, x0:x1] *= (1.0 - self.dark * part)[..., None]

    def _room(self, owner: int) -> float:
        """How many times the area of a thing its owner must have for the thing to lie on it."""
        return 1.25 if owner in self.holders or owner in self.flat else 4.0

    def _depth(self, inside: Array, window: Window, area: int) -> tuple[int, int]:
        """Depth and parent of a new instance: it lies in what holds nearly all of it."""
        parent = 0
        for depth in range(DEPTHS):
            below = np.bincount(self.layers[depth][window.slices][inside], minlength=256)
            below[0] = 0
            owner = int(below.argmax())
            roomy = self.areas.get(owner, 0) > self._room(owner) * area
            if below[owner] < 0.95 * area or owner in self.stuff or not roomy:
                return depth, parent
            parent = owner
        return DEPTHS, parent

    def add(
        self,
        colours: Array,  # (height, width, 3)
        alpha: Array,  # (height, width) in 0..1
        filled: Array,  # (height, width) in 0..1: the silhouette without its holes
        window: Window,
        *,
        height: float = 0.0,
        holder: bool = False,
        flat: bool = False,
        stuff: bool = False,
        depth: int | None = None,
    ) -> int:  # the instance's number, 0 where nothing was drawn
        """Draw one instance over what is there and write its truth.

        `height` in pixels throws a shadow. The depth follows from what lies below, unless given.
        """
        inside = filled > 0.5
        area = int(inside.sum())
        if self.full or area < SMALLEST:
            return 0
        found, parent = self._depth(inside, window, area)
        if depth is not None and depth < found:
            found = depth
            parent = 0
        if found == DEPTHS:
            return 0
        if found:
            outer = self.layers[found - 1][window.slices]
            inside = inside & ((outer == parent) if parent else (outer > 0))
        self.shadow(alpha, window, height)
        self._blend(colours, alpha, window, inside)
        self.count += 1
        self.layers[found][window.slices][inside] = self.count
        self.layers[found + 1 :, window.y0 : window.y1, window.x0 : window.x1][:, inside] = 0
        self.areas[self.count] = area
        if parent:
            self.parents[self.count] = parent
        if holder:
            self.holders.add(self.count)
        if flat:
            self.flat.add(self.count)
        if stuff:
            self.stuff.add(self.count)
        return self.count

    def _blend(self, colours: Array, alpha: Array, window: Window, inside: Array) -> None:
        """Mix, and keep what would be invisible visible."""
        below = self.pixels[window.slices]
        mixed = below + alpha[..., None] * (colours - below)
        if inside.any():
            change = float(np.abs(mixed - below)[inside].mean())
            if change < 0.05:
                away = 0.12 if float(below[inside].mean()) < 0.5 else -0.12
                mixed = mixed + alpha[..., None] * away
        self.pixels[window.slices] = mixed

    def mask(self, number: int) -> Array:  # (SIDE, SIDE) bool
        return np.asarray((self.layers == number).any(0))

    def finish(self) -> None:
        """Take out instances of which too little is left; what something lies on is a holder."""
        seen: set[int] = set()
        for depth in range(DEPTHS):
            left = np.bincount(self.layers[depth].ravel(), minlength=256)
            gone = (left > 0) & (left < SMALLEST)
            gone[0] = False
            if gone.any():
                self.layers[depth:, gone[self.layers[depth]]] = 0
            seen |= set((np.flatnonzero(left >= SMALLEST)).tolist()) - {0}
        self.holders |= {parent for child, parent in self.parents.items() if child in seen}
        self.holders &= seen
        self.stuff &= seen
