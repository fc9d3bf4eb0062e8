"""Count laws: what agrees is trusted, what varies is not."""

from __future__ import annotations

import numpy as np
import pytest

from fmlad.banks.histogram import count_laws, spread_surprise


def surprise(counts: list[float], count: float) -> float:
    return count_laws([np.array(counts, float)])[0].surprise(count)


def test_a_steady_count_makes_one_more_surprising_and_two_more_so() -> None:
    assert surprise([6, 6, 6, 6], 6) < 0.01
    assert 2.5 < surprise([6, 6, 6, 6], 7) < surprise([6, 6, 6, 6], 8)
    assert surprise([6, 6, 6, 6], 5) > 2.5


def test_counts_that_vary_make_nothing_surprising() -> None:
    assert surprise([5, 8, 3, 6], 7) < 0.6


@pytest.mark.parametrize("count", [0, 1, 3.5, 200])
@pytest.mark.parametrize("counts", [[], [0], [6], [0, 0, 0], [200] * 16])
def test_every_surprise_is_finite_and_not_negative(counts: list[float], count: float) -> None:
    assert 0 <= surprise(counts, count) < 1e4


def test_one_miscounted_shot_does_not_bring_a_law_down() -> None:
    assert surprise([6, 6, 6, 6, 6, 6, 6, 16], 7) > 2


def test_soft_counts_lie_between() -> None:
    steady = [6.0] * 4
    assert 0 < surprise(steady, 6.3) < surprise(steady, 6.7) < surprise(steady, 7)


def test_a_spread_decides_how_strict_a_place_is() -> None:
    tight = np.array([[0.0, 0.0], [0.01, 0.0], [0.0, 0.01], [0.01, 0.01]])
    loose = tight * 50
    there = np.array([0.2, 0.2])
    strict = spread_surprise(there, tight, 0.02)
    assert strict > 3 * spread_surprise(there, loose, 0.02)
