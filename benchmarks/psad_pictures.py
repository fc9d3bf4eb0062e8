"""Segments of PSAD beside the true ones: for each category the best and the worst image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.psad_scenes import Labels, Opened, mean_iou
from benchmarks.scenes import GROUPS

WIDTH = 240  # px of each of the six pictures of a row


def drawn(rows: Sequence[tuple[Opened, Labels]]) -> Image.Image:
    """One row a category: image, true and predicted segments of the best, then of the worst.

    Args:
        rows: Images of a category, and the segments of its normal test images ``(n, H, W)``.
    """
    strips = []
    for of, segments in rows:
        views = of.tests[GROUPS[0]]
        pairs = [(said, of.labels[view.name]) for view, said in zip(views, segments, strict=True)]
        ious = [mean_iou([pair], of.classes) for pair in pairs]
        palette = _palette(of.classes)
        pictures = []
        for number in (int(np.argmax(ious)), int(np.argmin(ious))):
            said, true = pairs[number]
            pictures += [views[number].pixels, palette[true], palette[said]]
        strips.append(np.concatenate([_fitted(one) for one in pictures], axis=1))
    return Image.fromarray(np.concatenate(strips))


def _palette(classes: int) -> npt.NDArray[np.uint8]:
    """Black for the background, then well-spaced hues, every other one darker."""
    hues = (np.arange(classes - 1) * 0.618034 % 1 * 255).astype(np.uint8)
    values = np.where(np.arange(classes - 1) % 2, 170, 240).astype(np.uint8)
    hsv = np.stack([hues, np.full(classes - 1, 200, np.uint8), values], axis=1)[None]
    rgb = np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))[0]
    return np.concatenate([np.zeros((1, 3), np.uint8), rgb])


def _fitted(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    height = round(WIDTH * picture.shape[0] / picture.shape[1])
    return np.asarray(Image.fromarray(picture).resize((WIDTH, height)))
