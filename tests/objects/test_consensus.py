"""Wholes and pieces: what several images consensus on."""

from __future__ import annotations

from random import Random

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlad.backbones.roles import Masks
from fmlad.objects.appearance import Objects, Proposals, describe_proposals
from fmlad.objects.choices import Choices
from fmlad.objects.consensus import consensus, select
from fmlad.objects.nesting import excluding

GRID = 48
Rectangle = tuple[int, int, int, int]  # rows from, to, columns from, to


def proposals(
    rectangles: list[Rectangle], own: list[bool] | None, qualities: list[float] | None = None
) -> Proposals:
    """Proposals of rectangles on a grey ground; ``own`` is None where none are preferred."""
    masks = np.zeros((len(rectangles), GRID, GRID), bool)
    for mask, (top, bottom, left, right) in zip(masks, rectangles, strict=True):
        mask[top:bottom, left:right] = True
    boxes = np.array([(left, top, right, down) for top, down, left, right in rectangles])
    return describe_proposals(
        np.full((GRID, GRID, 3), 120, np.uint8),
        Masks(
            masks,
            boxes.reshape(-1, 4).astype(np.float32),
            np.array(qualities or [0.9] * len(rectangles), np.float32),
            None if own is None else np.array(own, bool),
        ),
        torch.ones(1, 2, 6, 6),
    )


def no_offers() -> Proposals:
    objects = Objects(
        np.zeros((0, 7)), np.zeros((0, 2)), np.zeros((0, 4)), np.zeros((0, 2)), np.zeros(0)
    )
    nothing = np.zeros(0)
    numbers = np.zeros(0, np.int64)
    return Proposals(objects, numbers, nothing, nothing, np.zeros((0, 0)), *[np.zeros(0, bool)] * 2)


def pin(top: int, left: int, whole: bool) -> tuple[list[Rectangle], list[bool]]:
    """A bar of 6 x 24 and its two halves, with the choice between them."""
    one = (top, top + 6, left, left + 24)
    halves = [(top, top + 6, left, left + 12), (top, top + 6, left + 12, left + 24)]
    return [one, *halves], [whole, not whole, not whole]


def pins(whole: bool, shift: int = 0) -> Proposals:
    """Two pins an image."""
    first, chosen = pin(4 + 2 * shift, 2 + 2 * shift, whole)
    second, also = pin(30 - 2 * shift, 20, whole)
    return proposals(first + second, chosen + also)


def image_of(taken: npt.NDArray[np.bool_]) -> set[int]:
    return set(np.flatnonzero(taken).tolist())


WHOLES, PIECES = {0, 3}, {1, 2, 4, 5}


@pytest.mark.parametrize("odd", range(4))
@pytest.mark.parametrize("whole", [True, False])
def test_three_images_teach_the_fourth(whole: bool, odd: int) -> None:
    images = [pins(whole == (number != odd), number) for number in range(4)]
    agreed = WHOLES if whole else PIECES
    assert image_of(images[odd].preferred) == (PIECES if whole else WHOLES)
    assert [image_of(taken) for taken in consensus(images)] == [agreed] * 4


@pytest.mark.parametrize("whole", [True, False])
def test_a_query_is_parsed_as_the_shots_are(whole: bool) -> None:
    shots = [pins(whole, number) for number in range(4)]
    kinds = Choices.together([Choices.of(shot, shot.preferred) for shot in shots])
    assert image_of(select(pins(not whole), kinds)) == (WHOLES if whole else PIECES)
    assert image_of(select(pins(whole), kinds)) == (WHOLES if whole else PIECES)


@pytest.mark.parametrize("whole", [True, False])
def test_one_image_alone_keeps_its_proposers_choice(whole: bool) -> None:
    image = pins(whole)
    (taken,) = consensus([image])
    np.testing.assert_array_equal(taken, image.preferred)


def test_two_of_one_mind_stay_so() -> None:
    for whole in (True, False):
        found = consensus([pins(whole, 0), pins(whole, 1)])
        assert [image_of(taken) for taken in found] == [WHOLES if whole else PIECES] * 2


CRUMBS: tuple[list[Rectangle], ...] = (
    [(40, 42, 2, 4)],
    [(40, 46, 2, 5), (40, 42, 8, 20), (38, 40, 2, 4)],
    [],
    [(44, 46, 2, 16), (38, 42, 10, 18)],
)


