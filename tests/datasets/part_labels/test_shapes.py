"""Which pixels a shape owns: those whose centres lie inside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fmlad.datasets.part_labels.shapes import circle, polygon, rectangle

SIZE = (24, 32)
coordinate = st.floats(-5, 40, allow_nan=False)
point = st.tuples(coordinate, coordinate)


def centres() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return x + 0.5, y + 0.5


@given(st.tuples(point, point, point))
def test_a_triangle_owns_the_centres_inside(corners: tuple[tuple[float, float], ...]) -> None:
    x, y = centres()
    sides = []
    for (x1, y1), (x2, y2) in zip(corners, (*corners[1:], corners[0]), strict=True):
        sides.append((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1))
    area = sides[0][0, 0] + sides[1][0, 0] + sides[2][0, 0]  # twice the area, everywhere
    assume(abs(area) > 1)
    sign = np.stack(sides) * np.sign(area)
    clear = np.abs(sign).min(0) > 1e-6  # on an edge, either is right
    assert np.array_equal(polygon(corners, SIZE)[clear], (sign > 0).all(0)[clear])


@given(point, point)
def test_a_rectangle_owns_the_centres_inside(one: tuple[float, float], other: Any) -> None:
    x, y = centres()
    (x1, x2), (y1, y2) = sorted((one[0], other[0])), sorted((one[1], other[1]))
    inside = (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
    assert np.array_equal(rectangle(one, other, SIZE), inside)


@given(point, point)
def test_a_circle_owns_the_centres_inside(middle: tuple[float, float], rim: Any) -> None:
    x, y = centres()
    distance = np.hypot(x - middle[0], y - middle[1])
    radius = np.hypot(rim[0] - middle[0], rim[1] - middle[1])
    clear = np.abs(distance - radius) > 1e-6
    assert np.array_equal(circle(middle, rim, SIZE)[clear], (distance < radius)[clear])


def test_boxes_that_touch_share_no_pixel_and_leave_none_out() -> None:
    left, right = rectangle((0, 0), (2, 2), SIZE), rectangle((2, 0), (4, 2), SIZE)
    assert left.sum() == 4
    assert not (left & right).any()
    assert (left | right)[:2, :4].all()


def test_two_corners_are_no_polygon() -> None:
    with pytest.raises(ValueError, match="has 2 corners"):
        polygon([(0, 0), (4, 4)], SIZE)
