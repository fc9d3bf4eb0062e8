"""The first embedded mask proposer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fmlad.backbones.regions import RegionProposer
from fmlad.backbones.roles import MaskProposer


def scene(centres: list[tuple[int, int]], radius: int = 22, slope: float = 0.0) -> torch.Tensor:
    """Dark discs on a light ground with a light gradient, ``uint8 (1, 3, 240, 320)``."""
    y, x = np.mgrid[:240, :320]
    image = np.repeat((190 + slope * (x - 160))[..., None], 3, axis=2)
    for cx, cy in centres:
        image[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = (40, 60, 130)
    image += np.random.default_rng(0).normal(0, 2, image.shape)
    return torch.from_numpy(image.clip(0, 255).astype(np.uint8)).permute(2, 0, 1)[None]


@pytest.mark.parametrize("slope", [0.0, 0.25])
def test_discs_are_found_with_their_boxes(slope: float) -> None:
    centres = [(60, 60), (160, 120), (260, 190)]
    masks = RegionProposer().propose(scene(centres, slope=slope))
    assert isinstance(RegionProposer(), MaskProposer)
    assert len(masks) == 3
    found = sorted(tuple((b[:2] + b[2:]) / 2) for b in masks.boxes)
    np.testing.assert_allclose(found, centres, atol=2)
    np.testing.assert_allclose(masks.boxes[:, 2] - masks.boxes[:, 0], 44, atol=5)
    assert (np.diff(masks.scores) <= 0).all()
    assert ((masks.scores > 0) & (masks.scores <= 1)).all()


def test_touching_discs_are_split() -> None:
    assert len(RegionProposer().propose(scene([(120, 120), (162, 120)]))) == 2


@pytest.mark.parametrize("value", [0, 128, 255])
def test_nothing_is_found_where_nothing_is(value: int) -> None:
    empty = torch.full((1, 3, 100, 140), value, dtype=torch.uint8)
    masks = RegionProposer().propose(empty)
    assert len(masks) == 0
    assert masks.boxes.shape == (0, 4)


def test_prompts_pick_a_proposal_or_nothing() -> None:
    image = scene([(60, 60), (260, 190)])
    proposer = RegionProposer()
    points = np.array([[60, 60], [160, 20]], np.float32)
    masks = proposer.prompt(image, points=points)
    assert masks.scores[0] > 0
    assert masks.scores[1] == 0
    assert not masks.masks[1].any()
    boxes = np.array([[240, 170, 280, 210]], np.float32)
    by_box = proposer.prompt(image, boxes=boxes)
    height, width = by_box.masks.shape[1:]
    assert by_box.masks[0][int(190 / 240 * height), int(260 / 320 * width)]


def test_two_hundred_objects() -> None:
    centres = [(10 + 16 * (i % 20), 12 + 22 * (i // 20)) for i in range(200)]
    assert len(RegionProposer().propose(scene(centres, radius=5))) == 200
