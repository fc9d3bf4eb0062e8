"""Damaged and rearranged copies of normal images, to test detectors without an anomaly (ours).

Functions on uint8 ``(H, W, 3)`` pixels and bool ``(H, W)`` masks; all chance comes from the
generator. They imitate what happens to products, not the look of any data set: a scratch, a stain,
a part that is missing, one too many, in another place or of another colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Pixels = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]

Damage = Literal["scratch", "stain"]
Rearrangement = Literal["missing", "extra", "misplaced", "recoloured"]
DAMAGES: tuple[Damage, ...] = get_args(Damage)
REARRANGEMENTS: tuple[Rearrangement, ...] = get_args(Rearrangement)

SCRATCH_LENGTH, SCRATCH_WIDTH = 0.12, 0.006  # of the longer side
STAIN = 0.05  # of the longer side: its diameter
CONTRAST = 60.0  # grey levels between damage and what is under it
TINT = 45.0  # degrees of hue at least by which a part is recoloured
MARGIN = 0.008  # of the longer side: around a part, so that its shadow goes with it
TRIES = 120


@dataclass(frozen=True)
class Copy:
    """A changed copy of an image.

    Attributes:
        kind: What was done.
        pixels: uint8 ``(H, W, 3)``.
        changed: bool ``(H, W)``: where.
    """

    kind: Damage | Rearrangement
    pixels: Pixels
    changed: Bools


def damaged(kind: Damage, pixels: Pixels, product: Bools, rng: np.random.Generator) -> Copy:
    """A scratch or a stain somewhere on the product.

    Args:
        kind: Which.
        pixels: The image.
        product: Where it may begin; everywhere if empty.
        rng: All chance.
    """
    height, width = pixels.shape[:2]
    longer = max(height, width)
    places = np.argwhere(product if product.any() else np.ones((height, width), bool))
    y, x = places[rng.integers(len(places))]
    canvas = Image.new("L", (width, height))
    brush = ImageDraw.Draw(canvas)
    if kind == "scratch":
        angle, bend = rng.uniform(0, 2 * math.pi), rng.uniform(-0.6, 0.6)
        step = SCRATCH_LENGTH * longer / 8
        points = [(float(x), float(y))]
        for _ in range(8):
            angle += bend / 8
            last = points[-1]
            points.append((last[0] + step * math.cos(angle), last[1] + step * math.sin(angle)))
        brush.line(points, fill=255, width=max(2, round(SCRATCH_WIDTH * longer)), joint="curve")
        soft = canvas.filter(ImageFilter.GaussianBlur(0.6))
    else:
        across = STAIN * longer / 2 * math.sqrt(rng.uniform(0.6, 1.6))
        down = (STAIN * longer / 2) ** 2 / across
        brush.ellipse((x - across, y - down, x + across, y + down), fill=255)
        soft = canvas.filter(ImageFilter.GaussianBlur(0.08 * STAIN * longer + 0.5))
    alpha = np.asarray(soft, np.float32)[..., None] / 255
    under = pixels[alpha[..., 0] > 0.5].mean(axis=0) if (alpha > 0.5).any() else pixels[y, x]
    # Away from what is under it, so that it can be seen at all.
    lighter = under.mean() < 128 if kind == "scratch" else under.mean() < 90
    colour = under + CONTRAST * (1 if lighter else -1)
    if kind == "stain":
        colour = colour + rng.normal(0, 20, 3)
    strength = 0.85 if kind == "scratch" else 0.75
    mixed = pixels + strength * alpha * (colour - pixels)
    return Copy(kind, _as_pixels(mixed), alpha[..., 0] > 0.1)


def rearranged(
    kind: Rearrangement,
    pixels: Pixels,
    parts: Sequence[Bools],
    index: int,
    rng: np.random.Generator,
) -> Copy | None:
    """One part missing, twice there, elsewhere, or of another colour.

    Args:
        kind: Which.
        pixels: The image.
        parts: bool ``(H, W)`` each: all parts, none holding another.
        index: Which of them.
        rng: All chance.

    Returns:
        The copy; None where there is no free place for what is to be put down.
    """
    part = parts[index]
    if kind == "recoloured":
        return Copy(kind, _recoloured(pixels, part, rng), part)
    others = np.logical_or.reduce([one for row, one in enumerate(parts) if row != index] or [part])
    taken = grown(others | part, pixels)
    without = erased(pixels, grown(part, pixels), taken, rng)
    if kind == "missing":
        return Copy(kind, without, part)
    offset = _free_place(part, taken, parts, rng)
    if offset is None:
        return None
    ground = pixels if kind == "extra" else without
    there = shifted(part, offset)
    result = ground.astype(np.float32)
    soft = _soft(there)[..., None]
    result += soft * (shifted(pixels, offset) - result)
    changed = there if kind == "extra" else there | part
    return Copy(kind, _as_pixels(result), changed)


def grown(mask: Bools, pixels: Pixels) -> Bools:
    """A mask with a margin, in which its shadow and its outline lie."""
    size = 2 * math.ceil(MARGIN * max(pixels.shape[:2])) + 1
    return np.asarray(Image.fromarray(mask).convert("L").filter(ImageFilter.MaxFilter(size))) > 0


def erased(pixels: Pixels, hole: Bools, taken: Bools, rng: np.random.Generator) -> Pixels:
    """A hole filled with ground from elsewhere, matched to its rim; smoothly where there is none.

    Args:
        pixels: The image.
        hole: bool ``(H, W)``, to be filled.
        taken: bool ``(H, W)``, what is no ground, the hole included.
        rng: Which places are tried.
    """
    rows, columns = np.nonzero(hole)
    low, high = (rows.min(), columns.min()), (rows.max() + 1, columns.max() + 1)
    size = np.subtract(high, low)
    around = math.ceil(MARGIN * max(hole.shape)) + 1
    window = tuple(slice(max(0, a - around), b + around) for a, b in zip(low, high, strict=True))
    known = ~hole[window]
    rim = grown(hole, pixels)[window] & known
    best, source = math.inf, None
    for _ in range(TRIES):
        offset = np.round(rng.uniform(-3, 3, 2) * np.maximum(size, 8)).astype(int)
        moved_rows, moved_columns = rows - offset[0], columns - offset[1]
        if min(moved_rows.min(), moved_columns.min()) < 0:
            continue
        if moved_rows.max() >= hole.shape[0] or moved_columns.max() >= hole.shape[1]:
            continue
        if taken[moved_rows, moved_columns].any():
            continue
        there = shifted(pixels, (int(offset[0]), int(offset[1])))
        source_pixels = there[window].astype(np.float32)
        # Alike at the rim, and even: what lay on the part's ground would be no ground.
        gap = np.abs(source_pixels - pixels[window])[rim].mean()
        gap += source_pixels[~known].std(axis=0).mean()
        if gap < best:
            best, source = gap, there
    patch = pixels[window].astype(np.float32)
    ground = np.zeros_like(patch) if source is None else source[window].astype(np.float32)
    # The difference at the rim, carried into the hole, hides the seam.
    patch = np.where(known[..., None], patch, ground + _filled(patch - ground, rim))
    result = pixels.copy()
    result[window] = _as_pixels(patch)
    return result


def shifted(array: npt.NDArray, offset: tuple[int, int]) -> npt.NDArray:  # type: ignore[type-arg]
    """Moved down and to the right by ``offset``; what comes in from outside is 0."""
    result = np.zeros_like(array)
    target, source = [], []
    for wanted, length in zip(offset, array.shape[:2], strict=True):
        distance = max(-length, min(length, wanted))
        target.append(slice(max(0, distance), length + min(0, distance)))
        source.append(slice(max(0, -distance), length - max(0, distance)))
    result[tuple(target)] = array[tuple(source)]
    return result


def _free_place(
    part: Bools, taken: Bools, parts: Sequence[Bools], rng: np.random.Generator
) -> tuple[int, int] | None:
    """An offset to where nothing lies, within the box around all parts."""
    around = np.argwhere(np.logical_or.reduce(list(parts)))
    low, high = around.min(axis=0), around.max(axis=0) + 1
    own = np.argwhere(part)
    first, last = own.min(axis=0), own.max(axis=0) + 1
    for _ in range(TRIES):
        span = np.maximum(high - low - (last - first), 0)
        offset = low + (rng.uniform(0, 1, 2) * (span + 1)).astype(int) - first
        if (np.abs(offset) < (last - first)).all():
            continue  # it would hardly have moved
        moved = own + offset
        if not taken[moved[:, 0], moved[:, 1]].any():
            return int(offset[0]), int(offset[1])
    return None


def _recoloured(pixels: Pixels, part: Bools, rng: np.random.Generator) -> Pixels:
    """Another hue, at least ``TINT`` degrees away, and colour where there is hardly any."""
    hsv = np.asarray(Image.fromarray(pixels).convert("HSV")).astype(np.float32)
    turn = rng.uniform(TINT, 360 - TINT) / 360 * 256
    hsv[..., 0] = (hsv[..., 0] + turn) % 256
    hsv[..., 1] = np.maximum(hsv[..., 1], 110)
    changed = Image.fromarray(hsv.astype(np.uint8), "HSV").convert("RGB")
    soft = _soft(part)[..., None]
    return _as_pixels(pixels + soft * (np.asarray(changed, np.float32) - pixels))


def _filled(values: Floats, known: Bools) -> Floats:
    """Unknown places filled smoothly from known ones, coarse to fine (pull-push)."""
    if known.all() or min(known.shape) < 2 or not known.any():
        mean = values[known].mean(axis=0) if known.any() else np.zeros(values.shape[-1])
        return np.where(known[..., None], values, mean).astype(np.float32)
    height, width = known.shape
    padded = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    weights = np.pad(known.astype(np.float32), ((0, height % 2), (0, width % 2)))
    shape = (padded.shape[0] // 2, 2, padded.shape[1] // 2, 2)
    total = weights.reshape(shape).sum(axis=(1, 3))
    sums = (padded * weights[..., None]).reshape(*shape, -1).sum(axis=(1, 3))
    coarse = _filled(sums / np.maximum(total, 1)[..., None], total > 0)
    channels = [
        np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.BILINEAR))
        for one in np.moveaxis(coarse, -1, 0)
    ]
    return np.where(known[..., None], values, np.stack(channels, axis=-1)).astype(np.float32)


def _soft(mask: Bools) -> Floats:
    blurred = Image.fromarray(mask).convert("L").filter(ImageFilter.GaussianBlur(1.0))
    return np.asarray(blurred, np.float32) / np.float32(255)


def _as_pixels(values: npt.NDArray[np.number]) -> Pixels:
    return values.clip(0, 255).round().astype(np.uint8)
