"""Which images keep their pseudo-labels."""

from __future__ import annotations

import numpy as np
import pytest

from fmlad.methods.csad import selection as of

RNG = np.random.default_rng(0)
# Twenty of one product, eight of another, two where a part was lost.
FIRST = np.array([0.4, 0.1, 0.0]) + RNG.normal(0, 0.002, (20, 3))
SECOND = np.array([0.4, 0.0, 0.2]) + RNG.normal(0, 0.002, (8, 3))
ODD = np.array([[0.1, 0.1, 0.0], [0.9, 0.0, 0.0]])
HISTOGRAMS = np.concatenate([SECOND, ODD, FIRST])


def test_clusters_are_numbered_by_size_and_odd_images_are_noise() -> None:
    found = of.clusters_of(HISTOGRAMS)
    assert (found[10:] == 0).sum() > 15
    assert set(found[10:]) <= {0, -1}
    assert (found[:8] == 1).sum() > 5
    assert found[8:10].tolist() == [-1, -1]


@pytest.mark.parametrize("count", [1, 2])
def test_few_images_are_one_cluster(count: int) -> None:
    assert of.clusters_of(np.arange(count, dtype=float)[:, None]).tolist() == [0] * count


def test_one_product_is_one_cluster_and_what_is_apart_from_it_is_noise() -> None:
    alike = np.array([[0.4, 0.1]] * 12 + [[0.4, 0.0]])
    assert of.clusters_of(alike).tolist() == [0] * 12 + [-1]


def test_all_members_of_the_largest_or_of_every_cluster() -> None:
    clusters = np.array([1, 0, -1, 0, 0, 1])
    histograms = np.zeros((6, 2))
    assert of.chosen(histograms, clusters, largest=True, share="all").tolist() == [1, 3, 4]
    assert of.chosen(histograms, clusters, largest=False, share="all").tolist() == [0, 1, 3, 4, 5]


def test_half_are_those_next_to_the_mean_of_their_cluster() -> None:
    values = np.array([0.1, 0.5, 0.52, 0.48, 0.9, 0.0])
    clusters = np.array([0, 0, 0, 0, 0, 1])
    found = of.chosen(values[:, None], clusters, largest=False, share="half")
    assert found.tolist() == [1, 2, 5] or found.tolist() == [1, 3, 5]
    assert 5 not in of.chosen(values[:, None], clusters, largest=True, share="half")


def test_classes_that_hardly_cover_anything_are_dropped() -> None:
    clusters = np.array([0, 0, 1])
    histograms = np.array([[0.3, 0.0005, 0.0], [0.3, 0.0005, 0.0], [0.3, 0.0, 0.2]])
    assert of.lasting(histograms, clusters, largest=True).tolist() == [0]
    assert of.lasting(histograms, clusters, largest=False).tolist() == [0, 2]
