"""Prompts of mask proposers: what is refused, and how sets of unlike sizes are told apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlad.backbones.embedded.prompted import prompted
from fmlad.backbones.mask_prompts import mask_prompts
from fmlad.backbones.roles import Masks
from fmlad.errors import OptionError

ONE = np.zeros((2, 1, 2))


@pytest.mark.parametrize(
    ("boxes", "points", "labels", "said"),
    [
        (np.zeros((2, 3)), None, None, r"Boxes are \(n, 4\).*\(2, 3\)"),
        (np.zeros(4), None, None, r"Boxes are \(n, 4\).*\(4,\)"),
        ([[5, 5, 4, 9]], None, None, r"left, top, right, bottom.*\[5.0, 5.0, 4.0, 9.0\]"),
        ([[0, 0, 1, np.nan]], None, None, "boxes are not finite"),
        ("here", None, None, "boxes are no array of numbers"),
        (None, np.zeros((2, 3)), None, r"Points are \(n, 2\), or \(n, p, 2\).*\(2, 3\)"),
        (None, np.zeros((1, 1, 1, 2)), None, "Points are"),
        (None, np.zeros(2), None, "Points are"),
        (None, [[np.inf, 0]], None, "points are not finite"),
        (None, [[[0, 0]], [[0, 0], [1, 1]]], None, "points are no array of numbers"),
        (None, ONE, np.ones((2, 2)), r"Labels are \(n, p\).*\(2, 2\).*2 sets of 1"),
        (None, np.zeros((2, 3, 2)), np.ones(2), r"Labels are \(n, p\)"),
        (None, None, np.ones((2, 1)), "0 sets of 1"),
        (None, ONE, [[1], [2]], "1 .on the object., 0 .beside it. and -1 .*; 2 is among"),
        (None, ONE, [[1], [0.5]], "0.5 is among"),
        (None, ONE, [[1], [0]], "needs one labelled 1 .*set 1 of these"),
        (None, ONE, [[-1], [1]], "set 0 of these"),
        (None, np.zeros((3, 0, 2)), None, "needs one labelled 1"),
    ],
)
def test_what_is_no_prompt_is_refused(
    boxes: object, points: object, labels: object, said: str
) -> None:
    with pytest.raises(OptionError, match=said) as caught:
        mask_prompts(boxes, points, labels)
    assert "\n" not in str(caught.value)


def test_nothing_is_asked_by_nothing() -> None:
    for nothing in (None, [], np.zeros((0, 4))):
        assert mask_prompts(boxes=nothing).boxes.shape == (0, 4)
    for nothing in (None, [], np.zeros((0, 2)), np.zeros((0, 3, 2))):
        asked = mask_prompts(points=nothing)
        assert len(asked.points) == len(asked.labels) == 0
        assert asked.sets() == []


def test_points_alone_are_sets_of_one_on_the_object() -> None:
    asked = mask_prompts(points=[[1, 2], [3, 4], [5, 6]])
    assert asked.points.tolist() == [[[1, 2]], [[3, 4]], [[5, 6]]]
    assert asked.labels.tolist() == [[1], [1], [1]]
    assert mask_prompts(points=[[1, 2], [3, 4]], labels=[1, 1]).labels.tolist() == [[1], [1]]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 999))
def test_sets_are_grouped_by_their_points_and_none_is_lost(n: int, p: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.random((n, p, 2)) * 100
    labels = rng.integers(-1, 2, (n, p))
    labels[np.arange(n), rng.integers(0, p, n)] = 1
    seen = []
    for rows, places, kinds in mask_prompts(points=points, labels=labels).sets():
        assert places.shape == (len(rows), kinds.shape[1], 2)
        for row, spots, kind in zip(rows, places, kinds, strict=True):
            real = labels[row] >= 0
            np.testing.assert_array_equal(spots, points[row, real])  # in their order
            np.testing.assert_array_equal(kind, labels[row, real])
        seen += rows.tolist()
    assert sorted(seen) == list(range(n))


# --- answered from proposals ----------------------------------------------------------------------


def proposals() -> Masks:
    """A whole of 6 x 8 cells of an image of 60 x 80 px, its left part, and a speck in that."""
    masks = np.zeros((3, 6, 8), bool)
    masks[0, 1:5, 1:7] = True
    masks[1, 1:5, 1:4] = True
    masks[2, 2, 2] = True
    boxes = np.array([[10, 10, 70, 50], [10, 10, 40, 50], [20, 20, 30, 30]], np.float32)
    return Masks(masks, boxes, np.array([0.9, 0.8, 0.7], np.float32))


@pytest.mark.parametrize(
    ("points", "labels", "answer"),
    [
        ([[25, 25]], None, 2),  # the smallest on it
        ([[25, 25], [35, 45]], None, 1),
        ([[25, 25], [60, 25]], None, 0),
        ([[25, 25], [75, 25]], None, None),  # beyond all
        ([[35, 45], [60, 25]], [1, 0], 1),
        ([[60, 25], [25, 25]], [1, 0], None),  # the whole holds what is beside it
        ([[25, 25], [75, 25]], [1, 0], 2),
        ([[35, 45], [75, 25]], [1, -1], 1),
        ([[75, 25], [25, 25]], [-1, 1], 2),
        ([[-50, -50]], None, None),
    ],
)
def test_the_smallest_proposal_that_fits_all_points_answers(
    points: list[list[float]], labels: list[int] | None, answer: int | None
) -> None:
    found = proposals()
    given = None if labels is None else np.array([labels])
    answered = prompted(found, (60, 80), points=np.array([points], np.float32), labels=given)
    assert len(answered) == 1
    if answer is None:
        assert not answered.masks.any()
        assert answered.scores.tolist() == [0]
        assert answered.boxes.tolist() == [[0, 0, 0, 0]]
    else:
        np.testing.assert_array_equal(answered.masks[0], found.masks[answer])
        assert answered.scores[0] == found.scores[answer]
        np.testing.assert_array_equal(answered.boxes[0], found.boxes[answer])


def test_boxes_come_first_and_are_answered_by_overlap() -> None:
    found = proposals()
    boxes = np.array([[12, 12, 39, 49], [70, 50, 79, 59]], np.float32)
    answered = prompted(found, (60, 80), boxes, np.array([[25, 25]], np.float32))
    np.testing.assert_array_equal(
        answered.masks, [found.masks[1], 0 * found.masks[0], found.masks[2]]
    )
    assert answered.scores.tolist() == pytest.approx([0.8, 0, 0.7])
