"""Random fields and colours."""

import colorsys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Rng = np.random.Generator


def field(
    rng: Rng, height: int, width: int, scale: float, stretch: float = 1.0
) -> Array:  # (height, width) float32, about N(0, 1)
    """Smooth noise with one value every `scale` pixels down, `scale * stretch` across."""
    rows = max(2, int(height / scale) + 2)
    columns = max(2, int(width / (scale * stretch)) + 2)
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def fractal(
    rng: Rng,
    height: int,
    width: int,
    scale: float,
    octaves: int = 4,
    stretch: float = 1.0,
    fall: float = 0.6,
) -> Array:  # (height, width) float32, standard deviation 1
    """A sum of fields, each of half the scale and `fall` times the weight of the one before."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        finer = max(1.0, scale / 2**octave)
        total += fall**octave * field(rng, height, width, finer, stretch)
    return total / max(1e-6, float(total.std()))


def hsv(hue: float, saturation: float, value: float) -> Array:
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), np.float32)


def colour(
    rng: Rng, saturation: float | None = None, value: float | None = None
) -> Array:  # (3,) float32 in 0..1
    """Any colour; a third are near grey unless the saturation is given."""
    if saturation is None:
        saturation = rng.random() * (0.15 if rng.random() < 0.3 else 1.0)
    return hsv(rng.random(), saturation, rng.uniform(0.12, 1.0) if value is None else value)


def near(rng: Rng, base: Array, spread: float) -> Array:
    """A colour like `base`: lighter or darker, and a little of another tint."""
    shifted = base + rng.normal(0, spread) + rng.normal(0, 0.4 * spread, 3)
    return np.clip(shifted, 0.0, 1.0).astype(np.float32)


def chance(rng: Rng, probability: float) -> bool:
    return bool(rng.random() < probability)


def pick(rng: Rng, names: tuple[str, ...], weights: tuple[float, ...] | None = None) -> str:
    if weights is None:
        return names[int(rng.integers(len(names)))]
    share = np.cumsum(np.asarray(weights, float))
    return names[int(np.searchsorted(share, rng.random() * share[-1], side="right"))]


def log_uniform(rng: Rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(max(low, high)))))
