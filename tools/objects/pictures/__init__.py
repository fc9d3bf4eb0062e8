"""Procedural pictures of things with the truth of every instance, to train a segmenter on.

Nothing in them is drawn by a data set's renderer and no photograph is in them: a network trained
on them alone has seen no test picture.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.objects.pictures.camera import photograph
from tools.objects.pictures.canvas import SIDE
from tools.objects.pictures.compose import scene

__all__ = ["SIDE", "Picture", "picture"]


@dataclass(frozen=True)
class Picture:
    """A picture and its truth.

    `pixels`: (SIDE, SIDE, 3) uint8, RGB.
    `layers`: (3, SIDE, SIDE) uint8; layer d holds the number of the instance at nesting depth
    d + 1 that covers the pixel, 0 for none; layer 0 is outermost. A number is in one layer only,
    holes are filled, what is on top takes the pixel, and where something lies on a holder the
    holder is there too, one layer above.
    `holders`: numbers of instances that hold others, and of trays and the like also when empty.
    `stuff`: numbers of heaps of grains, one region each.
    """

    pixels: NDArray[np.uint8]
    layers: NDArray[np.uint8]
    holders: tuple[int, ...]
    stuff: tuple[int, ...]


def picture(seed: int) -> Picture:
    """The picture of a seed (>= 0); the same for the same seed and library versions."""
    rng = np.random.default_rng(seed)
    canvas = scene(rng)
    pixels = photograph(rng, canvas.pixels)
    return Picture(
        pixels, canvas.layers, tuple(sorted(canvas.holders)), tuple(sorted(canvas.stuff))
    )
