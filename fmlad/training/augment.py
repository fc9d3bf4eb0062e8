"""Altered copies of an image and its labels, for training. Every draw is of the caller's generator.

All geometry is one affine map: pixels and labels go through the same matrix, pixels interpolated,
labels by nearest neighbour, so that no label arises that was not there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Augmentation:
    """How much an image may be altered; by default, not at all.

    PSAD has ``degrees=20``, or 180 where objects lie in any direction; CSAD ``degrees=2,
    shift=0.01, zoom=0.01, brightness=0.05, contrast=0.05, chance=0.5`` (released codes).

    Attributes:
        mirror: Mirrored left to right, in half of all draws.
        flip: Mirrored top to bottom, in half of all draws.
        turns: By a right angle, all four as likely; an oblong image by 0 or 180 degrees alone.
        degrees: Largest rotation about the centre, either way.
        shift: Largest shift along each axis, as a share of that side.
        zoom: Largest change of size, as a share.
        crop: Smallest share of the area that is cut out and enlarged to the whole; 1 is no crop.
        brightness: Largest change of the factor 1; so for ``contrast`` and ``saturation``.
        chance: Probability of rotation, shift and zoom together, and again of the colours.
    """

    mirror: bool = False
    flip: bool = False
    turns: bool = False
    degrees: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    crop: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    chance: float = 1.0

    def __call__(
        self, pixels: Pixels, labels: npt.NDArray[np.integer[Any]], rng: np.random.Generator
    ) -> tuple[Pixels, Labels]:
        """Draws once and alters both alike; what comes in from outside is black and class 0.

        Args:
            pixels: uint8 ``(H, W, 3)``.
            labels: Integer ``(H, W)``, 0 to 2^31 - 1.
            rng: Where the draws come from.

        Returns:
            uint8 ``(H, W, 3)`` and int32 ``(H, W)``, new arrays.
        """
        matrix = self.matrix(pixels.shape[:2], rng)
        moved = warp(pixels, matrix)
        if rng.random() < self.chance:
            moved = jitter(moved, rng, self.brightness, self.contrast, self.saturation)
        return moved, warp(labels.astype(np.int32), matrix)

    def matrix(self, size: tuple[int, ...], rng: np.random.Generator) -> Matrix:
        """Draws an affine map for :func:`warp`, of images of ``(height, width)``."""
        height, width = size
        matrix = np.eye(3)
        if self.crop < 1:
            side = math.sqrt(rng.uniform(self.crop, 1))
            # Shifts of the centre that keep the cut inside.
            x, y = rng.uniform(-0.5, 0.5, 2) * (1 - side) * (width, height)
            matrix = affine(size, shift=(-x / side, -y / side), zoom=1 / side)
        if rng.random() < self.chance:
            degrees = rng.uniform(-self.degrees, self.degrees)
            x, y = rng.uniform(-self.shift, self.shift, 2) * (width, height)
            zoom = rng.uniform(1 - self.zoom, 1 + self.zoom)
            matrix = affine(size, degrees, (x, y), zoom) @ matrix
        if self.turns:
            degrees = 90.0 * rng.integers(4) if height == width else 180.0 * rng.integers(2)
            matrix = affine(size, degrees) @ matrix
        mirror, flip = (asked and rng.random() < 0.5 for asked in (self.mirror, self.flip))
        flips = [[1 - 2 * mirror, 0, mirror * width], [0, 1 - 2 * flip, flip * height], [0, 0, 1]]
        return np.asarray(flips @ matrix)


def affine(
    size: tuple[int, ...],
    degrees: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
    zoom: float = 1.0,
) -> Matrix:
    """A rotation and enlargement about the centre, then a shift, as :func:`warp` takes it.

    Args:
        size: ``(height, width)`` of the image.
        degrees: Anticlockwise, as one looks at the image.
        shift: To the right and down, in pixels.
        zoom: Factor of the size.

    Returns:
        ``(3, 3)`` from a point ``(x, y, 1)`` of the outcome to the original, in pixels from the
        upper left corner.
    """
    x, y = size[1] / 2, size[0] / 2
    cos, sin = math.cos(math.radians(degrees)) / zoom, math.sin(math.radians(degrees)) / zoom
    dx, dy = x + shift[0], y + shift[1]
    return np.array(
        [[cos, -sin, x - cos * dx + sin * dy], [sin, cos, y - sin * dx - cos * dy], [0, 0, 1]]
    )


def warp(image: npt.NDArray[Any], matrix: Matrix) -> npt.NDArray[Any]:
    """An image through an affine map, of the same size and dtype; 0 where nothing came from.

    Args:
        image: uint8 ``(H, W, 3)`` or float32 ``(H, W)``, interpolated bilinearly; int32 or bool
            ``(H, W)``, by nearest neighbour.
        matrix: ``(3, 3)``, from the outcome to the original, as of :func:`affine`.
    """
    smooth = image.dtype in (np.uint8, np.float32)
    way = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    # Rounded, so that right angles are exact: PIL cuts off where it interpolates.
    coefficients = tuple(float(value) for value in matrix[:2].ravel().round(12))
    source = Image.fromarray(image.astype(np.int32) if image.dtype == np.bool_ else image)
    moved = source.transform(source.size, Image.Transform.AFFINE, coefficients, way)
    return np.array(moved).astype(image.dtype, copy=False)


def jitter(
    pixels: Pixels,
    rng: np.random.Generator,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
) -> Pixels:
    """Other colours, uint8 ``(H, W, 3)``: factors drawn evenly from 1 - amount to 1 + amount.

    They scale all values (brightness), their distance to the mean grey of the image (contrast) and
    that to their own grey (saturation). Amounts are in 0..1.
    """
    image = Image.fromarray(pixels)
    for amount, enhance in (
        (brightness, ImageEnhance.Brightness),
        (contrast, ImageEnhance.Contrast),
        (saturation, ImageEnhance.Color),
    ):
        factor = rng.uniform(1 - amount, 1 + amount)
        image = enhance(image).enhance(factor) if amount else image
    return np.array(image)