def unchosen(shift: int, crumbs: list[Rectangle]) -> Proposals:
    """Two pins, each offered whole and in halves, and crumbs; nothing is preferred."""
    first, _ = pin(4 + 2 * shift, 2 + 2 * shift, True)
    second, _ = pin(30 - 2 * shift, 20, True)
    return proposals(first + second + crumbs, None)


def test_without_a_choice_what_recurs_as_often_is_kept() -> None:
    images = [unchosen(number, crumbs) for number, crumbs in enumerate(CRUMBS)]
    assert not any(image.chosen for image in images)
    assert WHOLES.isdisjoint(image_of(images[0].preferred))  # covered by their halves
    found = consensus(images)
    assert [image_of(taken) for taken in found] == [WHOLES] * 4
    assert [image_of(taken) for taken in consensus(images[::-1])] == [WHOLES] * 4
    # A query starts with what resembles that, not with its crumbs.
    kinds = Choices.together([Choices.of(*pair) for pair in zip(images, found, strict=True)])
    assert image_of(select(unchosen(1, CRUMBS[1]), kinds)) == WHOLES
    (alone,) = consensus(images[:1])
    np.testing.assert_array_equal(alone, images[0].preferred)


def test_a_choice_beside_none_is_left_to_its_proposer() -> None:
    chosen = [pins(True, number) for number in range(3)]
    found = consensus([*chosen, unchosen(1, [])])
    assert [image_of(taken) for taken in found] == [WHOLES] * 4


def test_without_a_choice_a_label_stays_beside_its_bottle_but_a_half_does_not() -> None:
    bottle: Rectangle = (4, 44, 12, 36)
    label: Rectangle = (14, 34, 14, 34)  # too large a part of it for a small thing in a holder
    shots = [proposals([bottle, label], None) for _ in range(4)]
    assert excluding(shots[0]).any()
    assert [image_of(taken) for taken in consensus(shots)] == [{0, 1}] * 4
    halves: list[Rectangle] = [(4, 24, 12, 36), (24, 44, 12, 36)]
    cut = [proposals([bottle, *halves], None) for _ in range(4)]
    assert [image_of(taken) for taken in consensus(cut)] == [{0}] * 4


def test_without_a_choice_what_keeps_its_place_recurs() -> None:
    # Another look and nearly another form in each image, but in one place; crumbs move.
    shots = [
        proposals([(10, 20 + number, 10, 34 - 2 * number), CRUMBS[1][0]], None)
        if number % 2
        else proposals([(10, 20 + number, 10, 34 - 2 * number)], None)
        for number in range(4)
    ]
    assert [0 in image_of(taken) for taken in consensus(shots)] == [True] * 4
    assert [1 in image_of(taken) for taken in consensus(shots)] == [False] * 4


def test_what_touches_the_border_is_unlike_what_does_not() -> None:
    inner, cut_off = proposals([(10, 16, 10, 34)], [True]), proposals([(0, 6, 10, 34)], [True])
    kept = Choices.together([Choices.of(inner, np.array([True]))] * 4)
    assert kept.share_kept(Choices.of(inner, inner.preferred).points)[0] > 0.85
    assert kept.share_kept(Choices.of(cut_off, cut_off.preferred).points)[0] < 0.7
    np.testing.assert_array_equal(cut_off.border, [True])


def test_another_outline_of_a_thing_that_was_kept_does_not_speak_against_it() -> None:
    image = proposals([(10, 20, 10, 30), (10, 20, 10, 29), (30, 40, 10, 30)], [True, False, False])
    distinct = Choices.distinct(image, image.preferred)
    np.testing.assert_array_equal(distinct.kept, [True, False])  # the other outline is gone
    assert len(Choices.of(image, image.preferred).kept) == 3


def test_nothing_on_offer() -> None:
    nothing, something = no_offers(), pins(True)
    assert [len(taken) for taken in consensus([nothing, nothing])] == [0, 0]
    one, other = consensus([nothing, something])
    assert len(one) == 0
    assert image_of(other) == WHOLES
    none = Choices.of(nothing, nothing.preferred)
    assert image_of(select(something, none)) == WHOLES
    assert len(select(nothing, Choices.of(something, something.preferred))) == 0
    np.testing.assert_array_equal(none.share_kept(np.zeros((3, 7))), [0.5] * 3)


