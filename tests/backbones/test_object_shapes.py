"""Each fast operation gives the very answer of its general counterpart."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import h_maxima

from fmlad.backbones.embedded.object_shapes import dilated, eroded, solidity, summits, without_holes


def blobs(seed: int) -> np.ndarray:
    """A random mask with bays, bridges and holes; small, thin and full ones among them."""
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 70, 2)
    if seed % 9 == 0:
        return np.ones(size, bool)
    return ndimage.gaussian_filter(rng.normal(size=size), rng.uniform(0.5, 6)) > 0


@pytest.mark.parametrize("seed", range(60))
def test_masks(seed: int) -> None:
    mask = blobs(seed)
    assert (eroded(mask) == ndimage.binary_erosion(mask)).all()
    assert (dilated(mask) == ndimage.binary_dilation(mask)).all()
    assert (without_holes(mask) == ndimage.binary_fill_holes(mask)).all()


@pytest.mark.parametrize("least", [0.02, 0.12, 0.5])
@pytest.mark.parametrize("seed", range(60))
def test_summits_of_distances(seed: int, least: float) -> None:
    mask = np.pad(blobs(seed), 1)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 1.0)
    heights = np.log(depth + 4.0)
    assert (summits(heights, least) == h_maxima(heights, least).astype(bool)).all()


@pytest.mark.parametrize("seed", range(60))
def test_summits_where_much_is_level(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = rng.integers(0, 7, rng.integers(2, 40, 2)).astype(float)
    for least in (1.0, 2.0, 3.0, 9.0):
        assert (summits(steps, least) == h_maxima(steps, least).astype(bool)).all()


def test_one_pass_decides_between_one_summit_and_two() -> None:
    heights = np.array([[0.0, 5, 3, 4, 0]])
    assert np.flatnonzero(summits(heights, 1.0)).tolist() == [1, 3]
    assert np.flatnonzero(summits(heights, 1.1)).tolist() == [1]


def test_solidity_of_a_square_and_of_a_hook() -> None:
    square = np.ones((10, 10), bool)
    assert solidity(square, 100) == pytest.approx(1.0)
    hook = square.copy()
    hook[:5, :5] = False
    assert solidity(hook, 75) == pytest.approx(75 / 87.5, abs=0.01)
