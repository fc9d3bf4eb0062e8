"""What the decoder should say about a picture whose objects are known."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.networks.object_decoder import COARSE, FINE, OFFSETS, ObjectMaps, displaced

DEEPEST = 24.0  # px from the outline from which a pixel is as far inside as can be
Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.uint8]


def innermost(layers: Numbers) -> Numbers:
    """Layers ``(d, h, w)``, outermost first -> number of the innermost object, 0 for the ground."""
    result: Numbers = layers[0].copy()
    for layer in layers[1:]:
        result[layer > 0] = layer[layer > 0]
    return result


def maps_of(labels: Numbers, leaves: npt.NDArray[np.bool_]) -> Floats:
    """Targets ``(4, h / 2, w / 2)`` of the decoder's maps, each in [0, 1].

    ``labels`` ``(h, w)`` are innermost objects; ``leaves`` ``(256,)`` tells which hold no other.
    """
    beside = np.zeros(labels.shape, np.uint8)
    for one, other in (
        (np.s_[1:], np.s_[:-1]),
        (np.s_[:, 1:], np.s_[:, :-1]),
    ):
        differs = labels[one] != labels[other]
        beside[one] |= differs
        beside[other] |= differs
    depth = cv2.distanceTransform(1 - beside, cv2.DIST_L2, 3) + 0.5
    deepest = np.ones(256, np.float32)
    np.maximum.at(deepest, labels.ravel(), depth.ravel())
    interior = np.minimum(1, depth / np.minimum(deepest, DEEPEST)[labels])
    covered = (labels > 0).astype(np.float32)
    mean = [_blocks(m).mean((1, 3)) for m in (covered, leaves[labels].astype(np.float32))]
    maps = [*mean, _blocks(beside).max((1, 3)), _blocks(interior).mean((1, 3))]
    return np.stack(maps).astype(np.float32)


def affinities_of(labels: Numbers) -> Numbers:
    """Targets ``(16, h / 4, w / 4)`` of the affinities; 255 where the other cell lies outside."""
    cells = labels[COARSE // 2 :: COARSE, COARSE // 2 :: COARSE]
    result = np.full((len(OFFSETS), *cells.shape), 255, np.uint8)
    for number, (down, right) in enumerate(OFFSETS):
        here, there = displaced(cells.shape, down, right)
        result[number][here] = cells[here] == cells[there]
    return result


def loss(said: ObjectMaps, maps: Tensor, affinities: Tensor) -> Tensor:
    """Sum of the losses: cross entropies, Dice for what is thin, L1 for the interior.

    ``maps`` ``(B, 4, h, w)`` and ``affinities`` ``(B, 16, h / 2, w / 2)``, the latter of integers
    with 255 for unknown.
    """
    entropy = F.binary_cross_entropy_with_logits
    covered, leaf, boundary, interior = said.maps.unbind(1)
    wanted = maps.unbind(1)
    total = entropy(covered, wanted[0]) + 0.5 * _dice(covered, wanted[0])
    total = total + 0.5 * entropy(leaf, wanted[1])
    total = total + entropy(boundary, wanted[2], weight=1 + 3 * wanted[2])
    total = total + 0.5 * _dice(boundary, wanted[2])
    total = total + 3 * (interior.sigmoid() - wanted[3]).abs().mean()
    known = affinities != 255
    same = affinities.eq(1).float()
    # Pairs across an outline are rare at short reach: both kinds weigh alike, as far as six times.
    dims = (0, 2, 3)
    count = known.sum(dims).clamp_min(1)
    apart = (known & (affinities == 0)).sum(dims) / count
    rarity = (0.5 / apart.clamp_min(1 / 12))[:, None, None]
    weight = torch.where(
        affinities == 0, rarity, 0.5 / (1 - apart).clamp_min(1 / 12)[:, None, None]
    )
    pairs = entropy(said.affinities, same, reduction="none") * weight * known
    return total + 2 * (pairs.sum(dims) / count).mean()


def _dice(logits: Tensor, wanted: Tensor) -> Tensor:
    said = logits.sigmoid()
    both_ = (said * wanted).sum((1, 2))
    return (1 - (2 * both_ + 50) / (said.sum((1, 2)) + wanted.sum((1, 2)) + 50)).mean()


def _blocks(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    rows, columns = values.shape
    return values.reshape(rows // FINE, FINE, columns // FINE, FINE)
