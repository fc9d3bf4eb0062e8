"""Measurement and descriptors wait for the device once an object, or once an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fmlad.methods.sam_lad.matching import describe
from fmlad.methods.sam_lad.measurement import Align, Counterpart, compare
from fmlad.objects.appearance import Objects
from fmlad.objects.feature_maps import ObjectMaps

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
        own = [Counterpart(number, one, row) for number, one in enumerate(references)]
        found = compare(query, row, own, align, 0.01)
        assert found.mean > 0
    assert OnDevice.waits == len(query)
    OnDevice.waits = 0
    describe(query, "gap")
    assert OnDevice.waits == 1  # all descriptors of an image
