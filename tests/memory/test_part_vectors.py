"""Histograms and compositions of images in parts, and banks of them, against direct computation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fmlad.errors import OptionError
from fmlad.memory.part_vectors import VectorBank, class_means, class_shares, reweighted

BOARD = np.array([[0, 1], [2, 1]])

values = st.floats(-100, 100, width=32)
banks = st.integers(2, 7).flatmap(
    lambda n: st.integers(1, 4).flatmap(lambda d: arrays(np.float32, (n, d), elements=values))
)


def test_the_histogram_counts_the_pixels_of_all_classes() -> None:
    shares = class_shares(BOARD, 4)
    assert shares.dtype == np.float32
    assert shares.tolist() == [0.25, 0.5, 0.25, 0.0]


def test_the_histogram_does_not_depend_on_the_size_of_the_image() -> None:
    large = BOARD.repeat(30, axis=0).repeat(30, axis=1)
    assert np.array_equal(class_shares(BOARD, 3), class_shares(large, 3))


def test_means_by_hand_have_one_more_in_their_denominator() -> None:
    level = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[10.0, 20.0], [30.0, 40.0]]]])
    means = class_means([level], BOARD, 4)
    assert means.shape == (3, 2)
    assert means[0] == pytest.approx([(2 + 4) / 3, (20 + 40) / 3])  # of two pixels
    assert means[1] == pytest.approx([3 / 2, 30 / 2])  # of one
    assert means[2].tolist() == [0, 0]  # absent


@pytest.mark.parametrize("corners", [False, True])
def test_means_are_those_of_the_maps_resized_to_the_labels(corners: bool) -> None:
    rng = torch.Generator().manual_seed(3)
    levels = [torch.randn(1, 5, 7, 9, generator=rng), torch.randn(1, 3, 4, 4, generator=rng)]
    labels = np.random.default_rng(3).integers(0, 4, (26, 34))
    found = class_means(levels, labels, 4, align_corners=corners)
    whole = torch.cat(
        [F.interpolate(one, (26, 34), mode="bilinear", align_corners=corners) for one in levels],
        dim=1,
    )[0]
    for number in (1, 2, 3):
        inside = torch.from_numpy(labels == number)
        wanted = whole[:, inside].sum(1) / (inside.sum() + 1)
        assert found[number - 1] == pytest.approx(wanted.numpy(), abs=1e-4)


def test_distances_by_hand_are_in_spreads_of_each_dimension() -> None:
    bank = VectorBank(np.array([[0, 0], [2, 10], [4, 20]], np.float32))
    mean, spread = bank.standard()
    assert mean == pytest.approx([2, 10])
    assert spread == pytest.approx([np.sqrt(8 / 3), np.sqrt(200 / 3)])
    near = bank.nearest(np.array([4, 30], np.float32))
    assert near.index == 2
    assert near.distance == pytest.approx(10 / np.sqrt(200 / 3))
    assert near.difference == pytest.approx([0, 10 / np.sqrt(200 / 3)])
    # Left out, its nearest is the middle one: both dimensions differ by as many spreads.
    far = bank.nearest(np.array([4, 20], np.float32), frozenset({2}))
    assert (far.index, far.distance) == (1, pytest.approx(np.sqrt(2 * 1.5)))


def test_a_left_out_vector_has_no_say_in_the_spreads_of_a_strict_bank() -> None:
    vectors = np.array([[0], [1], [100]], np.float32)
    query = vectors[2]
    loose = VectorBank(vectors).nearest(query, frozenset({2}))
    strict = VectorBank(vectors, strict=True).nearest(query, frozenset({2}))
    alone = VectorBank(vectors[:2]).nearest(query)
    assert strict.distance == pytest.approx(alone.distance) == pytest.approx(99 / 0.5)
    assert loose.distance == pytest.approx(99 / vectors.std())


def test_a_dimension_without_variation_counts_by_the_least_spread() -> None:
    vectors = np.array([[0, 1], [0, 2]], np.float32)
    query = np.array([0.5, 1], np.float32)
    assert VectorBank(vectors).nearest(query).distance == pytest.approx(0.5e10, rel=1e-5)
    floored = VectorBank(vectors, np.array([0.1, 0.1]))
    assert floored.nearest(query).distance == pytest.approx(5)


def test_all_left_out_is_an_error() -> None:
    with pytest.raises(OptionError, match="at least one"):
        VectorBank(np.zeros((2, 1), np.float32)).nearest(np.zeros(1), frozenset({0, 1}))


@given(banks, st.booleans())
def test_a_duplicate_among_the_training_images_is_at_distance_0(
    vectors: npt.NDArray[np.float32], strict: bool
) -> None:
    doubled = VectorBank(np.concatenate([vectors, vectors[:1]]), strict=strict)
    left_out = doubled.left_out()
    assert left_out[0] == left_out[-1] == 0


@given(banks, st.randoms(use_true_random=False))
def test_the_order_of_the_training_images_does_not_matter(
    vectors: npt.NDArray[np.float32], random: st.DataObject
) -> None:
    order = list(range(len(vectors)))
    random.shuffle(order)  # type: ignore[attr-defined]
    least = np.full(vectors.shape[1], 1e-3)
    one, other = VectorBank(vectors, least), VectorBank(vectors[order], least)
    assert other.left_out() == pytest.approx(one.left_out()[order], rel=1e-4, abs=1e-4)


@given(banks, st.floats(0.125, 8), st.floats(-50, 50))
def test_units_and_origin_of_a_dimension_do_not_matter(
    vectors: npt.NDArray[np.float32], factor: float, offset: float
) -> None:
    vectors = vectors.round(1)
    if (vectors.std(0) < 1).any():
        return  # rounding would decide
    changed = (vectors * factor + offset).astype(np.float32)
    expected = VectorBank(vectors).left_out()
    assert VectorBank(changed).left_out() == pytest.approx(expected, rel=1e-2, abs=1e-3)


def test_the_leave_one_out_distance_is_not_the_one_of_the_image_with_index_1() -> None:
    """The published code compares ranks with 1 and takes a distance to an arbitrary image."""
    vectors = np.array([[0], [10], [11], [30]], np.float32)
    unit = vectors.std()
    assert VectorBank(vectors).left_out() == pytest.approx(np.array([10, 1, 1, 19]) / unit)


def test_the_weight_of_a_patch_by_hand() -> None:
    bank = [torch.tensor([[0.0, 3.0], [0.0, 6.0]]), torch.tensor([[0.0, 40.0]])]
    weight = reweighted(torch.zeros(2), bank, neighbours=2)
    raised = np.exp([0.3, 0.6])  # distances over 10, of the two nearest alone
    assert weight == pytest.approx(1 - raised.max() / raised.sum())
    assert reweighted(torch.zeros(2), bank[1:]) == 0  # a single neighbour says nothing


def test_weights_are_of_standardised_dimensions() -> None:
    vectors = np.array([[0, 0], [2, 20], [4, 10]], np.float32)
    plain = VectorBank(vectors).nearest(np.array([2, 17], np.float32))
    heavy = VectorBank(vectors, weights=np.array([1, 3], np.float32))
    found = heavy.nearest(np.array([2, 17], np.float32))
    assert plain.index == found.index == 1
    assert found.distance == pytest.approx(3 * plain.distance)
