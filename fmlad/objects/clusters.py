"""K-means over the places of some shots; a query is divided by the same centroids.

CLIP-LAD, section 3.1: places with similar shallow features form regions with sharp outlines.
Positions are not clustered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.roles import Pyramid
from fmlad.objects.arrays import Ints

STAGES = 2  # of four, the shallow ones (CLIP-LAD, implementation details)
SIDE = 64  # cells of the longer side, at most; finer levels are averaged (CLIP-LAD's masks)
CANDIDATES = (4, 6, 8, 10, 12, 16)  # numbers of clusters to choose from (ours)
DEFAULT = 8  # with one shot nothing tells them apart (ours; the paper's optima lie around it)
STARTS = 3  # of K-means; the best one is kept
MOST_PLACES = 20_000  # that K-means sees; a random choice of more


@dataclass(frozen=True)
class Clusters:
    """Centroids of the shots' places.

    Attributes:
        centroids: float32 ``(n, C)``.
    """

    centroids: Tensor

    @classmethod
    def fit(cls, shots: Sequence[Pyramid], count: int, rng: np.random.Generator) -> Clusters:
        """K-means over all places of one or more shots, each a pyramid of batch size 1.

        Fewer clusters than ``count`` come out where there are fewer different places.
        """
        from sklearn.cluster import KMeans

        places = torch.cat([_places(early(shot)) for shot in shots]).double().cpu().numpy()
        if len(places) > MOST_PLACES:
            places = places[rng.choice(len(places), MOST_PLACES, replace=False)]
        different = min(count, len(np.unique(places, axis=0)))
        means = KMeans(different, n_init=STARTS, random_state=int(rng.integers(2**31)))
        return cls(torch.from_numpy(means.fit(places).cluster_centers_).float())

    def assign(self, pyramid: Pyramid) -> Ints:
        """Number of the nearest centroid at each place of an image, ``(h, w)``."""
        level = early(pyramid)
        distances = torch.cdist(_places(level), self.centroids.to(level))
        return distances.argmin(1).view(level.shape[-2:]).cpu().numpy()

    def regions(self, pyramid: Pyramid) -> npt.NDArray[np.bool_]:
        """One region a cluster, bool ``(n, h, w)``; possibly in pieces, possibly empty."""
        numbers = self.assign(pyramid)
        return np.asarray(numbers[None] == np.arange(len(self.centroids))[:, None, None])


def early(pyramid: Pyramid) -> Tensor:
    """Shallow features by which places are compared, float32 ``(1, C, h, w)``.

    Stages 1 and 2, each of unit length, one after the other (the paper names both and not how they
    are joined); the finest level as it is where a backbone has no stages, thinned to at most 64
    cells a side.
    """
    if pyramid.stages:
        return torch.cat([F.normalize(stage, dim=1) for stage in pyramid.stages[:STAGES]], dim=1)
    level = pyramid.levels[min(pyramid.levels)]
    longer = max(level.shape[-2:])
    if longer <= SIDE:
        return level
    size = [max(1, round(side * SIDE / longer)) for side in level.shape[-2:]]
    return F.interpolate(level, size, mode="area")


def choose(
    shots: Sequence[Pyramid],
    foreground: Callable[[Clusters, int], float],
    rng: np.random.Generator,
    candidates: Sequence[int] = CANDIDATES,
) -> Clusters:
    """Clusters in that number whose foreground share varies least over the shots.

    Variation is the standard deviation of the foreground's share of the area over its mean; no
    label is needed. Numbers that make all of an image foreground, or nothing, come last.
    ``foreground`` gives the share, in [0, 1], of shot number ``i`` under some clusters.
    """
    if len(shots) == 1:
        return Clusters.fit(shots, DEFAULT, rng)
    tried = []
    for count in candidates:
        clusters = Clusters.fit(shots, count, rng)
        shares = np.array([foreground(clusters, index) for index in range(len(shots))])
        trivial = not 0.005 < float(shares.mean()) < 0.995
        spread = float(shares.std() / max(float(shares.mean()), 1e-6))
        tried.append((trivial, round(spread, 6), abs(count - DEFAULT), clusters))
    return min(tried, key=lambda entry: entry[:3])[-1]


def _places(level: Tensor) -> Tensor:
    return level[0].flatten(1).T
