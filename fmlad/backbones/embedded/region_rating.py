"""How much a region of the tree is like an object, by what the maps say about it.

A small network rates every node of a :class:`.region_tree.RegionTree` twice: as the visible part of
one object, and as the outline of one that holds others. It was fitted on procedural pictures, where
the intersection over union with the true objects is known (``tools/objects/rating.py``).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fmlad.backbones.embedded import region_tree as of
from fmlad.backbones.embedded.region_tree import RegionTree

Floats = npt.NDArray[np.float64]
QUANTITIES = (
    "log area in pixels", "log share of the image", "covered", "leaf", "boundary", "interior",
    "border", "outline", "outline of its ellipse", "ridge on its outline", "elongation",
    "fills its box", "level", "beyond", "outer", "inner", "log basins", "covered of the parent",
    "leaf of the parent", "share of the parent", "level of the parent", "level of its parent",
    "ridge on the parent's outline", "beyond of the sibling", "covered of the sibling",
    "distance from the image's centre", "covered of the image",
)  # fmt: skip
HIDDEN = 48


class RegionRating(nn.Module):
    """Quantities ``(n, 27)`` -> two ratings as logits ``(n, 2)``: visible part, whole outline."""

    middle: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("middle", torch.zeros(len(QUANTITIES)))
        self.register_buffer("spread", torch.ones(len(QUANTITIES)))
        self.layers = nn.Sequential(
            nn.Linear(len(QUANTITIES), HIDDEN), nn.SiLU(),
            nn.Linear(HIDDEN, HIDDEN), nn.SiLU(),
            nn.Linear(HIDDEN, 2),
        )  # fmt: skip

    def forward(self, quantities: Tensor) -> Tensor:
        """See the class."""
        rated: Tensor = self.layers((quantities - self.middle) / self.spread)
        return rated


def quantities(tree: RegionTree) -> Floats:
    """:data:`QUANTITIES` of every node, float64 ``(n, 27)``."""
    height, width = tree.basins.shape
    sums = tree.sums
    area = sums[:, of.AREA]
    mean = sums / area[:, None]
    variance_y = mean[:, of.YY] - mean[:, of.Y] ** 2 + 1 / 12
    variance_x = mean[:, of.XX] - mean[:, of.X] ** 2 + 1 / 12
    shared = mean[:, of.YX] - mean[:, of.Y] * mean[:, of.X]
    middle = (variance_y + variance_x) / 2
    half = np.sqrt(np.maximum(middle**2 - (variance_y * variance_x - shared**2), 0))
    large, small = middle + half, np.maximum(middle - half, 1 / 12)
    outline, crossing = tree.outline.T
    outline = outline + sums[:, of.BORDER]
    sharp = crossing / np.maximum(tree.outline[:, 0], 1)
    box = (tree.box[:, 2] - tree.box[:, 0]) * (tree.box[:, 3] - tree.box[:, 1])
    parent = np.where(tree.parent >= 0, tree.parent, np.arange(len(tree)))
    children = tree.children[parent]
    sibling = np.where(children[:, 0] == np.arange(len(tree)), children[:, 1], children[:, 0])
    sibling = np.where(sibling >= 0, sibling, np.arange(len(tree)))
    away = np.hypot(mean[:, of.Y] / height - 0.5, mean[:, of.X] / width - 0.5)
    covered = mean[:, of.COVERED]
    everywhere = sums[: len(tree.rank), of.COVERED].sum() / (height * width)
    return np.stack(
        [
            np.log(area), np.log(area / (height * width)), covered, mean[:, of.LEAF],
            mean[:, of.BOUNDARY], mean[:, of.INTERIOR],
            sums[:, of.BORDER] / np.maximum(outline, 1), outline / np.sqrt(area),
            # A solid ellipse has the area 4 pi times the root of its spread's determinant.
            area / (4 * np.pi * np.sqrt(large * small)), sharp, np.log(large / small) / 2,
            area / box, tree.level, tree.beyond, tree.outer, tree.inner,
            np.log(tree.last - tree.first), covered[parent], mean[parent, of.LEAF],
            area / area[parent], tree.level[parent], tree.beyond[parent], sharp[parent],
            tree.beyond[sibling], covered[sibling], away, np.full(len(tree), everywhere),
        ],
        axis=1,
    )  # fmt: skip
