"""Filters of masks against brute force over sets of pixels, and label maps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from fmlad.methods.csad import masks as of

Bools = npt.NDArray[np.bool_]
Pixels = set[tuple[int, int]]

SIZES = st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 5))
MASKS = SIZES.flatmap(lambda size: arrays.arrays(np.bool_, size))
SHARES = st.sampled_from([0.3, 0.5, 0.9, 1.0])


def as_sets(masks: Bools) -> list[Pixels]:
    return [set(zip(*map(list, np.nonzero(mask)), strict=True)) for mask in masks]


def combined(sets: list[Pixels], most: float) -> list[bool]:
    """Appendix A.3 over sets of pixels, written down from its text."""
    order = sorted(range(len(sets)), key=lambda row: (len(sets[row]), row))
    kept, union, later = [], set[tuple[int, int]](), []
    for row in order:
        least = min(len(union), len(sets[row]))
        if kept and least and len(union & sets[row]) / least >= most:
            later.append(row)
        else:
            kept.append(row)
            union = union | sets[row]
    for row in later:
        if len(union & sets[row]) / len(sets[row]) < most:
            kept.append(row)
            union = union | sets[row]
    return [row in kept for row in range(len(sets))]


@given(MASKS, SHARES)
def test_combinations_are_those_of_sets_of_pixels(masks: Bools, most: float) -> None:
    assert of.filter_by_combine(masks, most).tolist() == combined(as_sets(masks), most)


@given(MASKS, SHARES, st.data())
def test_grounded_masks_are_those_of_sets_of_pixels(
    masks: Bools, least: float, data: st.DataObject
) -> None:
    grounding = data.draw(arrays.arrays(np.bool_, masks.shape[1:]))
    ground = as_sets(grounding[None])[0]
    expected = [len(one & ground) > least * len(one) if one else False for one in as_sets(masks)]
    assert of.filter_by_grounding(masks, grounding, least).tolist() == expected


@given(MASKS, SHARES, st.data())
def test_the_background_takes_what_it_holds_or_what_holds_it(
    masks: Bools, most: float, data: st.DataObject
) -> None:
    background = data.draw(arrays.arrays(np.bool_, masks.shape[1:]))
    ground = as_sets(background[None])[0]
    expected = []
    for one in as_sets(masks):
        smaller = min(len(one), len(ground))
        expected.append(not smaller or len(one & ground) / smaller < most)
    assert of.filter_by_background(masks, background, most).tolist() == expected


@given(MASKS)
def test_a_label_is_that_of_the_smallest_mask_there(masks: Bools) -> None:
    labels, sizes = of.painted(masks), masks.sum((1, 2))
    for row in range(labels.shape[0]):
        for column in range(labels.shape[1]):
            here = np.flatnonzero(masks[:, row, column])
            if not len(here):
                assert labels[row, column] == 0
                continue
            found = labels[row, column] - 1
            assert found in here
            assert sizes[found] == sizes[here].min()


@given(MASKS, st.integers(0, 3))
def test_pieces_are_connected_and_make_up_their_masks(masks: Bools, least: int) -> None:
    found = of.pieces(masks, least, most_box=2)
    assert all(ndimage.label(piece)[1] == 1 and piece.sum() > least for piece in found)
    expected = np.zeros_like(masks)
    for whole, mask in zip(expected, masks, strict=True):
        numbers, count = ndimage.label(mask)
        for number in range(1, count + 1):
            whole |= (numbers == number) & ((numbers == number).sum() > least)
    assert found.any(0).tolist() == expected.any(0).tolist()


def test_a_piece_around_the_whole_image_is_none() -> None:
    frame = np.zeros((1, 40, 40), bool)
    frame[:, [0, -1]] = frame[:, :, [0, -1]] = True
    assert len(of.pieces(frame)) == 0
    assert len(of.pieces(frame, most_box=1.1)) == 1


def test_a_whole_screw_gives_way_to_its_head_and_shaft() -> None:
    head, shaft, whole = np.zeros((3, 20, 20), bool)
    head[2:6, 2:6], shaft[3:5, 6:18] = True, True
    whole[:] = head | shaft
    other = np.zeros_like(head)
    other[12:18, 12:18] = True
    masks = np.stack([whole, head, shaft, other])
    assert of.filter_by_combine(masks).tolist() == [False, True, True, True]


@given(arrays.arrays(np.int32, (6, 6), elements=st.integers(0, 3)))
def test_filled_holes_lose_no_class_and_no_label(labels: npt.NDArray[np.int32]) -> None:
    filled = of.holes_filled(labels)
    assert (filled[labels > 0] > 0).all()
    assert set(np.unique(filled[filled > 0])) <= set(np.unique(labels))


def test_a_hole_is_filled_and_a_part_within_it_stays() -> None:
    labels = np.zeros((9, 9), np.int32)
    labels[1:8, 1:8], labels[2:7, 2:7], labels[4, 4] = 2, 0, 1
    filled = of.holes_filled(labels)
    assert (filled[1:8, 1:8] > 0).all()
    assert filled[4, 4] == 1
    assert filled[2, 2] == 2
    assert filled[0, 0] == 0


@pytest.mark.parametrize(
    ("most", "expected"), [(9, [True, False, True]), (1, [False, False, True])]
)
def test_small_masks_are_noise_and_the_largest_remain(most: int, expected: list[bool]) -> None:
    masks = np.zeros((3, 10, 10), bool)
    masks[0, :2, :2], masks[1, 0, 0], masks[2, 3:8, 3:8] = True, True, True
    assert of.large_enough(masks, 0.01, most).tolist() == expected
