"""Feature maps of objects: masks on the features' grid, and few transfers from the device."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.methods.sam_lad.object_maps import Align, ObjectMaps, compare, soft_masks
from fmlad.objects.appearance import Objects

TRANSFERS = (Tensor.cpu, Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.__float__, Tensor.nonzero)


class OnDevice(Tensor):
    """A tensor that counts how often its values are waited for."""

    waits = 0

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_function__(func, types, args, kwargs or {})
        if func in TRANSFERS and isinstance(args[0], OnDevice):
            OnDevice.waits += 1
            return result.as_subclass(Tensor) if isinstance(result, Tensor) else result
        return result


def image(seed: int, side: int = 24, grid: int = 4) -> ObjectMaps:
    """A picture with objects on a grid."""
    level = torch.rand(1, 5, side, side, generator=torch.Generator().manual_seed(seed))
    step = side // grid
    corners = [(step * (i % grid), step * (i // grid)) for i in range(grid**2)]
    boxes = np.array([(x, y, x + step - 1, y + step - 1) for x, y in corners], float)
    masks = torch.zeros(len(boxes), side, side)
    for mask, (x, y) in zip(masks, corners, strict=True):
        mask[y : y + step - 1, x : x + step - 1] = 1
    count = len(boxes)
    places = (boxes[:, :2] + boxes[:, 2:]) / side - 1
    objects = Objects(np.zeros((count, 7)), np.zeros((count, 1)), boxes, places, np.ones(count))
    vector = np.zeros(5, np.float32)
    return ObjectMaps(level.as_subclass(OnDevice), objects, masks, (side, side), vector)


@pytest.mark.parametrize("align", ["box", "none"])
def test_an_object_is_measured_with_one_transfer_from_the_device(align: Align) -> None:
    query, *references = (image(seed) for seed in range(5))
    OnDevice.waits = 0
    for row in range(len(query)):
        found = compare(query, row, [(one, row) for one in references], align, 0.01)
        assert found.mean > 0
    assert OnDevice.waits == len(query)
    OnDevice.waits = 0
    query.described("gap")
    assert OnDevice.waits == 1  # all descriptors of an image


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