def test_usual_is_the_share_taken_of_what_looks_alike() -> None:
    points = np.zeros((10, 7))
    kinds = Choices(points, np.ones(10), np.arange(10) < 9)
    assert kinds.share_kept(np.zeros((1, 7)))[0] == pytest.approx((9 + 0.5) / (10 + 1))
    assert kinds.share_kept(np.full((1, 7), 50.0))[0] == pytest.approx(0.5)  # nothing like it
    faint = Choices(points, np.full(10, 0.01), kinds.kept)
    assert abs(faint.share_kept(np.zeros((1, 7)))[0] - 0.5) < 0.1


def test_a_holder_and_its_contents_are_both_taken() -> None:
    tray: Rectangle = (4, 44, 4, 44)
    contents: list[Rectangle] = [(8, 16, 8, 16), (8, 16, 30, 38), (30, 38, 8, 16)]
    full = [proposals([tray, *contents], [True] * 4) for _ in range(4)]
    assert not excluding(full[0]).any()
    assert all(taken.all() for taken in consensus(full))
    # Where a shot missed one of the contents, the others add it: it excludes nothing.
    full[2] = proposals([tray, *contents], [True, True, False, True])
    assert all(taken.all() for taken in consensus(full))


def test_what_is_nowhere_taken_is_not_added() -> None:
    speck: Rectangle = (40, 44, 2, 6)
    images = []
    for number in range(4):
        rectangles, own = pin(8 + number, 8, True)
        images.append(proposals([*rectangles, speck], [*own, False]))
    assert [image_of(taken) for taken in consensus(images)] == [{0}] * 4


rectangles_anywhere = st.lists(
    st.tuples(
        st.integers(0, GRID - 12),
        st.integers(2, 12),
        st.integers(0, GRID - 30),
        st.integers(2, 30),
        st.integers(500, 1000),
    ),
    min_size=1,
    max_size=9,
    unique_by=lambda drawn: drawn[4],  # qualities differ, or ties would have to be broken
)


def drawn_offers(drawn: list[tuple[int, int, int, int, int]]) -> Proposals:
    """Its proposer's choice is the best first, without what excludes it."""
    rectangles = [(top, top + high, left, left + wide) for top, high, left, wide, _ in drawn]
    qualities = [quality / 1000 for *_, quality in drawn]
    plain = proposals(rectangles, [False] * len(drawn), qualities)
    rivals, own = excluding(plain), np.zeros(len(drawn), bool)
    for row in range(len(drawn)):
        own[row] = not (rivals[row] & own).any()
    return proposals(rectangles, own.tolist(), qualities)


@settings(deadline=None, max_examples=60)
@given(rectangles_anywhere, rectangles_anywhere)
def test_excluding_ones_are_never_taken_together(
    one: list[tuple[int, int, int, int, int]], other: list[tuple[int, int, int, int, int]]
) -> None:
    images = [drawn_offers(one), drawn_offers(other), drawn_offers(one[::-1])]
    for image, taken in zip(images, consensus(images), strict=True):
        rivals = excluding(image)
        np.testing.assert_array_equal(rivals, rivals.T)
        assert not rivals[np.ix_(taken, taken)].any()


@settings(deadline=None, max_examples=60)
@given(rectangles_anywhere, rectangles_anywhere, st.randoms(use_true_random=False))
def test_the_order_of_proposals_does_not_matter(
    one: list[tuple[int, int, int, int, int]],
    other: list[tuple[int, int, int, int, int]],
    random: Random,
) -> None:
    shot = drawn_offers(other)
    kinds = Choices.of(shot, shot.preferred)
    image = drawn_offers(one)
    order = list(range(len(one)))
    random.shuffle(order)
    rectangles = [(top, top + high, left, left + wide) for top, high, left, wide, _ in one]
    shuffled = proposals(
        [rectangles[i] for i in order],
        image.preferred[order].tolist(),
        [one[i][4] / 1000 for i in order],
    )
    straight = select(image, kinds)
    np.testing.assert_array_equal(select(image, kinds), straight)
    np.testing.assert_array_equal(select(shuffled, kinds), straight[order])


def test_parsing_leaves_its_input_as_it_was() -> None:
    image, shots = pins(False), [pins(True, number) for number in range(3)]
    own = image.preferred.copy()
    kinds = Choices.together([Choices.of(shot, shot.preferred) for shot in shots])
    assert image_of(select(image, kinds, image.preferred)) == WHOLES
    np.testing.assert_array_equal(image.preferred, own)
