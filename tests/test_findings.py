"""Defects read off maps whose regions are known."""

from __future__ import annotations

import json
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlad.findings import FLANK, KINDS, Box, Finding, Kind, around, defects, merged


def blank(height: int = 60, width: int = 90) -> np.ndarray:
    return np.zeros((height, width), dtype=np.float32)


def test_boxes_are_tight_and_the_highest_peak_comes_first() -> None:
    map_ = blank()
    map_[5:9, 10:13] = 2.0
    map_[40:41, 80:90] = 3.0
    map_[30:35, 0:5] = 1.5
    map_[32, 2] = 2.5
    found = defects(map_, 1.0)
    assert [(f.box, f.score) for f in found] == [
        ((80, 40, 90, 41), 3.0),
        ((0, 30, 5, 35), 2.5),
        ((10, 5, 13, 9), 2.0),
    ]
    for finding in found:
        assert (finding.kind, finding.part) == ("defect", None)
        assert (finding.expected, finding.observed) == (None, None)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9))
@settings(deadline=None)
def test_every_odd_pixel_is_in_a_box_and_every_score_in_the_map(seed: int, h: int, w: int) -> None:
    map_ = np.random.default_rng(seed).random((h, w), dtype=np.float32)
    found = defects(map_, 0.7, limit=100)
    covered = np.zeros((h, w), dtype=bool)
    for finding in found:
        assert finding.box is not None
        x0, y0, x1, y1 = (int(v) for v in finding.box)
        inside = map_[y0:y1, x0:x1]
        assert finding.score in inside
        # Tight: each edge of the box touches its region.
        odd = inside > FLANK * 0.7
        assert (inside > 0.7).any()
        assert odd[0].any()
        assert odd[-1].any()
        assert odd[:, 0].any()
        assert odd[:, -1].any()
        covered[y0:y1, x0:x1] = True
    assert covered[map_ > 0.7].all()
    assert [f.score for f in found] == sorted((f.score for f in found), reverse=True)
    if found:
        assert found[0].score == map_.max()


def test_corners_join() -> None:
    map_ = blank()
    map_[np.arange(4), np.arange(4)] = 2
    assert [f.box for f in defects(map_, 1)] == [(0, 0, 4, 4)]


def test_the_threshold_itself_is_normal() -> None:
    map_ = np.full((5, 5), 1.0, dtype=np.float32)
    assert defects(map_, 1.0) == []
    assert [f.box for f in defects(map_, 0.999)] == [(0, 0, 5, 5)]


def test_nothing_odd_gives_nothing() -> None:
    assert defects(blank(), 0.0) == []
    assert defects(blank(1, 1), 1.0) == []


def test_at_most_so_many_and_the_worst_of_them() -> None:
    map_ = blank()
    for number in range(20):
        map_[3 * number, 2 * number] = 1 + number
    assert [f.score for f in defects(map_, 0.5)] == list(range(20, 10, -1))
    assert [f.score for f in defects(map_, 0.5, limit=2)] == [20, 19]
    assert defects(map_, 0.5, limit=0) == []


@pytest.mark.parametrize(
    ("rows", "columns", "where"),
    [
        (slice(0, 3), slice(0, 3), "upper left (3 x 3 px)"),
        (slice(0, 3), slice(44, 46), ", top (2 x 3 px)"),
        (slice(28, 33), slice(85, 90), ", right (5 x 5 px)"),
        (slice(28, 32), slice(43, 47), ", centre (4 x 4 px)"),
        (slice(59, 60), slice(89, 90), "lower right (1 x 1 px)"),
        (slice(0, 60), slice(0, 90), "defect (90 x 60 px)"),
    ],
)
def test_the_sentence_says_where_and_how_large(rows: slice, columns: slice, where: str) -> None:
    map_ = blank()
    map_[rows, columns] = 1
    (finding,) = defects(map_, 0.5)
    assert where in finding.text


def test_the_map_is_left_alone() -> None:
    map_ = np.random.default_rng(0).random((20, 20), dtype=np.float32)
    map_.flags.writeable = False
    defects(map_, 0.5)


def test_a_finding_is_json() -> None:
    map_ = blank()
    map_[1:3, 4:6] = 2
    (finding,) = defects(map_, 0.5)
    read = json.loads(json.dumps(finding.to_dict()))
    boxes = tuple(tuple(box) for box in read["boxes"])
    assert Finding(**{**read, "box": tuple(read["box"]), "boxes": boxes}) == finding


def test_the_kinds_are_listed_once() -> None:
    assert get_args(Kind) == KINDS
    assert len(set(KINDS)) == 6


def test_the_crumbs_of_one_defect_are_one_finding() -> None:
    map_ = blank()
    map_[4, 2:9] = [1.2, 0.95, 1.1, 0.95, 1.3, 0.92, 0.5]
    map_[0, 0] = 0.95  # a flank without a peak is nothing
    (finding,) = defects(map_, 1.0)
    assert finding.box == (2, 4, 8, 5)


def named(kind: Kind, score: float, *boxes: Box) -> Finding:
    return Finding(kind, None, None, None, around(boxes), score, kind, boxes)


def test_a_defect_where_a_named_difference_lies_is_that_difference() -> None:
    defect = named("defect", 3.0, (10, 10, 30, 30))
    missing = named("missing", 2.0, (12, 8, 32, 28))
    (found,) = merged([missing, defect])
    assert (found.kind, found.score) == ("missing", 3.0)
    apart = named("missing", 2.0, (60, 60, 80, 80))
    assert [one.kind for one in merged([apart, defect])] == ["defect", "missing"]


def test_of_two_at_one_place_the_more_important_stays() -> None:
    first, second = named("extra", 3.0, (0, 0, 10, 10)), named("resized", 2.0, (1, 1, 10, 10))
    assert merged([second, first]) == [first]
    both = named("resized", 2.0, (1, 1, 10, 10), (50, 50, 60, 60))  # one of them elsewhere
    assert merged([both, first]) == [first, both]


def test_a_scratch_on_a_tray_is_not_the_tray_and_what_has_no_place_stays() -> None:
    tray, scratch = named("resized", 3.0, (0, 0, 100, 100)), named("defect", 2.0, (40, 40, 50, 50))
    placeless = named("missing", 1.0)
    assert merged([placeless, scratch, tray]) == [tray, scratch, placeless]
