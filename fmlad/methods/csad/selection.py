"""Which images keep their pseudo-labels: those whose class areas are like those of many others.

CSAD, section 3.1 "Filtering Unreliable Semantic Pseudo-label Maps".
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Share = Literal["all", "half"]

LEAST_CLUSTER = 0.1  # share of the images that a cluster of histograms has at first (released code)
LEAST_AREA = 0.001  # mean share of the image below which a class is dropped (released code)


def clusters_of(histograms: Floats, least: float = LEAST_CLUSTER) -> Ints:
    """HDBSCAN over class histograms: a number for each image, -1 for noise.

    Its smallest cluster is ``least`` of the images; one less until there is a cluster. Where there
    is none with two, the images may be a single cluster (ours: HDBSCAN then tells what is apart
    from it), and with fewer than three, or if that finds none, all are one.

    Args:
        histograms: ``(N, K)``, shares of the image's area.
        least: In (0, 1].

    Returns:
        int64 ``(N,)``; 0 is the largest cluster.
    """
    from sklearn.cluster import HDBSCAN

    count = len(histograms)
    if count < 3:
        return np.zeros(count, np.int64)
    first = max(2, int(least * count))
    tries = [*((size, False) for size in range(first, 1, -1)), (first, True)]
    for size, single in tries:
        model = HDBSCAN(min_cluster_size=size, allow_single_cluster=single, copy=True)
        found = model.fit_predict(histograms)
        if (found >= 0).any():
            return _by_size(found)
    return np.zeros(count, np.int64)


def chosen(histograms: Floats, clusters: Ints, *, largest: bool, share: Share) -> Ints:
    """Images whose pseudo-labels are trusted, int64, ascending.

    Args:
        histograms: ``(N, K)``.
        clusters: ``(N,)``, from :func:`clusters_of`.
        largest: Of the largest cluster alone (paper), or of each: products come in types.
        share: ``"all"`` members (paper), or the ``"half"`` of them, at least one, whose largest
            deviation from their cluster's mean histogram is the smallest (released code, which
            ranks all images and not the members alone).
    """
    found: list[int] = []
    for cluster in range(1 if largest else int(clusters.max(initial=-1)) + 1):
        members = np.flatnonzero(clusters == cluster)
        if share == "half" and len(members):
            own = histograms[members]
            odd = np.abs(own - own.mean(0)).max(1)
            members = members[np.argsort(odd, kind="stable")[: max(1, len(members) // 2)]]
        found += members.tolist()
    return np.array(sorted(found), np.int64)


def lasting(histograms: Floats, clusters: Ints, *, largest: bool) -> Ints:
    """Classes that cover more than :data:`LEAST_AREA` of the image in the mean of a cluster.

    Args:
        histograms: ``(N, K)`` of the classes but the background.
        clusters: ``(N,)``.
        largest: Of the largest cluster (released code), or of any of them.

    Returns:
        int64, ascending: columns of ``histograms``.
    """
    last = 0 if largest else int(clusters.max(initial=0))
    means = np.stack([histograms[clusters == one].mean(0) for one in range(last + 1)])
    return np.flatnonzero((means > LEAST_AREA).any(0))


def _by_size(clusters: npt.NDArray[np.integer]) -> Ints:
    """The same clusters, numbered by their size; -1 stays."""
    sizes = np.bincount(clusters[clusters >= 0])
    ranks = np.empty(len(sizes), np.int64)
    ranks[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return np.where(clusters >= 0, ranks[np.maximum(clusters, 0)], -1)
