"""One vocabulary: what a difference is called, where it is said to be, and with what numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmlad.sentences import KINDS, Box, Facts, in_line, region, renamed, sentence, where, with_names

SIZE = (300, 600)


def box(x: float, y: float, side: float = 20) -> Box:
    return x - side / 2, y - side / 2, x + side / 2, y + side / 2


def grid(rows: int, columns: int, step: float = 50) -> list[Box]:
    return [box(100 + step * c, 60 + step * r) for r in range(rows) for c in range(columns)]


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        (
            Facts(kind="missing", part="pin", expected=15, observed=14, boxes=(box(580, 20),)),
            "pin missing, upper right: expected 15, found 14",
        ),
        (
            Facts(kind="extra", part="pin", expected=15, observed=17),
            "2 x pin too many: expected 15, found 17",
        ),
        (
            Facts(
                kind="extra",
                description="small grey",
                expected=0,
                observed=1,
                boxes=(box(300, 290),),
            ),
            "1 object unlike any in the normal images (small grey), bottom",
        ),
        (
            Facts(kind="misplaced", part="part A", description="red", boxes=(box(20, 150),)),
            "part A (red) in the wrong place, left",
        ),
        (
            Facts(kind="resized", part="nut", expected=0.02, observed=0.03, measure="ratio"),
            "nut too large: 1.50 times the usual area",
        ),
        (
            Facts(kind="resized", part="nut", expected=0.04, observed=0.03, measure="share"),
            "nut too small: 3.0% of the image, 4.0% in the normal images",
        ),
        (
            Facts(kind="recoloured", part="cap", instead="a blue one", boxes=(box(300, 150),)),
            "cap of another colour, centre: a blue one in its place",
        ),
        (
            Facts(kind="defect", boxes=((0, 0, 40, 20),)),
            "defect, upper left (40 x 20 px): unlike anything in the normal images",
        ),
        (
            Facts(kind="missing", part="die", expected=6, observed=5, reason="the rule says 6"),
            "die missing: the rule says 6",
        ),
    ],
)
def test_sentences(facts: Facts, told: str) -> None:
    assert sentence(facts, SIZE) == told


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [None, "part A"])
def test_every_kind_has_a_sentence_whatever_is_known(kind: str, part: str | None) -> None:
    for expected, observed, measure, boxes in itertools.product(
        (None, 2.0), (None, 3.0), ("count", "share", "ratio"), ((), (box(50, 50),))
    ):
        facts = Facts(
            kind=kind, part=part, expected=expected, observed=observed, measure=measure, boxes=boxes
        )  # fmt: skip
        told = sentence(facts, SIZE)
        assert told
        assert "None" not in told
        assert (part or "") in told


@given(st.floats(0, 600), st.floats(0, 300))
def test_a_region_is_the_ninth_that_holds_the_centre(x: float, y: float) -> None:
    told = region(box(x, y, 2), SIZE)
    assert ("left" in told) == (x < 200)
    assert ("right" in told) == (x >= 400)
    assert ("upper" in told or told == "top") == (y < 100)
    assert ("lower" in told or told == "bottom") == (y >= 200)


def test_the_whole_picture_is_no_place() -> None:
    assert region((0, 0, 600, 300), SIZE) == ""
    assert where([], SIZE) == ""


def test_a_few_places_are_named_and_many_are_not() -> None:
    corners = [box(10, 10), box(590, 10), box(10, 290), box(590, 290)]
    assert where(corners[:2], SIZE) == "upper left and upper right"
    assert where(corners[:3], SIZE) == "upper left, upper right and lower left"
    assert where(corners, SIZE) == ""
    assert where([box(10, 10), box(30, 20)], SIZE) == "upper left"


def test_more_places_than_missing_objects_are_not_told() -> None:
    boxes = (box(10, 10), box(590, 290))
    one = Facts(kind="missing", part="pin", expected=5, observed=4, boxes=boxes)
    assert sentence(one, SIZE) == "pin missing: expected 5, found 4"
    two = Facts(kind="missing", part="pin", expected=5, observed=3, boxes=boxes)
    assert sentence(two, SIZE).startswith("2 x pin missing, upper left and lower right")


def test_rows_and_columns_are_counted_from_the_nearer_side() -> None:
    peers = grid(3, 5)
    told = [in_line(one, peers) for one in peers]
    assert told[0] == "first row, first from the left"
    assert told[7] == "second row, third from the left"
    assert told[13] == "third row, second from the right"
    assert len(set(told)) == 15
    assert in_line(peers[1], peers[:5]) == "second from the left"
    assert in_line(peers[10], peers[::5]) == "first from the bottom"


def test_a_shaken_grid_is_still_one_and_a_heap_never_was() -> None:
    rng = np.random.default_rng(0)
    shaken = [box(x0 + 10 + dx, y0 + 10 + dy) for (x0, y0, _, _), (dx, dy) in
              zip(grid(3, 5), rng.uniform(-3, 3, (15, 2)), strict=True)]  # fmt: skip
    assert in_line(shaken[6], shaken) == "second row, second from the left"
    named = 0
    for _ in range(50):
        heap = [box(x, y) for x, y in rng.uniform(0, 300, (9, 2))]
        named += sum(bool(in_line(one, heap)) for one in heap)
    assert named < 0.05 * 50 * 9


def test_users_names_take_the_place_of_letters() -> None:
    names = {"part A": "pin", "part C": "cap"}
    assert with_names("part A or part B or part C", names) == "pin or part B or cap"
    assert with_names("part A2", names) == "pin 2"
    assert with_names("part AB", names) == "part AB"
    facts = Facts(kind="misplaced", part="part A", description="small grey")
    assert sentence(renamed(facts, names), SIZE) == "pin in the wrong place"
    assert renamed(facts, {}) == facts
