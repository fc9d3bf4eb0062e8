"""Altered copies: which they are, and how little they alter."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from fmlad.augment import SYMMETRIES, Symmetry, gentle_copies, symmetric_copies

RANDOM = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(9 * x + 4 * y + i) + np.sin(13 * y - 3 * x) for i in range(3)]
    return (128 + 50 * np.stack(waves, axis=-1)).astype(np.uint8)


def key(pixels: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    return pixels.shape, pixels.tobytes()


def test_all_symmetries_are_the_eight_of_a_rectangle() -> None:
    """Closed under turning and mirroring, and all different: the whole group."""
    copies = [RANDOM, *(pixels for _, pixels in symmetric_copies(RANDOM, "all"))]
    known = {key(pixels) for pixels in copies}
    assert len(known) == 8
    for pixels in copies:
        assert key(np.rot90(pixels)) in known
        assert key(np.fliplr(pixels)) in known
        assert key(np.swapaxes(pixels, 0, 1)) in known


@pytest.mark.parametrize(
    ("symmetry", "wanted"),
    [
        ("none", []),
        ("flips", [np.fliplr(RANDOM), np.flipud(RANDOM)]),
        ("rotations", [np.rot90(RANDOM, turns) for turns in (1, 2, 3)]),
    ],
)
def test_a_symmetry_is_what_it_is_called(symmetry: Symmetry, wanted: list[np.ndarray]) -> None:
    got = [pixels for _, pixels in symmetric_copies(RANDOM, symmetry)]
    assert [key(pixels) for pixels in got] == [key(pixels) for pixels in wanted]


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_symmetric_copies_are_named_whole_and_their_own(symmetry: Symmetry) -> None:
    copies = symmetric_copies(RANDOM, symmetry)
    names = [name for name, _ in copies]
    assert len(set(names)) == len(names)
    for _, pixels in copies:
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        assert not np.shares_memory(pixels, RANDOM)
        assert np.array_equal(np.sort(pixels.ravel()), np.sort(RANDOM.ravel()))


@pytest.mark.parametrize("size", [(96, 128), (60, 40), (8, 8), (1, 1), (2, 300)])
def test_gentle_copies_keep_shape_and_dtype(size: tuple[int, int]) -> None:
    for _, copy in gentle_copies(smooth(*size)):
        assert copy.shape == (*size, 3)
        assert copy.dtype == np.uint8


def test_gentle_copies_are_the_same_every_time() -> None:
    pixels = smooth(60, 80)
    pixels.flags.writeable = False
    first, second = gentle_copies(pixels), gentle_copies(pixels)
    assert [(name, key(copy)) for name, copy in first] == [
        (name, key(copy)) for name, copy in second
    ]
    assert (pixels == smooth(60, 80)).all()


def test_gentle_copies_are_different_but_only_a_little() -> None:
    pixels = smooth(192, 256)
    copies = [copy.astype(float) for _, copy in gentle_copies(pixels)]
    names = {name for name, _ in gentle_copies(pixels)}
    assert len(names) == len(copies) >= 3
    for copy in copies:
        assert 0.5 < np.abs(copy - pixels).mean() < 12
        # Still the same picture: another one would correlate with nothing.
        assert np.corrcoef(copy.ravel(), pixels.ravel())[0, 1] > 0.95
    assert all(np.abs(a - b).mean() > 0.5 for a, b in combinations(copies, 2))


def test_gentle_copies_move_the_picture_by_less_than_two_in_a_hundred() -> None:
    """Four marks near the corners are found again close by."""
    pixels = np.zeros((200, 300, 3), dtype=np.uint8)
    marks = [(40, 50), (40, 250), (160, 50), (160, 250)]
    for row, column in marks:
        pixels[row - 2 : row + 3, column - 2 : column + 3] = 255
    moved = []
    for _, copy in gentle_copies(pixels):
        for row, column in marks:
            window = copy[row - 20 : row + 21, column - 20 : column + 21, 0].astype(float)
            weights = np.where(window > 60, window, 0)
            assert weights.sum() > 0
            y, x = np.mgrid[-20:21, -20:21]
            shift = np.hypot((weights * y).sum(), (weights * x).sum()) / weights.sum()
            moved.append(shift)
    assert max(moved) < 0.02 * 300
    assert max(moved) > 1


def test_exposure_and_noise_are_gentle_too() -> None:
    grey = np.full((64, 64, 3), 128, dtype=np.uint8)
    means = [float(copy.mean()) for _, copy in gentle_copies(grey)]
    assert all(abs(mean - 128) < 0.06 * 128 for mean in means)
    assert min(means) < 127
    assert max(means) > 129
    assert all(abs(a - b) > 0.5 for a, b in pairwise(sorted(means)))
    assert all(1 < float(copy.std()) < 2 for _, copy in gentle_copies(grey))


def test_what_comes_in_from_outside_repeats_the_border() -> None:
    """No black corners: they would look like the worst defect of all."""
    light = np.full((100, 100, 3), 200, dtype=np.uint8)
    for _, copy in gentle_copies(light):
        assert copy.min() > 170
