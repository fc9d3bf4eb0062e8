"""From the scene's light to stored pixels: exposure, tint, blur, few pixels, noise, JPEG."""

import cv2
import numpy as np

from tools.objects.pictures.canvas import SIDE
from tools.objects.pictures.noise import Array, Rng, chance


def photograph(rng: Rng, pixels: Array) -> Array:  # (SIDE, SIDE, 3) uint8
    y, x = np.meshgrid(*[np.linspace(-0.5, 0.5, SIDE, dtype=np.float32)] * 2, indexing="ij")
    low = chance(rng, 0.1) and float(pixels.mean()) > 0.2
    gain = np.full(3, rng.uniform(0.3, 0.6) if low else rng.uniform(0.7, 1.25))
    if chance(rng, 0.6):
        gain = gain * np.clip(rng.normal(1, 0.07, 3), 0.7, 1.3)
    lamp = np.ones((SIDE, SIDE), np.float32)
    if chance(rng, 0.6):
        turn = rng.uniform(0, 2 * np.pi)
        lamp += rng.uniform(0, 0.6) * (x * np.float32(np.cos(turn)) + y * np.float32(np.sin(turn)))
    if chance(rng, 0.4):
        lamp *= 1 - rng.uniform(0, 1.0) * (x * x + y * y)
    light = np.maximum(pixels * (lamp[..., None] * gain.astype(np.float32)), 0.0)
    if chance(rng, 0.8):  # exposed for what is bright, as cameras do
        bright = float(np.quantile(light[::8, ::8], 0.95))
        light = light * np.float32(max(1.0, rng.uniform(0.4, 0.95) / max(bright, 0.05)))
    light = np.minimum(light, 1.0)
    if chance(rng, 0.7):
        light = cv2.pow(light, rng.uniform(0.65, 1.4))
    if chance(rng, 0.3):
        haze = rng.uniform(0.02, 0.15)
        light = light * (1 - haze) + haze
    if chance(rng, 0.1):
        light = cv2.cvtColor(cv2.cvtColor(light, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if chance(rng, 0.6):
        light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.3, 1.4))
    if chance(rng, 0.12):  # enlarged from a few pixels, as scans and thumbnails are
        few = round(SIDE / rng.uniform(1.5, 6))
        light = cv2.resize(light, (few, few), interpolation=cv2.INTER_AREA)
        how = cv2.INTER_CUBIC if chance(rng, 0.5) else cv2.INTER_LINEAR
        light = np.clip(cv2.resize(light, (SIDE, SIDE), interpolation=how), 0, 1)
    # One field, shifted for each channel: a third of the time of three.
    grain = rng.standard_normal((SIDE, SIDE), dtype=np.float32) * float(rng.choice([0.8, 2.5, 6]))
    shifts = rng.integers(0, SIDE, (3, 2)).tolist()
    grains = cv2.merge([np.roll(grain, shift, (0, 1)) for shift in shifts])
    stored = cv2.addWeighted(light, 255.0, grains, 1.0, 0.5)
    stored = np.clip(stored, 0, 255).astype(np.uint8)
    if chance(rng, 0.5):
        quality = int(rng.integers(40, 96))
        _, packed = cv2.imencode(".jpg", stored[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = cv2.imdecode(packed, cv2.IMREAD_COLOR)
        stored = np.ascontiguousarray(np.asarray(decoded)[..., ::-1])
    return np.asarray(stored)
