"""Each fast operation gives the answer of its general counterpart."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from fmlad.backbones.embedded.region_shapes import dilated, eroded, solidity


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


def test_solidity_of_a_square_and_of_a_hook() -> None:
    square = np.ones((10, 10), bool)
    assert solidity(square, 100) == pytest.approx(1.0)
    hook = square.copy()
    hook[:5, :5] = False
    assert solidity(hook, 75) == pytest.approx(75 / 87.5, abs=0.01)
