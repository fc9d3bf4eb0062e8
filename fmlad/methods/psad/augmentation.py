"""How labelled images are altered while PSAD's segmenter is trained.

The image, its labels and its coordinates turn together, so that a pixel keeps both its class and
its coordinates. There are no mirrorings: where the place makes the class, a mirrored image shows
the left connector with the class of the right one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageOps

from fmlad.training.augment import Augmentation, Pixels, affine, jitter, warp

Labels = npt.NDArray[np.int32]
Places = npt.NDArray[np.float32]
Colours = Callable[[Pixels, np.random.Generator], Pixels]


def turned(
    pixels: Pixels,
    labels: Labels,
    places: Places,
    degrees: float,
    rng: np.random.Generator,
    shift: float = 0.0,
) -> tuple[Pixels, Labels, Places]:
    """One rotation about the centre, by up to ``degrees`` either way; black and class 0 outside.

    A shift, which follows it, leaves the coordinates where they are: as if the product lay a little
    elsewhere before the camera.

    Args:
        pixels: uint8 ``(H, W, 3)``.
        labels: int32 ``(H, W)``.
        places: Coordinates, float32 ``(2, H, W)``; 0 outside.
        degrees: 0..180.
        rng: Where angle and shift come from.
        shift: Largest shift along each axis, as a share of the side.

    Returns:
        New arrays of the same shapes.
    """
    matrix = Augmentation(degrees=degrees).matrix(pixels.shape[:2], rng)
    moved = np.stack([warp(np.ascontiguousarray(axis), matrix) for axis in places])
    if shift:
        x, y = rng.uniform(-shift, shift, 2) * pixels.shape[1::-1]
        matrix = matrix @ affine(pixels.shape[:2], shift=(x, y))
    return warp(pixels, matrix), warp(labels, matrix), moved


def recoloured(pixels: Pixels, rng: np.random.Generator, chance: float) -> Pixels:
    """uint8 ``(H, W, 3)`` with other colours: each of seven changes with this probability.

    The changes and their strengths are those of PSAD's released code, whose ``chance`` is 0.2; the
    order is fixed.
    """
    for change in CHANGES:
        if rng.random() < chance:
            pixels = change(pixels, rng)
    return pixels


def _grey(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return np.array(ImageOps.grayscale(Image.fromarray(pixels)).convert("RGB"))


def _posterised(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return np.array(ImageOps.posterize(Image.fromarray(pixels), 4))


def _equalised(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return np.array(ImageOps.equalize(Image.fromarray(pixels)))


def _sharpened(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    # A factor of 1 leaves the image as it is, 2 adds once what a smoothing takes away.
    factor = 1 + 2 * rng.uniform(0.2, 0.5)
    return np.array(ImageEnhance.Sharpness(Image.fromarray(pixels)).enhance(factor))


def _lighter(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return jitter(pixels, rng, brightness=0.2, contrast=0.2)


def _solarised(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return np.array(ImageOps.solarize(Image.fromarray(pixels), 128))


def _jittered(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    changed = Image.fromarray(jitter(pixels, rng, 0.2, 0.2, 0.2)).convert("HSV")
    hue, *others = changed.split()
    shift = round(255 * rng.uniform(-0.2, 0.2))
    turned_hue = Image.fromarray((np.asarray(hue).astype(np.int32) + shift).astype(np.uint8))
    return np.array(Image.merge("HSV", [turned_hue, *others]).convert("RGB"))


CHANGES: tuple[Colours, ...] = (
    _grey, _posterised, _equalised, _sharpened, _lighter, _solarised, _jittered,
)  # fmt: skip
