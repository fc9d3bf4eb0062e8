"""Pixels and labels stay together, whatever is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlad.training.augment import Augmentation, affine, jitter, warp

PALETTE = np.array(
    [[0, 0, 0], [250, 20, 20], [20, 250, 20], [20, 20, 250], [250, 250, 20]], np.uint8
)


def coded(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose colours say its labels: blocks of at least 10 pixels."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, len(PALETTE), (height // 10, width // 10))
    labels = blocks.repeat(10, 0).repeat(10, 1).astype(np.int32)
    return PALETTE[labels], labels


def decoded(pixels: np.ndarray) -> np.ndarray:
    distance = np.abs(pixels[..., None, :].astype(int) - PALETTE.astype(int)).sum(-1)
    return distance.argmin(-1)


def interior(labels: np.ndarray) -> np.ndarray:
    """Pixels all of whose neighbours are there and have their label; elsewhere colours mix."""
    padded = np.pad(labels, 1, constant_values=-1)
    height, width = labels.shape
    shifted = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.all([each == labels for each in shifted], axis=0)


augmentations = st.builds(
    Augmentation,
    mirror=st.booleans(),
    flip=st.booleans(),
    turns=st.booleans(),
    degrees=st.floats(0, 180),
    shift=st.floats(0, 0.3),
    zoom=st.floats(0, 0.4),
    crop=st.floats(0.3, 1),
    brightness=st.floats(0, 0.2),
    contrast=st.floats(0, 0.2),
    saturation=st.floats(0, 0.2),
    chance=st.sampled_from([0.0, 0.5, 1.0]),
)


@settings(max_examples=40, deadline=None)
@given(augmentations, st.sampled_from([(40, 40), (40, 70), (60, 30)]), st.integers(0, 999))
def test_the_colour_of_every_pixel_still_says_its_label(
    augmentation: Augmentation, size: tuple[int, int], seed: int
) -> None:
    pixels, labels = coded(*size, seed)
    kept = pixels.copy(), labels.copy()
    moved, moved_labels = augmentation(pixels, labels, np.random.default_rng(seed))
    assert moved.shape == pixels.shape
    assert moved.dtype == np.uint8
    assert moved_labels.shape == labels.shape
    assert moved_labels.dtype == np.int32
    assert set(np.unique(moved_labels)) <= {0, *np.unique(labels)}
    inside = interior(moved_labels)
    np.testing.assert_array_equal(decoded(moved)[inside], moved_labels[inside])
    again = augmentation(pixels, labels, np.random.default_rng(seed))
    np.testing.assert_array_equal(again[0], moved)
    np.testing.assert_array_equal(again[1], moved_labels)
    np.testing.assert_array_equal(pixels, kept[0])
    np.testing.assert_array_equal(labels, kept[1])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), st.sampled_from([(40, 40), (40, 70)]))
def test_flips_and_right_angles_lose_nothing(seed: int, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    labels = pixels[..., 0].astype(np.int64) * 70_000  # beyond 16 bits
    augmentation = Augmentation(mirror=True, flip=True, turns=True)
    moved, moved_labels = augmentation(pixels, labels, np.random.default_rng(seed))
    turned = [np.rot90(pixels, k) for k in (range(4) if size[0] == size[1] else (0, 2))]
    copies = [copy[::y, ::x] for copy in turned for y in (1, -1) for x in (1, -1)]
    assert any(np.array_equal(moved, copy) for copy in copies)
    np.testing.assert_array_equal(moved_labels, moved[..., 0].astype(np.int64) * 70_000)


def test_all_flips_and_right_angles_are_drawn() -> None:
    pixels, labels = coded(40, 40, 3)
    augmentation = Augmentation(mirror=True, flip=True, turns=True)
    rng = np.random.default_rng(0)
    drawn = {augmentation(pixels, labels, rng)[0].tobytes() for _ in range(200)}
    assert len(drawn) == 8


def test_as_it_stands_it_alters_nothing() -> None:
    pixels, labels = coded(40, 70, 0)
    moved, moved_labels = Augmentation()(pixels, labels, np.random.default_rng(0))
    np.testing.assert_array_equal(moved, pixels)
    np.testing.assert_array_equal(moved_labels, labels)


def test_turns_shifts_and_zooms_go_where_they_say() -> None:
    pixels, _ = coded(40, 40, 1)
    np.testing.assert_array_equal(warp(pixels, affine((40, 40), 90)), np.rot90(pixels))
    shifted = warp(pixels, affine((40, 40), shift=(3, 5)))
    np.testing.assert_array_equal(shifted[5:, 3:], pixels[:-5, :-3])
    assert not shifted[:5].any()
    assert not shifted[:, :3].any()
    mask = np.zeros((40, 40), bool)
    mask[15:25, 15:25] = True
    assert warp(mask, affine((40, 40), zoom=2)).sum() == 4 * mask.sum()
    there = affine((40, 40), 30, (2, -3), 1.2)
    point = np.linalg.inv(there) @ (20, 20, 1)  # the centre of the original
    np.testing.assert_allclose(point, (22, 17, 1))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 999))
def test_a_crop_stays_inside_the_image(seed: int) -> None:
    ones = np.ones((40, 70), np.int32)
    matrix = Augmentation(crop=0.25).matrix(ones.shape, np.random.default_rng(seed))
    assert warp(ones, matrix).all()
    assert 0.25 <= np.linalg.det(matrix[:2, :2]) <= 1


def test_float_maps_go_with_the_pixels() -> None:
    """Coordinates of a pixel, which PSAD gives its network, turn with the picture."""
    x = np.linspace(0, 1, 40, dtype=np.float32)[None].repeat(40, 0)
    turned = warp(x, affine((40, 40), 90))
    np.testing.assert_allclose(turned, np.rot90(x), atol=1e-6)
    assert turned.dtype == np.float32


def test_colours_are_scaled_within_their_range() -> None:
    grey = np.full((4, 4, 3), 100, np.uint8)
    values = {int(jitter(grey, np.random.default_rng(i), 0.1).max()) for i in range(200)}
    assert min(values) == 90
    assert max(values) >= 109
    red = np.full((4, 4, 3), (200, 100, 100), np.uint8)
    for seed in range(20):
        changed = jitter(red, np.random.default_rng(seed), saturation=0.5)
        spread = int(changed[0, 0, 0]) - int(changed[0, 0, 1])
        assert 49 <= spread <= 151
    np.testing.assert_array_equal(jitter(red, np.random.default_rng(0)), red)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_labels_of_any_integer_type_are_taken(dtype: type) -> None:
    pixels, labels = coded(40, 40, 2)
    found = Augmentation(degrees=9)(pixels, labels.astype(dtype), np.random.default_rng(1))[1]
    expected = Augmentation(degrees=9)(pixels, labels, np.random.default_rng(1))[1]
    np.testing.assert_array_equal(found, expected)
