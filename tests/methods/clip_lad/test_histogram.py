"""Corrected Eq. 2: what it must do, and that the printed form does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fmlad.methods.clip_lad.histogram import EPSILON, by_class, class_shares, nearest

shares = arrays(np.float64, 4, elements=st.floats(0, 1).map(lambda v: round(v * 4096) / 4096))


def test_shares_of_a_checkerboard() -> None:
    board = np.array([[0, 1], [2, 1]])
    np.testing.assert_allclose(class_shares(board, 3), [0.5, 0.25, 0.0])


@pytest.mark.parametrize("distance", ["log", "ratio"])
@given(h=shares)
def test_zero_for_identical_finite_and_positive_for_any_change(
    distance: str, h: np.ndarray
) -> None:
    assert nearest(h, [h], distance)[0] == 0.0  # type: ignore[arg-type]
    for row in range(len(h)):
        for value in (0.0, h[row] + 0.1):
            other = h.copy()
            other[row] = value
            found = nearest(other, [h], distance)[0]  # type: ignore[arg-type]
            assert np.isfinite(found)
            assert (found > 0) == (value != h[row])


@given(q=shares, h=shares)
def test_log_is_symmetric_and_ratio_is_the_written_formula(q: np.ndarray, h: np.ndarray) -> None:
    np.testing.assert_allclose(by_class(q, h, "log"), by_class(h, q, "log"))
    np.testing.assert_allclose(by_class(q, h, "ratio"), abs(q - h) / (h + EPSILON))


def test_the_printed_form_fails() -> None:
    h = np.array([0.2, 0.1, 0.3])
    assert nearest(h, [h], "literal")[0] == pytest.approx(3)  # identical: K, not 0
    missing = np.array([0.0, 0.1, 0.3])
    assert nearest(missing, [h], "literal")[0] < 3  # missing: a lower score
    assert nearest(missing, [h], "log")[0] > 0
    new = np.array([0.2, 0.1, 0.3])
    assert nearest(new, [np.array([0.2, 0.0, 0.3])], "literal")[0] == np.inf
    assert nearest(h * 0, [h * 0], "literal")[0] == np.inf  # 0 / 0


def test_the_nearest_shot_decides_the_type() -> None:
    yellow, blue = np.array([0.1, 0.0, 0.2]), np.array([0.0, 0.1, 0.2])
    distance, shot = nearest(np.array([0.0, 0.11, 0.2]), [yellow, blue], "log")
    assert shot == 1
    assert distance < 0.2
    neither = np.array([0.0, 0.0, 0.2])
    assert nearest(neither, [yellow, blue], "log")[0] > 5
