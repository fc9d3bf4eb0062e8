"""Altered copies of a shot. Pure functions on uint8 ``(H, W, 3)`` pixels."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Pixels = npt.NDArray[np.uint8]
Symmetry = Literal["none", "flips", "rotations", "all"]
SYMMETRIES = ("none", "flips", "rotations", "all")


def symmetric_copies(pixels: Pixels, symmetry: Symmetry) -> list[tuple[str, Pixels]]:
    """Mirrored and turned copies, for products that may lie in any of these ways.

    Args:
        pixels: uint8 ``(H, W, 3)``.
        symmetry: ``"flips"`` (two mirror images), ``"rotations"`` (three quarter turns), ``"all"``
            (the other seven of the eight symmetries of a rectangle) or ``"none"``.

    Returns:
        ``(what was done, pixels)`` without the original.
    """
    copies = {
        "mirrored": pixels[:, ::-1],
        "upside down": pixels[::-1],
        "turned by 90": np.rot90(pixels, 1),
        "turned by 180": np.rot90(pixels, 2),
        "turned by 270": np.rot90(pixels, 3),
        "mirrored, turned by 90": np.rot90(pixels[:, ::-1], 1),
        "mirrored, turned by 270": np.rot90(pixels[:, ::-1], 3),
    }
    wanted = {
        "none": (),
        "flips": ("mirrored", "upside down"),
        "rotations": ("turned by 90", "turned by 180", "turned by 270"),
        "all": tuple(copies),
    }[symmetry]
    return [(name, np.ascontiguousarray(copies[name])) for name in wanted]


def gentle_copies(pixels: Pixels) -> list[tuple[str, Pixels]]:
    """Copies with small shifts, turns, zooms, exposure changes, blur and noise, deterministic.

    They stand for further photographs of the same object where there is only one shot.
    """
    moves = (
        # shift x, shift y (shares of the longer side), turn in degrees, zoom, exposure
        (0.006, -0.004, 0.6, 1.00, 1.04),
        (-0.005, 0.006, -0.8, 1.01, 0.96),
        (0.004, 0.005, 1.0, 0.99, 1.02),
        (-0.006, -0.005, -0.4, 1.00, 0.98),
    )
    copies = []
    for number, (x, y, degrees, zoom, exposure) in enumerate(moves, start=1):
        moved = _move(pixels, x, y, degrees, zoom)
        if number % 2:
            moved = moved.filter(ImageFilter.GaussianBlur(0.6))
        noise = np.random.default_rng(number).normal(0, 1.5, pixels.shape).astype(np.float32)
        changed = np.asarray(moved, dtype=np.float32) * exposure + noise
        copies.append((f"gently altered {number}", changed.clip(0, 255).round().astype(np.uint8)))
    return copies


def _move(pixels: Pixels, x: float, y: float, degrees: float, zoom: float) -> Image.Image:
    """Similarity transform about the centre; what comes in from outside repeats the border."""
    height, width = pixels.shape[:2]
    longer = max(height, width)
    margin = math.ceil(0.05 * longer)
    padded = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    cos = math.cos(math.radians(degrees)) / zoom
    sin = math.sin(math.radians(degrees)) / zoom
    cx, cy = (width - 1) / 2, (height - 1) / 2
    # PIL asks where each output pixel comes from.
    dx, dy = cx + x * longer + margin, cy + y * longer + margin
    matrix = (cos, sin, dx - cos * cx - sin * cy, -sin, cos, dy + sin * cx - cos * cy)
    return Image.fromarray(padded).transform(
        (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
