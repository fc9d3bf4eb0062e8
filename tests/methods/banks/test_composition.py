"""Mean embeddings of parts: as far as is usual between shots, and farther."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmlad.methods.banks.composition import PRIOR_WEIGHT, Composition


def vectors(spread: float, count: int = 4, seed: int = 0, middle: float = 0.0) -> np.ndarray:
    return middle + np.random.default_rng(seed).normal(0, spread, (count, 8))


@given(st.integers(0, 5), st.integers(1, 6), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_a_remembered_vector_is_no_distance_away(
    seed: int, count: int, spread: float, unit: float
) -> None:
    memory = [vectors(spread, count, seed), vectors(2 * spread, 3, seed + 1)]
    bank = Composition(memory, unit)
    for part, rows in enumerate(memory):
        assert [bank.distance(part, row) for row in rows] == [0.0] * len(rows)
        assert 0 < bank.distance(part, rows[0] + spread) < np.inf


def test_the_nearest_shot_counts() -> None:
    memory = np.array([[0.0, 0], [10, 0], [0, 10]])
    bank = Composition([memory], 1.0)
    one = bank.distance(0, np.array([1.0, 0]))
    assert bank.distance(0, np.array([9.0, 0])) == pytest.approx(one)
    assert bank.distance(0, np.array([2.0, 0])) == pytest.approx(2 * one)


def test_a_part_that_no_shot_has_says_nothing() -> None:
    bank = Composition([np.zeros((0, 8)), vectors(1)], 1.0)
    assert bank.distance(0, np.full(8, 100.0)) == 0.0
    assert Composition([np.zeros((0, 8))], 1.0).distance(0, np.ones(8)) == 0.0


def test_what_differs_between_shots_may_differ_more() -> None:
    steady, varied = vectors(0.1), vectors(3.0)
    bank = Composition([steady, varied], 1.0)
    step = np.eye(8)[0]
    at_steady = min(bank.distance(0, row + step) for row in steady)
    at_varied = min(bank.distance(1, row + step) for row in varied)
    assert at_steady > 1.5 * at_varied


def test_a_part_seen_once_is_measured_by_the_others() -> None:
    once = np.zeros((1, 8))
    step = 10 * np.eye(8)[0]
    quiet = Composition([once, vectors(0.5)], 1.0).distance(0, step)
    loud = Composition([once, vectors(5.0)], 1.0).distance(0, step)
    assert quiet == pytest.approx(10 * loud, rel=1e-6)
    alone = Composition([once], 2.5)
    # Without any other the unit given: here the prior alone.
    assert Composition([once, np.zeros((0, 8))], 2.5).distance(0, step) == alone.distance(0, step)


def test_without_any_spread_the_unit_holds() -> None:
    same = np.tile(np.arange(8.0), (4, 1))
    step = np.eye(8)[0]
    bank = Composition([same], 2.0)
    # A quarter of the unit is believed for PRIOR_WEIGHT shots, and four shots had none.
    usual = PRIOR_WEIGHT * 0.25 * 2.0 / (PRIOR_WEIGHT + 4)
    assert bank.distance(0, same[0] + step) == pytest.approx(1 / usual)


@given(st.floats(0.01, 100))
def test_the_scale_of_features_does_not_matter(factor: float) -> None:
    memory, query = [vectors(1.0), vectors(2.0, 3, 1)], np.ones(8)
    plain, scaled = Composition(memory, 1.0), Composition([factor * m for m in memory], factor)
    for part in range(2):
        assert scaled.distance(part, factor * query) == pytest.approx(plain.distance(part, query))
