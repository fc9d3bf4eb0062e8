"""Count laws: what agrees is trusted, what varies is not."""

from __future__ import annotations

import numpy as np
import pytest

from fmlad.objects.counts import count_laws, spread_surprise


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


def test_objects_at_the_border_make_a_count_less_surprising() -> None:
    (law,) = count_laws([np.array([6.0] * 4)])
    sure = law.surprise(7)
    unsure = [law.surprise(7, np.array([chance])) for chance in (0.01, 0.2, 0.5, 0.99)]
    assert sure > unsure[0] > unsure[1] > unsure[2] > unsure[3] >= 0
    assert unsure[3] < 0.1  # six and one that hardly belongs: six
    # One that leaves and one that joins: the count may as well have stayed.
    assert law.surprise(6, np.array([0.5]), np.array([0.5])) < np.log(2) + 0.1
    assert law.surprise(5, joining=np.array([0.99])) < 0.1


def test_chances_of_nought_and_one_are_counts() -> None:
    (law,) = count_laws([np.array([6.0] * 4)])
    assert law.surprise(7, np.array([1.0, 0.0])) == pytest.approx(law.surprise(6))
    assert law.surprise(7, joining=np.array([1.0, 1.0])) == pytest.approx(law.surprise(9))
    assert law.surprise(1, np.array([1.0])) == pytest.approx(law.surprise(0))
