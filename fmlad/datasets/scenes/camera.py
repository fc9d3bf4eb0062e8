"""The cheap camera that photographs a finished stage."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from fmlad.datasets.scenes.canvas import Stage


def camera(stage: Stage, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Photographs the stage with a cheap camera.

    Uneven light, vignette, exposure, white balance, lens blur, soft colour, a little sharpening,
    shot noise and read noise, then bytes.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    u, v = stage.full.local(stage.width / 2, stage.height / 2)
    u, v = u / stage.width, v / stage.width
    direction, strength = rng.uniform(0, 2 * math.pi), rng.uniform(0.05, 0.4)
    slope = 1.0 + strength * (u * math.cos(direction) + v * math.sin(direction))
    lamp = rng.uniform(-0.4, 0.4, 2)
    pool = np.exp(-((u - lamp[0]) ** 2 + (v - lamp[1]) ** 2) / rng.uniform(0.5, 1.2))
    falloff = slope * (1.0 + rng.uniform(0.0, 0.25) * (pool - 0.7))
    falloff *= 1.0 - rng.uniform(0.05, 0.35) * (u**2 + v**2)
    gain = math.exp(rng.uniform(-0.26, 0.2))
    warmth, tint = rng.uniform(-0.085, 0.085), rng.uniform(-0.03, 0.03)
    balance = np.array([1 + warmth, 1 + tint, 1 - warmth])
    picture = stage.rgb * (gain * balance)
    picture *= falloff[..., None]
    # A film-like shoulder: highlights bend instead of clipping hard.
    bright = picture > 0.8
    picture[bright] = 0.8 + 0.2 * np.tanh((picture[bright] - 0.8) / 0.2)
    np.clip(picture, 0, 1, out=picture)
    contrast, haze = rng.uniform(-0.12, 0.16), rng.uniform(0.0, 0.035)
    picture *= (1 - 0.035) * (1 + contrast - contrast * picture)
    picture += haze
    sigma = rng.uniform(0.5, 0.85)
    picture = ndimage.gaussian_filter(picture, (sigma, sigma, 0), truncate=2.5)
    noise = rng.standard_normal(picture.shape)
    noise *= np.sqrt(0.25 + picture)
    picture += rng.uniform(0.007, 0.016) * noise
    luma = picture.mean(axis=2)
    # Colour is softer than brightness, and brightness is sharpened, as in any small camera.
    picture -= luma[..., None]
    picture = ndimage.uniform_filter(picture, (3, 3, 1))
    picture += (1.35 * luma - 0.35 * ndimage.uniform_filter(luma, 3))[..., None]
    picture *= 255.0
    np.rint(picture, out=picture)
    return np.asarray(np.clip(picture, 0, 255).astype(np.uint8))
