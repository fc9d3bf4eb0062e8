"""Logical synthetic anomalies: parts pasted at other places, labels with them (CSAD, section 3.2).

Mended here: labels move by nearest neighbour, so that no class arises that was not there (the
released code interpolates them).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from fmlad.methods.csad.masks import LEAST_SHARE, overlap
from fmlad.training.augment import Pixels, affine, warp

Bools = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int32]
Paste = Literal["lsa", "cutpaste", "none"]

BORDER = 0.1  # share of each side in which no new centre lies (released code)
POINTS = 10_000  # that a new centre is drawn from (released code)
LABELLED = 0.9  # overlap of a part with what is labelled (released code)
UNLABELLED = 100  # pixels of 256 x 256 that a part may have without a label (released code)
ON_BACKGROUND = (0.5, 0.9)  # overlap with the background, of the first and further parts (code)
TRIES = 500  # places tried for a part (released code)
PATCH = (0.02, 0.15)  # share of the image of a patch of CutPaste (Li et al. 2021)
PATCH_RATIO = 0.3  # least ratio of its sides (Li et al. 2021)


@dataclass(frozen=True)
class Labelled:
    """A labelled image at the network's size.

    Attributes:
        pixels: uint8 ``(S, S, 3)``.
        labels: int32 ``(S, S)``, 0 the background.
        instances: int32 ``(S, S)``: number of the component there, 0: none.
        background: bool ``(S, S)``: where no part is put; empty where it is not known.
    """

    pixels: Pixels
    labels: Labels
    instances: Labels
    background: Bools


def parts_of(image: Labelled, largest: float = 1.0) -> list[Bools]:
    """Components that can be pasted: labelled nearly throughout, above 0.1 % of the image.

    Args:
        image: See above.
        largest: Share of the image that a part may cover (ours; the code knows no limit).
    """
    known, size = image.labels > 0, image.labels.size
    allowed = UNLABELLED * size / 256**2
    found = []
    for number in np.unique(image.instances[image.instances > 0]):
        mask = image.instances == number
        share = mask.sum() / size
        if not LEAST_SHARE < share <= largest or overlap(mask, known) <= LABELLED:
            continue
        if (mask & ~known).sum() <= allowed:
            found.append(mask)
    return found


def logical_anomaly(
    target: Labelled,
    source: Labelled,
    rng: np.random.Generator,
    *,
    distance: float,
    most: int = 2,
    largest: float = 1.0,
) -> tuple[Pixels, Labels]:
    """Pastes one to ``most`` parts of ``source`` into ``target``, turned, at other places.

    A part for which no place is found is left out.

    Args:
        target: Of the size of ``source``; the same image in the released code, another one in the
            paper.
        source: See above.
        rng: Of all draws.
        distance: Between old and new centre, at least, as a share of the side (paper 0.1; code
            0.2, and 0.1 for the screw bag).
        most: Parts, at most.
        largest: As of :func:`parts_of`.

    Returns:
        New pixels and labels.
    """
    pixels, labels = target.pixels.copy(), target.labels.copy()
    parts = parts_of(source, largest)
    wanted = min(len(parts), 1 + int(rng.integers(most)))
    for turn, row in enumerate(rng.permutation(len(parts))[:wanted]):
        limit = ON_BACKGROUND[min(turn, 1)]
        matrix = _placed(parts[row], target.background, limit, distance, rng)
        if matrix is None:
            continue
        there = warp(parts[row], matrix)
        pixels[there] = warp(source.pixels, matrix)[there]
        labels[there] = warp(source.labels, matrix)[there]
    return pixels, labels


def cut_paste(image: Labelled, rng: np.random.Generator) -> tuple[Pixels, Labels]:
    """A random rectangle pasted elsewhere, labels with it (the ablation of the paper's Table 3)."""
    pixels, labels = image.pixels.copy(), image.labels.copy()
    side = len(labels)
    area = rng.uniform(*PATCH) * side**2
    ratio = np.exp(rng.uniform(np.log(PATCH_RATIO), -np.log(PATCH_RATIO)))
    height = int(np.clip(np.sqrt(area * ratio), 1, side))
    width = int(np.clip(np.sqrt(area / ratio), 1, side))
    (y, top), (x, left) = (rng.integers(0, side - length + 1, 2) for length in (height, width))
    there = np.s_[top : top + height, left : left + width]
    here = np.s_[y : y + height, x : x + width]
    pixels[there], labels[there] = image.pixels[here], image.labels[here]
    return pixels, labels


def pasted(
    kind: Paste,
    target: Labelled,
    source: Labelled,
    rng: np.random.Generator,
    *,
    distance: float,
    largest: float,
) -> tuple[Pixels, Labels]:
    """One of the three augmentations of the paper's Table 3."""
    if kind == "lsa":
        return logical_anomaly(target, source, rng, distance=distance, largest=largest)
    if kind == "cutpaste":
        return cut_paste(target, rng)
    return target.pixels, target.labels


def new_centre(
    old: tuple[float, float], distance: float, rng: np.random.Generator
) -> tuple[float, float] | None:
    """A place for a part, the more likely the farther away; None where all are too near.

    Args:
        old: Centre of the part, x and y as shares of the sides.
        distance: From it, at least.
        rng: Of the draw.
    """
    points = rng.uniform(BORDER, 1 - BORDER, (POINTS, 2))
    squared = ((points - old) ** 2).sum(1)
    weights = np.where(squared >= distance**2, squared, 0)
    if not weights.any():
        return None
    x, y = points[rng.choice(POINTS, p=weights / weights.sum())]
    return float(x), float(y)


def _placed(
    part: Bools, background: Bools, limit: float, distance: float, rng: np.random.Generator
) -> npt.NDArray[np.float64] | None:
    """How a part moves to a place that is not too much of the background's; None if none is."""
    side = len(part)
    rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
    x, y = (columns[0] + columns[-1] + 1) / 2, (rows[0] + rows[-1] + 1) / 2
    unbounded = not background.any()
    for _ in range(TRIES):
        centre = new_centre((x / side, y / side), distance, rng)
        if centre is None:
            return None
        # Turned about the part's own centre: to the middle, turned, and to the new place.
        there = affine(part.shape, shift=(side / 2 - x, side / 2 - y))
        turned = affine(part.shape, degrees=float(rng.integers(360)))
        away = affine(part.shape, shift=(centre[0] * side - side / 2, centre[1] * side - side / 2))
        matrix = there @ turned @ away
        if unbounded or overlap(warp(part, matrix), background) < limit:
            return np.asarray(matrix)
    return None
