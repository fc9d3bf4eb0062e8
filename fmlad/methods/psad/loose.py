"""Loose parts of labelled images are laid anew on labelled images (ours).

Where parts lie anywhere, a few labelled images show few of the ways in which they can lie, and
whether a pixel of a thread is that of a long or of a short screw is learned from as many screws as
there are. A class is loose where its pieces do not lie where those of the other images lie;
classes that their place makes are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance
from scipy import ndimage
from scipy.spatial.distance import cdist

from fmlad.methods.psad.segmenter_data import Square
from fmlad.training.augment import Pixels

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

APART = 0.05  # of the side: mean distance to the nearest piece of another image from which on loose
LARGEST, LEAST = 0.05, 1e-4  # shares of the square that a piece fills
TRIES = 20  # places tried for a piece
SHADE = 0.2  # largest change of its brightness


@dataclass(frozen=True)
class Piece:
    """A connected region of one class, cut out.

    Attributes:
        pixels: uint8 ``(h, w, 3)``.
        mask: bool ``(h, w)``.
        label: Its class.
        ground: The class that most of its surroundings have.
        centre: Of the mask in its image, row and column as shares of the side.
    """

    pixels: Pixels
    mask: Bools
    label: int
    ground: int
    centre: tuple[float, float]


def loose_pieces(labelled: Sequence[Square]) -> list[Piece]:
    """Pieces of all loose classes of labelled images; none with a single image."""
    each = [_pieces(square) for square in labelled]
    loose: list[Piece] = []
    for label in {piece.label for pieces in each for piece in pieces}:
        own = [[piece for piece in pieces if piece.label == label] for pieces in each]
        gaps = _to_other_images([[piece.centre for piece in pieces] for pieces in own])
        if len(gaps) and float(gaps.mean()) > APART:
            loose += [piece for pieces in own for piece in pieces]
    return loose


def laid(square: Square, pieces: Sequence[Piece], most: int, rng: np.random.Generator) -> Square:
    """A copy of a labelled image with up to ``most`` further pieces, turned by any angle.

    A piece comes to lie on the class that it lay on, and on nothing else.
    """
    if square.labels is None or not pieces:
        return square
    pixels, labels = square.pixels.copy(), square.labels.copy()
    for _ in range(int(rng.integers(most + 1))):
        piece = pieces[int(rng.integers(len(pieces)))]
        angle = float(rng.uniform(0, 360))
        mask = _rotated(piece.mask.astype(np.uint8), angle) > 0
        image = Image.fromarray(_rotated(piece.pixels, angle))
        shade = rng.uniform(1 - SHADE, 1 + SHADE)
        colours = np.asarray(ImageEnhance.Brightness(image).enhance(shade))
        free = np.argwhere(labels == piece.ground)
        for _ in range(TRIES if len(free) else 0):
            top, left = free[int(rng.integers(len(free)))] - np.array(mask.shape) // 2
            bottom, right = top + mask.shape[0], left + mask.shape[1]
            if min(top, left) < 0 or bottom > square.size[0] or right > square.size[1]:
                continue
            under = labels[top:bottom, left:right]
            if (under[mask] == piece.ground).all():
                under[mask] = piece.label
                pixels[top:bottom, left:right][mask] = colours[mask]
                break
    return replace(square, pixels=pixels, labels=labels)


def _to_other_images(centres: Sequence[Sequence[tuple[float, float]]]) -> Floats:
    """Distance of each centre to the nearest one of another image; none with a single image."""
    images = np.repeat(np.arange(len(centres)), [len(one) for one in centres])
    points = np.array([centre for one in centres for centre in one]).reshape(-1, 2)
    if len(np.unique(images)) < 2:
        return np.zeros(0)
    gaps = cdist(points, points)
    gaps[images[:, None] == images] = np.inf
    return np.asarray(gaps.min(axis=1), dtype=np.float64)


def _pieces(square: Square) -> list[Piece]:
    labels = square.labels
    if labels is None:
        return []
    found = []
    for label in np.unique(labels[labels > 0]):
        numbered, _ = ndimage.label(labels == label)
        areas = np.bincount(numbered.ravel())[1:] / labels.size
        if areas.max() > LARGEST:
            continue  # what other parts lie on; its small pieces are what shows through them
        for number, window in enumerate(ndimage.find_objects(numbered), start=1):
            if areas[number - 1] < LEAST:
                continue
            mask = numbered[window] == number
            wide = tuple(slice(max(0, s.start - 2), s.stop + 2) for s in window)
            own = numbered[wide] == number
            ring = labels[wide][ndimage.binary_dilation(own, iterations=2) & ~own]
            ground = int(np.bincount(ring).argmax()) if len(ring) else 0
            centre = ndimage.center_of_mass(mask)
            place = tuple(
                (s.start + c) / side
                for s, c, side in zip(window, centre, labels.shape, strict=True)
            )
            found.append(
                Piece(square.pixels[window], mask, int(label), ground, (place[0], place[1]))
            )
    return found


def _rotated(array: npt.NDArray[np.uint8], degrees: float) -> npt.NDArray[np.uint8]:
    way = Image.Resampling.BILINEAR if array.ndim == 3 else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(array).rotate(degrees, way, expand=True))
