"""Pictures: of the query's size, on a fixed scale, and never at the expense of their input."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fmlad.draw import BOX_EDGE, boxes, heat, named_regions, outlines, pairs, part_colour
from fmlad.findings import Box, Finding, defects
from fmlad.prediction import Prediction

SIZES = [(8, 8), (1, 1), (1, 40), (60, 90), (50, 4000)]


def picture(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(60, 200, (height, width, 3)).astype(np.uint8)


def finding(box: Box | None) -> Finding:
    return Finding("defect", None, None, None, box, 1.0, "odd")


def prediction(
    pixels: np.ndarray, map_: np.ndarray, threshold: float | None, findings: list[Finding]
) -> Prediction:
    return Prediction("q", 1.0, threshold, None, None, None, map_, {}, None, findings, [], pixels)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_an_overlay_is_a_new_picture_of_the_same_size(height: int, width: int) -> None:
    pixels = picture(height, width)
    map_ = np.linspace(0, 3, height * width, dtype=np.float32).reshape(height, width)
    pixels.flags.writeable = map_.flags.writeable = False
    got = prediction(pixels, map_, 1.0, defects(map_, 1.0)).overlay()
    assert got.mode == "RGB"
    assert got.size == (width, height)
    assert (pixels == picture(height, width)).all()


@pytest.mark.parametrize("threshold", [None, 0.0, 1.0, 50.0, -1.0])
def test_every_threshold_gives_a_picture(threshold: float | None) -> None:
    pixels = picture(20, 30)
    map_ = np.full((20, 30), 0.2, dtype=np.float32)
    assert prediction(pixels, map_, threshold, []).overlay().size == (30, 20)


def test_cold_places_show_the_photograph_as_it_is() -> None:
    pixels = picture(20, 30)
    map_ = np.full((20, 30), 0.5, dtype=np.float32)
    map_[:, 20:] = 2.0
    got = np.asarray(prediction(pixels, map_, 1.0, []).overlay())
    assert (got[:, :20] == pixels[:, :20]).all()
    assert (got[:, 20:] != pixels[:, 20:]).any(axis=2).all()


def test_hotter_is_brighter_and_the_photograph_shines_through() -> None:
    pixels = np.full((1, 6, 3), 100, dtype=np.uint8)
    map_ = np.array([[0, 1, 2, 3, 4, 9]], dtype=np.float32)
    got = np.asarray(heat(pixels, map_, start=1.0, full=4.0)).astype(int)[0]
    assert (got[0] == 100).all()
    assert (got[1] == 100).all()
    red = got[2:, 0]
    assert (np.diff(red) >= 0).all()
    assert (got[4] == got[5]).all()  # above the top nothing changes
    dark = np.asarray(heat(pixels // 4, map_, start=1.0, full=4.0)).astype(int)[0]
    assert (dark[5] < got[5]).all()


def test_the_scale_is_fixed_whatever_else_is_in_the_map() -> None:
    pixels = picture(10, 10)
    map_ = np.full((10, 10), 1.5, dtype=np.float32)
    alone = np.asarray(heat(pixels, map_, 1, 2))
    map_[0, 0] = 100
    among = np.asarray(heat(pixels, map_, 1, 2))
    assert (alone[1:] == among[1:]).all()


def test_an_empty_scale_does_not_divide_by_zero() -> None:
    with np.errstate(all="raise"):
        got = np.asarray(heat(picture(4, 4), np.ones((4, 4), dtype=np.float32), 1.0, 1.0))
    assert (got == picture(4, 4)).all()


BORDERS: list[Box] = [
    (0, 0, 1, 1),
    (79, 59, 80, 60),
    (0, 59, 1, 60),
    (78, 20, 80, 22),
    (0, 0, 80, 60),
    (40, 0, 41, 60),
    (30.5, 20.25, 30.5, 20.25),
    (50, 40, 20, 10),  # the wrong way round
    (-20, -20, 200, 200),
]


@pytest.mark.parametrize("box", BORDERS)
def test_a_box_anywhere_is_drawn(box: Box) -> None:
    grey = Image.new("RGB", (80, 60), (90, 90, 90))
    got = boxes(grey, [finding(box)])
    assert got.size == grey.size
    assert np.unique(np.asarray(grey)).tolist() == [90]
    drawn = np.asarray(got)
    assert (drawn > 200).all(axis=2).any()
    assert (drawn == BOX_EDGE).all(axis=2).any()


@pytest.mark.parametrize("box", [(90, 10, 99, 20), (10, 70, 20, 90), (-30, 10, -20, 20)])
def test_a_box_outside_the_picture_does_no_harm(box: Box) -> None:
    boxes(Image.new("RGB", (80, 60)), [finding(box)])


def test_a_box_lies_around_its_place_and_leaves_it_free() -> None:
    grey = Image.new("RGB", (200, 200), (90, 90, 90))
    drawn = np.asarray(boxes(grey, [finding((100, 100, 150, 140))]))
    changed = np.argwhere((drawn != 90).any(axis=2))
    assert changed.max(axis=0).tolist() == [141, 151]
    assert (drawn[105:135, 130:145] == 90).all()


def test_boxes_carry_their_number_even_if_some_have_no_place() -> None:
    grey = Image.new("RGB", (120, 120), (90, 90, 90))
    place = finding((40, 60, 80, 100))
    one, two = boxes(grey, [place]), boxes(grey, [finding(None), place])
    assert np.asarray(one).tolist() != np.asarray(two).tolist()
    again = boxes(grey, [finding(None), place])
    assert np.asarray(two).tolist() == np.asarray(again).tolist()
    assert np.asarray(boxes(grey, [finding(None)])).tolist() == np.asarray(grey).tolist()


def test_the_number_leaves_a_place_at_the_upper_border_free() -> None:
    grey = Image.new("RGB", (200, 200), (90, 90, 90))
    drawn = np.asarray(boxes(grey, [finding((100, 4, 106, 10))]))
    assert (drawn[6:8, 102:104] == 90).all()


def white(drawn: Image.Image, left: int, top: int, right: int, bottom: int) -> int:
    """White pixels of a region: what can be read of a number."""
    return int((np.asarray(drawn)[top:bottom, left:right] > 200).all(axis=2).sum())


def test_the_number_can_be_read_at_the_right_border() -> None:
    grey = Image.new("RGB", (200, 200), (90, 90, 90))
    inner = boxes(grey, [finding((100, 100, 101, 101))])
    border = boxes(grey, [finding((199, 100, 200, 101))])
    readable = white(inner, 90, 80, 120, 99)
    assert readable > 10
    assert white(border, 170, 80, 200, 99) >= readable


def test_lines_grow_with_the_picture() -> None:
    def share(side: int) -> float:
        blank = Image.new("RGB", (side, side), (90, 90, 90))
        box = (0.3 * side, 0.3 * side, 0.7 * side, 0.7 * side)
        return float((np.asarray(boxes(blank, [finding(box)])) != 90).any(axis=2).mean())

    assert share(2000) == pytest.approx(share(800), rel=0.2)


def test_parts_are_outlined_and_listed() -> None:
    grey = Image.new("RGB", (400, 300), (90, 90, 90))
    labels = np.zeros((300, 400), np.uint8)
    labels[150:250, 50:150], labels[150:250, 250:350] = 1, 2
    names = ["background", "pin", "unmatched"]
    plain = np.asarray(outlines(grey, labels, names))
    listed = np.asarray(outlines(grey, labels, names, {"pin": 1, "slot": 0}))
    assert (plain[155:245, 55:145] == 90).all()  # inside of a part
    assert (plain[:140] == 90).all()
    assert (plain[150, 300] == 255).all()  # what has no counterpart is white
    assert (listed[:140] != 90).any()
    assert (listed[140:] == plain[140:]).all()
    sheet = pairs(grey, Image.new("RGB", (100, 500)))
    assert sheet.size == (400 + 8 + 100, 500)


def test_regions_are_named_where_they_are_largest() -> None:
    pixels = np.full((200, 300, 3), 120, np.uint8)
    labels = np.zeros((200, 300), np.uint8)
    labels[100:180, 20:120] = 1
    labels[100:110, 200:210] = 1
    drawn = np.asarray(named_regions(Image.fromarray(pixels), labels, ["background", "pin", "lid"]))
    changed = (drawn != 120).any(2)
    assert (drawn[179, 20:120] == part_colour(1)).all()
    plate = changed & (labels == 0)
    rows, columns = np.nonzero(plate)
    assert 60 < rows.min() <= rows.max() < 100  # above the region, and no plate for the lid
    assert 20 <= columns.min() <= columns.max() < 120
    assert (pixels == 120).all()
