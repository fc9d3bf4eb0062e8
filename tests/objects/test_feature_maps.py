"""Masks on the grid of the features, and the same place in two objects."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.objects.appearance import Objects
from fmlad.objects.feature_maps import ObjectMaps, counterpart_places, soft_masks


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


def bars(*corners: tuple[int, int, int, int]) -> ObjectMaps:
    """Rectangles ``x0, y0, x1, y1`` on a picture of 80 x 40 pixels with cells of one pixel."""
    boxes = np.array(corners, float)
    masks = torch.zeros(len(corners), 40, 80)
    for mask, (x0, y0, x1, y1) in zip(masks, corners, strict=True):
        mask[y0:y1, x0:x1] = 1
    blank = np.zeros((len(corners), 7))
    objects = Objects(blank, blank, boxes, blank[:, :2], np.ones(len(corners)))
    return ObjectMaps(torch.zeros(1, 2, 40, 80), objects, masks, (40, 80), np.zeros(2, np.float32))


def pixels(*points: tuple[float, float]) -> Tensor:
    return torch.tensor(points) / torch.tensor([80.0, 40.0])


def test_boxes_go_centre_upon_centre_and_longer_side_upon_longer_side() -> None:
    image = bars((0, 10, 20, 18), (40, 10, 80, 26))
    poses, halves = (image.pose_of_box(0), image.pose_of_box(1)), (image.half, image.half)
    found = counterpart_places(pixels((10, 14), (0, 10), (20, 18)), poses, halves)
    torch.testing.assert_close(found, pixels((60, 18), (40, 10), (80, 26)))


def test_masks_turn_and_may_lie_either_way_along_their_axis() -> None:
    image = bars((10, 10, 30, 14), (60, 20, 70, 30))
    lying, upright = image.pose_of_mask(0), bars((50, 0, 58, 40)).pose_of_mask(0)
    assert lying.elongated
    assert not image.pose_of_mask(1).elongated
    end, halves = pixels((30, 12)), (image.half, image.half)
    found = [counterpart_places(end, (lying, upright), halves, turn) for turn in (0.0, math.pi)]
    ends = sorted(tuple(one[0].tolist()) for one in found)
    np.testing.assert_allclose(ends, sorted(pixels((54, 0), (54, 40)).tolist()), atol=0.02)
