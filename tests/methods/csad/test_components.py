"""Components: their rectangles, pictures, vectors and clusters."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fmlad.methods.csad import components as of


def bar(length: int, width: int, degrees: float, side: int = 120) -> npt.NDArray[np.bool_]:
    """A filled rectangle about the centre of a square image."""
    box = cv2.boxPoints(((side / 2, side / 2), (length, width), degrees))
    canvas = np.zeros((side, side), np.uint8)
    cv2.fillPoly(canvas, [box.round().astype(np.int32)], 1)
    return canvas.astype(bool)


@given(arrays.arrays(np.bool_, (7, 9)))
def test_the_rectangle_is_that_of_opencv(mask: npt.NDArray[np.bool_]) -> None:
    count, numbers = cv2.connectedComponents(mask.astype(np.uint8))
    sizes = [(numbers == number).sum() for number in range(1, count)]
    if not sizes or sizes.count(max(sizes)) > 1:
        return  # which one is the largest is not said
    largest = numbers == 1 + int(np.argmax(sizes))
    points = np.argwhere(largest)[:, ::-1].astype(np.float32)
    sides = cv2.minAreaRect(points)[1]
    long, short = of.rectangle(mask)
    # Of several rectangles of the same area any may be taken.
    assert long * short == pytest.approx(sides[0] * sides[1], abs=1e-3)
    assert long >= short


@pytest.mark.parametrize("degrees", [0, 30, 77])
def test_a_rectangle_does_not_hang_on_the_direction(degrees: float) -> None:
    long, short = of.rectangle(bar(80, 20, degrees))
    assert long == pytest.approx(80, abs=2)
    assert short == pytest.approx(20, abs=2)


def test_an_empty_mask_has_no_rectangle() -> None:
    assert of.rectangle(np.zeros((4, 4), bool)) == (0, 0)


def test_a_picture_shows_the_component_alone_as_large_as_it_goes() -> None:
    mask = bar(80, 20, 0)
    pixels = np.full((120, 120, 3), 200, np.uint8)
    pixels[mask] = (255, 0, 0)
    found = of.picture(pixels, mask)
    assert found.shape == (64, 64, 3)
    shown = found.any(-1)
    assert shown.any(0).sum() == pytest.approx(64 * 80 / np.hypot(80, 20), abs=2)
    assert (found[32, 20:44] == (255, 0, 0)).all()
    assert not (found[..., 1] > 100).any()  # nothing of what is around it
    assert not found[:15].any()


def test_a_picture_of_a_coarser_mask_shows_the_same_place() -> None:
    mask = bar(80, 20, 0)
    pixels = np.zeros((120, 120, 3), np.uint8)
    pixels[mask] = (0, 255, 0)
    whole, half = of.picture(pixels, mask), of.picture(pixels, mask[::2, ::2])
    assert np.abs(whole.astype(int) - half).mean() < 12


def test_rotations_have_both_ends_and_keep_the_middle() -> None:
    picture = torch.rand(2, 3, 33, 33) * 255
    turned = of.rotated(picture, 5)  # 0, 90, 180, 270, 360 degrees
    assert turned.shape == (2, 5, 3, 33, 33)
    torch.testing.assert_close(turned[:, 0], picture, atol=0.05, rtol=0)
    torch.testing.assert_close(turned[:, 4], picture, atol=0.1, rtol=0)
    torch.testing.assert_close(turned[:, 2], picture.flip(2, 3), atol=0.1, rtol=0)
    quarter = {k: picture.rot90(k, (2, 3)) for k in (1, 3)}
    assert any(torch.allclose(turned[:, 1], one, atol=0.1) for one in quarter.values())
    torch.testing.assert_close(of.rotated(picture, 1)[:, 0], picture, atol=0.05, rtol=0)


def test_a_vector_hardly_changes_with_the_rotation() -> None:
    def describe(pictures: torch.Tensor) -> torch.Tensor:
        return pictures[:, :, :, :32].mean((2, 3))  # the left half: no rotation keeps it

    picture = np.zeros((64, 64, 3), np.uint8)
    picture[28:36, 4:60, 0], picture[28:36, 40:60, 1] = 255, 200
    other = np.ascontiguousarray(picture.transpose(1, 0, 2)[::-1])
    one, two = of.vectors([picture, other], describe, 61)
    np.testing.assert_allclose(one, two, rtol=0.03)
    plain = of.vectors([picture, other], describe, 1)
    assert np.abs(plain[0] - plain[1]).max() > 5


def test_vectors_are_the_same_however_many_are_seen_together() -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (64, 64, 3)).astype(np.uint8) for _ in range(40)]

    def describe(pictures: torch.Tensor) -> torch.Tensor:
        return pictures.mean((2, 3))

    together = of.vectors(pictures, describe, 4)
    assert together.shape == (40, 3)
    alone = np.concatenate([of.vectors([one], describe, 4) for one in pictures])
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_facts_tell_size_and_shape() -> None:
    red = np.full((64, 64, 3), (255, 0, 0), np.uint8)
    large, small = of.facts(bar(80, 20, 40), red), of.facts(bar(40, 10, 70), red)
    assert large[0] - small[0] == pytest.approx(np.log(2), abs=0.1)
    assert large[1] == pytest.approx(small[1], abs=0.15)
    assert large[1] == pytest.approx(np.log(20 / 80), abs=0.1)
    np.testing.assert_allclose(large[2:], [0.5324, 0.8009, 0.6720], atol=0.002)  # Lab of red


def test_a_projection_is_that_of_its_seed_and_shrinks_as_the_papers() -> None:
    points = np.random.default_rng(1).normal(size=(30, 2048)).astype(np.float32)
    first, again, other = (of.projected(points, seed) for seed in (0, 0, 1))
    assert first.shape == (30, 512)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    shrunk = of.typical_distance(first) / of.typical_distance(points.astype(np.float64))
    assert shrunk == pytest.approx(0.01 * np.sqrt(512), rel=0.05)


def test_the_typical_distance_is_that_of_all_pairs() -> None:
    points = np.random.default_rng(0).normal(size=(9, 3))
    squared = [((one - other) ** 2).sum() for one in points for other in points]
    assert of.typical_distance(points) == pytest.approx(np.sqrt(np.mean(squared)))
    assert of.typical_distance(points[:1]) == 0


def test_blobs_are_clusters_and_a_large_bandwidth_joins_them() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(at, 0.1, (20, 2)) for at in (0, 3)])
    apart = of.mean_shift(points, 1.0)
    assert len(set(apart[:20])) == len(set(apart[20:])) == 1
    assert apart[0] != apart[-1]
    assert len(set(of.mean_shift(points, 10.0))) == 1


@given(arrays.arrays(np.int64, st.integers(1, 30), elements=st.integers(0, 5)), st.integers(0, 9))
def test_frequent_clusters_are_numbered_by_size(
    clusters: npt.NDArray[np.int64], least: int
) -> None:
    found = of.frequent(clusters, least)
    sizes = [int((clusters == clusters[row]).sum()) for row in range(len(clusters))]
    assert [own >= 0 for own in found] == [size >= least for size in sizes]
    kept = [int((found == one).sum()) for one in range(found.max() + 1)]
    assert kept == sorted(kept, reverse=True)
    for row in range(len(clusters)):
        if found[row] >= 0:
            np.testing.assert_array_equal(found == found[row], clusters == clusters[row])
