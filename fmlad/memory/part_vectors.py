"""One vector an image from its parts, and banks of such vectors (PSAD, Kim et al., AAAI 2024).

Two vectors describe an image whose pixels belong to K classes, the background among them:

- its **histogram**: how many pixels each class has;
- its **composition**: the mean feature of each class but the background, one after the other.

A bank standardises every dimension over the training images and finds the nearest one by Euclidean
distance (Eq. 3). The banks of :mod:`fmlad.methods.banks` compare other things: counts in nats, and
part by part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.errors import OptionError

Vectors = npt.NDArray[np.float32]
Standard = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

SMALL = 1e-10  # added to every spread (PSAD's code)


def class_shares(labels: npt.NDArray[np.integer], classes: int) -> Vectors:
    """Histogram of classes, float32 ``(classes,)``: the share of the pixels that each has.

    Shares, not counts, so that images of unlike sizes can be compared; standardised, the two are
    the same.

    Args:
        labels: ``(H, W)`` in 0..classes - 1; 0 is the background.
        classes: K.
    """
    counts = np.bincount(labels.ravel(), minlength=classes)
    return (counts / max(labels.size, 1)).astype(np.float32)


def class_means(
    levels: Sequence[Tensor],
    labels: npt.NDArray[np.integer],
    classes: int,
    align_corners: bool = False,
) -> Vectors:
    """Mean feature of each class but the background, float32 ``(classes - 1, C)``.

    The sum of the features of its pixels over their number plus 1 (PSAD's code), zeros for a class
    without pixels. Features are those of the levels one after the other, each resized bilinearly to
    the labels; that is a linear map, so it is applied to the masks, which are smaller, instead.

    Args:
        levels: Maps ``(1, C_i, h, w)`` over the image, any grids.
        labels: ``(H, W)`` in 0..classes - 1.
        classes: K.
        align_corners: How maps are resized, as of ``torch.nn.functional.interpolate``: PSAD's code
            has True; False is right for cells that span the image.
    """
    device = levels[0].device
    numbers = torch.arange(1, classes, device=device)[:, None, None]
    masks = (torch.from_numpy(labels.astype(np.int64)).to(device)[None] == numbers).float()
    counts = masks.sum(dim=(1, 2))
    sums = []
    for level in levels:
        down = _resizing(level.shape[-2], masks.shape[1], align_corners).to(device)
        across = _resizing(level.shape[-1], masks.shape[2], align_corners).to(device)
        cells = down.T @ masks @ across
        sums.append(torch.einsum("khw,chw->kc", cells, level[0].float()))
    means = torch.cat(sums, dim=1) / (counts[:, None] + 1)
    return np.asarray(means.cpu().numpy(), dtype=np.float32)


@lru_cache(maxsize=32)
def _resizing(cells: int, pixels: int, align_corners: bool) -> Tensor:
    """The matrix ``(pixels, cells)`` of linear resizing along one side."""
    unit = torch.eye(cells)[:, None]
    return F.interpolate(unit, pixels, mode="linear", align_corners=align_corners)[:, 0].T


@dataclass(frozen=True)
class Nearest:
    """The training image nearest to another.

    Attributes:
        distance: Euclidean, of standardised vectors.
        index: Of the training image.
        difference: Standardised, weighted vector less that of the training image, ``(D,)``.
    """

    distance: float
    index: int
    difference: Vectors


@dataclass(frozen=True)
class VectorBank:
    """One vector of each training image, compared in units of their spread.

    Attributes:
        vectors: float32 ``(n, D)``.
        least: Least spread of each dimension ``(D,)``; 0: ``SMALL`` alone, as in PSAD's code.
        strict: Whether a vector that is left out has no say in means and spreads either.
        weights: Of each standardised dimension, ``(D,)`` or one for all; 1 is PSAD's.
    """

    vectors: Vectors
    least: npt.NDArray[np.floating] | float = 0.0
    strict: bool = False
    weights: Vectors | float = 1.0
    _known: dict[frozenset[int], Standard] = field(default_factory=dict, repr=False, compare=False)

    def standard(self, exclude: frozenset[int] = frozenset()) -> Standard:
        """Mean and spread of each dimension, float64 ``(D,)`` each."""
        left_out = exclude if self.strict else frozenset[int]()
        if left_out not in self._known:
            known = self.vectors
            if left_out:
                known = known[[n for n in range(len(known)) if n not in left_out]]
            mean = known.mean(0, dtype=np.float64)
            spread = np.maximum(known.std(0, dtype=np.float64), self.least) + SMALL
            if left_out:  # asked for once
                return mean, spread
            self._known[left_out] = mean, spread
        return self._known[left_out]

    def nearest(
        self, vector: npt.NDArray[np.floating], exclude: frozenset[int] = frozenset()
    ) -> Nearest:
        """The nearest training image that is not excluded (Eq. 3, the minimum).

        Args:
            vector: ``(D,)``.
            exclude: Indices of training images; for one of them, its left-out score.

        Raises:
            OptionError: All are excluded.
        """
        kept = [n for n in range(len(self.vectors)) if n not in exclude]
        if not kept:
            raise OptionError("All training images are excluded; at least one must stay.")
        spread = self.standard(exclude)[1]
        # The mean cancels out. Differences first: equal vectors are at a distance of exactly 0.
        query = np.asarray(vector, dtype=np.float32)
        unit = (self.weights / spread).astype(np.float32)
        known = self.vectors if len(kept) == len(self.vectors) else self.vectors[kept]
        differences = (query - known) * unit
        distances = np.sqrt(np.einsum("nd,nd->n", differences, differences, dtype=np.float64))
        best = int(distances.argmin())
        return Nearest(float(distances[best]), kept[best], differences[best])

    def left_out(self) -> npt.NDArray[np.float64]:
        """Distance of each training image to the nearest other one, ``(n,)``; n is at least 2."""
        each = enumerate(self.vectors)
        return np.array([self.nearest(one, frozenset({n})).distance for n, one in each])


def reweighted(patch: Tensor, bank: Sequence[Tensor], neighbours: int = 9) -> float:
    """Factor in [0, 1) on the distance of an image's oddest patch (anomalib's PatchCore).

    1 less the share of the largest of its distances to its nearest patches, in exponentials; PSAD's
    code divides distances by 10 first.

    Args:
        patch: ``(C,)``.
        bank: Patches ``(n_i, C)`` of each training image.
        neighbours: Nearest patches, at most.
    """
    distances = torch.cat([torch.linalg.vector_norm(some - patch, dim=1) for some in bank]) / 10
    closest = distances.topk(min(neighbours, len(distances)), largest=False).values
    return float(1 - closest.softmax(0).max())
