"""Configurations, squares, altered copies and product types of PSAD's segmenter."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fmlad.errors import OptionError, UnknownNameError
from fmlad.methods.psad.augmentation import CHANGES, recoloured, turned
from fmlad.methods.psad.product_types import nearest_labelled, pooled
from fmlad.methods.psad.segmenter_config import PRESETS, segmenter_config
from fmlad.methods.psad.segmenter_data import altered, sampled, squared
from fmlad.networks.part_segmenter import coordinates
from tests.methods.psad.blobs import blobs


def test_presets_have_the_numbers_of_their_sources() -> None:
    paper, code, cpu = (asdict(PRESETS[name]) for name in ("paper", "code", "cpu"))
    published = {
        "side": 512, "batch": 5, "rate": 1e-3, "supervised": 50, "joint": 50, "unit": "epochs",
        "cross_entropy": 10.0, "dice": 1.0, "entropy": 10.0, "histogram": 10.0, "frozen": False,
    }  # fmt: skip
    assert {name: paper[name] for name in published} == published
    changed = {name for name in paper if paper[name] != code[name]}
    assert changed == {"histogram", "histogram_over", "second"}
    assert (code["histogram"], code["histogram_over"], code["second"]) == (1, "sum", 300)
    assert cpu["frozen"]


def test_options_are_checked_by_name_and_range() -> None:
    assert segmenter_config("code", side=64).side == 64
    with pytest.raises(UnknownNameError, match="cpu"):
        segmenter_config("gpu")
    with pytest.raises(UnknownNameError, match="recolour"):
        segmenter_config("cpu", recolor=0.1)
    with pytest.raises(OptionError, match="multiple of 16"):
        segmenter_config("cpu", side=100)
    with pytest.raises(OptionError, match="degrees"):
        segmenter_config("cpu", degrees=200.0)


@given(height=st.integers(1, 90), width=st.integers(1, 90))
def test_squares_keep_the_aspect_and_are_black_outside(height: int, width: int) -> None:
    pixels = np.full((height, width, 3), 200, np.uint8)
    square = squared(pixels, 48, np.ones((height, width), np.int64))
    rows, columns = square.size
    assert max(rows, columns) >= 47  # cut to whole pixels
    assert abs(rows - 48 * height / max(height, width)) <= 1
    assert square.labels is not None
    for filled in (square.pixels[..., 0] == 200, square.labels == 1):
        assert filled[:rows, :columns].all()
        assert filled.sum() == rows * columns
    assert square.inside == (rows / 48, columns / 48)


def test_labels_at_the_cells_of_a_grid_keep_the_corners() -> None:
    labels = torch.arange(64).reshape(1, 8, 8)
    found = sampled(labels, (2, 3))
    assert found.tolist() == [[[0, 4, 7], [56, 60, 63]]]
    assert torch.equal(sampled(labels, (8, 8)), labels)


def test_pixels_labels_and_coordinates_turn_together() -> None:
    """The colour tells the class and the coordinates, so that one can be read off another."""
    y, x = np.mgrid[:64, :64]
    labels = (y // 32 * 2 + x // 32).astype(np.int32)
    colours = np.array([[40, 0, 0], [80, 0, 0], [120, 0, 0], [160, 0, 0]], np.uint8)
    plain = coordinates(64, 64).numpy()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        pixels, moved, places = turned(colours[labels], labels, plain, 180.0, rng)
        kept = (places.sum(0) > 0.05) & (pixels[..., 0] > 0)
        halves = (places > 0.5).astype(np.int32)
        agree = (moved == halves[1] * 2 + halves[0]) & (pixels[..., 0] == 40 + 40 * moved)
        assert agree[kept].mean() > 0.85  # all but the seams and the outer edge
        assert kept.mean() > 0.7


def test_a_shift_moves_pixels_and_labels_beneath_coordinates_that_stay() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[30:34, 30:34] = 255
    labels = (pixels[..., 0] > 0).astype(np.int32)
    places = coordinates(64, 64).numpy()
    rng = np.random.default_rng(1)
    moved, own, still = turned(pixels, labels, places, 0.0, rng, shift=0.2)
    assert (still == places).all()
    gone = np.argwhere(own).mean(0) - np.argwhere(labels).mean(0)
    assert 1 < np.abs(gone).max() <= 0.2 * 64
    assert moved[own > 0].mean() > 150
    assert moved[own == 0].max() <= 255 * 0.8


def test_no_turn_leaves_everything_and_nothing_is_mirrored() -> None:
    pixels, labels = blobs(0)
    places = coordinates(*labels.shape).numpy()
    same = turned(pixels, labels, places, 0.0, np.random.default_rng(0))
    np.testing.assert_array_equal(same[0], pixels)
    np.testing.assert_array_equal(same[1], labels)
    np.testing.assert_allclose(same[2], places, atol=1e-6)
    for seed in range(20):
        copy = altered(squared(pixels, 128, labels), segmenter_config("cpu", degrees=20.0),
                       np.random.default_rng(seed))  # fmt: skip
        assert copy.labels is not None
        columns = [np.nonzero(copy.labels == part)[1].mean() for part in (1, 2)]
        assert columns[0] < columns[1]


def test_each_change_of_colour_changes_colours_and_keeps_the_form() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    rng = np.random.default_rng(0)
    for change in CHANGES:
        changed = change(pixels, rng)
        assert changed.shape == pixels.shape
        assert changed.dtype == np.uint8
        assert not np.array_equal(changed, pixels)
    assert np.array_equal(recoloured(pixels, rng, 0.0), pixels)
    once, again = (recoloured(pixels, np.random.default_rng(3), 0.5) for _ in range(2))
    assert np.array_equal(once, again)


def test_padding_does_not_count_for_the_product_type() -> None:
    level = torch.zeros(2, 3, 8, 8)
    level[:, :, :4] = 2.0
    found = pooled([torch.zeros(2, 1, 16, 16), level], [(0.5, 1.0), (1.0, 1.0)])
    assert found.tolist() == [[2.0] * 3, [1.0] * 3]


def test_the_nearest_labelled_image_gives_the_type() -> None:
    labelled = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    asked = torch.tensor([[1.0, 3.0], [0.5, 0.5], [9.0, 1.0]])
    assert nearest_labelled(asked, labelled) == [2, 0, 1]
