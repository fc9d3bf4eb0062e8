"""Logical synthetic anomalies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlad.methods.csad import lsa as of

SIDE = 64
COLOURS = np.array([[10, 10, 10], [200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)


def image(seed: int, classes: int = 3, background: bool = False) -> of.Labelled:
    """Squares of random classes at random places, in the colour of their class."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((SIDE, SIDE), np.int32)
    instances = np.zeros_like(labels)
    for number in range(1, 5):
        y, x = rng.integers(0, SIDE - 12, 2)
        place = np.s_[y : y + rng.integers(6, 12), x : x + rng.integers(6, 12)]
        labels[place], instances[place] = rng.integers(1, classes + 1), number
    behind = np.zeros(labels.shape, bool)
    if background:
        behind[:, : SIDE // 2] = True
    return of.Labelled(COLOURS[labels], labels, instances, behind)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 999), st.integers(0, 999), st.integers(0, 999), st.booleans())
def test_no_class_is_pasted_that_no_label_map_has(
    one: int, other: int, seed: int, same: bool
) -> None:
    target = image(one, classes=2)
    source = target if same else image(other, classes=3)
    rng = np.random.default_rng(seed)
    pixels, labels = of.logical_anomaly(target, source, rng, distance=0.1)
    assert set(np.unique(labels)) <= set(np.unique(target.labels)) | set(np.unique(source.labels))
    assert labels.dtype == np.int32
    changed = labels != target.labels
    assert (labels[changed] > 0).all()  # parts are added, none is wiped out
    # Well inside what changed, pixels have the colour of their label.
    assert (np.abs(pixels.astype(int) - COLOURS[labels]).sum(-1) > 60).mean() < 0.05


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 999), st.integers(0, 999))
def test_cut_paste_has_no_other_classes_either(one: int, seed: int) -> None:
    target = image(one)
    pixels, labels = of.cut_paste(target, np.random.default_rng(seed))
    assert set(np.unique(labels)) <= set(np.unique(target.labels))
    np.testing.assert_array_equal(pixels, COLOURS[labels])


def test_the_given_image_is_left_alone_and_draws_repeat() -> None:
    target = image(5)
    before = target.pixels.copy(), target.labels.copy()
    first, again = (
        of.logical_anomaly(target, target, np.random.default_rng(3), distance=0.2) for _ in range(2)
    )
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.array_equal(first[1], target.labels)
    np.testing.assert_array_equal(target.pixels, before[0])
    np.testing.assert_array_equal(target.labels, before[1])


def test_a_part_goes_far_enough_and_keeps_its_size() -> None:
    labels = np.zeros((SIDE, SIDE), np.int32)
    labels[28:36, 28:36] = 1
    one = of.Labelled(COLOURS[labels], labels, labels.copy(), np.zeros(labels.shape, bool))
    for seed in range(20):
        found = of.logical_anomaly(one, one, np.random.default_rng(seed), distance=0.25)[1]
        added = (found == 1) & (labels == 0)
        y, x = np.argwhere(added).mean(0)
        assert np.hypot(y - 31.5, x - 31.5) > 0.2 * SIDE
        assert added.sum() == pytest.approx(64, abs=14)


def test_nothing_is_put_on_the_background() -> None:
    labels = np.zeros((SIDE, SIDE), np.int32)
    labels[40:48, 50:58] = 1
    behind = np.zeros(labels.shape, bool)
    behind[:, : SIDE // 2] = True
    one = of.Labelled(COLOURS[labels], labels, labels.copy(), behind)
    for seed in range(20):
        found = of.logical_anomaly(one, one, np.random.default_rng(seed), distance=0.1, most=1)[1]
        added = (found == 1) & (labels == 0)
        assert added.any()
        assert (added & behind).sum() <= 0.6 * 64
    nowhere = of.Labelled(one.pixels, labels, one.instances, np.ones(labels.shape, bool))
    found = of.logical_anomaly(nowhere, one, np.random.default_rng(0), distance=0.1)[1]
    np.testing.assert_array_equal(found, labels)


def test_parts_are_labelled_throughout_and_not_too_large() -> None:
    labels = np.zeros((SIDE, SIDE), np.int32)
    instances = np.zeros_like(labels)
    instances[:8, :8], labels[:8, :8] = 1, 1
    instances[20:28, :8], labels[20:24, :8] = 2, 1  # half of it has no label
    instances[32:, :], labels[32:, :] = 3, 2  # half of the image
    one = of.Labelled(COLOURS[labels], labels, instances, np.zeros(labels.shape, bool))
    assert [int(part.sum()) for part in of.parts_of(one)] == [64, 2048]
    assert [int(part.sum()) for part in of.parts_of(one, largest=0.3)] == [64]


def test_farther_centres_are_likelier_and_none_is_too_near() -> None:
    rng = np.random.default_rng(0)
    found = np.array([of.new_centre((0.2, 0.2), 0.3, rng) for _ in range(200)])
    distances = np.linalg.norm(found - 0.2, axis=1)
    assert distances.min() >= 0.3
    assert found.min() >= 0.1
    assert found.max() <= 0.9
    assert distances.mean() > 0.6  # 0.55 if all places were as likely
    assert of.new_centre((0.5, 0.5), 2.0, rng) is None
