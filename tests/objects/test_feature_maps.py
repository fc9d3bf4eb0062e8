"""Masks on the grid of the features."""

from __future__ import annotations

import tracemalloc

import numpy as np
import torch
import torch.nn.functional as F

from fmlad.objects.feature_maps import soft_masks


def test_masks_are_brought_to_the_grid_in_blocks() -> None:
    masks = np.random.default_rng(0).random((64, 512, 512)) < 0.3
    masks[5] = False
    tracemalloc.start()
    found = soft_masks(masks, (32, 32))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < masks.nbytes * 1.5  # all at once as floats: four times as much
    whole = F.interpolate(
        torch.from_numpy(masks.astype(np.float32))[:, None], (32, 32), mode="area"
    )
    expected = whole[:, 0] / whole.amax(dim=(2, 3)).clamp_min(1e-6)[..., None]
    torch.testing.assert_close(found, expected)
    assert soft_masks(masks[:0], (32, 32)).shape == (0, 32, 32)
