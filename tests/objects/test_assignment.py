"""Partial assignment against its oracles (Sinkhorn with dustbins) and in edge cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from fmlad.objects.assignment import match, transport


def clear(count: int = 6, own: float = 0.95, other: float = 0.5) -> np.ndarray:
    return np.full((count, count), other) + (own - other) * np.eye(count)


def by_definition(scores: np.ndarray, dustbin: float, temperature: float) -> np.ndarray:
    """SuperGlue's alternation in the plain domain, run until nothing moves."""
    rows, columns = scores.shape
    kernel = np.full((rows + 1, columns + 1), dustbin)
    kernel[:-1, :-1] = scores
    kernel = np.exp((kernel - kernel.max()) / temperature)
    here, there = np.append(np.ones(rows), columns), np.append(np.ones(columns), rows)
    u, v = np.ones(rows + 1), np.ones(columns + 1)
    for _ in range(5000):
        u = here / (kernel @ v)
        v = there / (kernel.T @ u)
    return np.asarray(u[:, None] * kernel * v)


@pytest.mark.parametrize(
    ("scale", "dustbin", "matched", "binned"),
    [
        (1, 2.3457, 0.070, 0.706),
        (1, 4.4124, 0.031, 0.871),
        (10, 2.3457, 0.886, 0.062),
        (10, 4.4124, 0.796, 0.158),
        (20, 2.3457, 0.994, 0.000),
    ],
)
def test_table_of_known_values(scale: float, dustbin: float, matched: float, binned: float) -> None:
    # SuperGlue's dustbin on plain cosines throws everything away; a temperature mends it.
    plan = transport(scale * clear(), dustbin, 1.0)
    # The table was made with another order of updates, which tells in the third digit.
    assert plan[0, 0] == pytest.approx(matched, abs=4e-3)
    assert plan[0, -1] == pytest.approx(binned, abs=4e-3)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (1, 4), (4, 4)])
def test_equals_the_definition(shape: tuple[int, int]) -> None:
    scores = np.random.default_rng(0).normal(size=shape)
    np.testing.assert_allclose(
        transport(scores, 0.3, 0.7), by_definition(scores, 0.3, 0.7), atol=2e-4
    )


@pytest.mark.parametrize(("temperature", "seed"), [(0.25, 0), (0.15, 1), (0.1, 4), (0.04, 5)])
def test_cold_plans_equal_those_of_the_log_domain(temperature: float, seed: int) -> None:
    # Beyond 200 temperatures, a plan after 200 iterations from zero misses its sums by up to 0.75.
    scores = np.random.default_rng(seed).uniform(-60, 0, (3, 5))
    plan = transport(scores, -10.0, temperature)
    kernel = np.full((4, 6), -10.0)
    kernel[:-1, :-1] = scores
    kernel /= temperature
    here, there = np.log([1, 1, 1, 5]), np.log([1, 1, 1, 1, 1, 3])
    u, v = np.zeros(4), np.zeros(6)
    for _ in range(20_000):  # SuperGlue's iteration, run until nothing moves
        u = here - np.logaddexp.reduce(kernel + v, axis=1)
        v = there - np.logaddexp.reduce(kernel + u[:, None], axis=0)
    np.testing.assert_allclose(plan, np.exp(kernel + u[:, None] + v), atol=1e-4)
    np.testing.assert_allclose(plan[:-1].sum(1), 1, atol=1e-9)
    np.testing.assert_allclose(plan[:, :-1].sum(0), 1, atol=1e-4)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10_000))
def test_real_rows_and_columns_sum_to_one(rows: int, columns: int, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(rows, columns))
    plan = transport(scores, 0.0, 0.5)
    np.testing.assert_allclose(plan[:-1].sum(1), 1, atol=1e-2)
    np.testing.assert_allclose(plan[:, :-1].sum(0), 1, atol=1e-2)
    assert (plan >= 0).all()


def test_without_a_dustbin_to_speak_of_it_is_doubly_stochastic() -> None:
    plan = transport(clear(), -40.0, 0.2)[:-1, :-1]
    np.testing.assert_allclose(plan.sum(0), 1, atol=5e-3)
    np.testing.assert_allclose(plan.sum(1), 1, atol=5e-3)


def test_a_great_dustbin_takes_everything() -> None:
    found = match(clear(), 10.0, 0.2)
    assert len(found.pairs) == 0
    np.testing.assert_allclose(found.plan[:-1, -1], 1, atol=1e-3)


def test_order_of_objects_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(5, 4))
    rows, columns = rng.permutation(5), rng.permutation(4)
    straight, shuffled = (
        transport(scores, 0.1, 0.5),
        transport(scores[rows][:, columns], 0.1, 0.5),
    )
    np.testing.assert_allclose(straight[:-1, :-1][rows][:, columns], shuffled[:-1, :-1], atol=1e-6)
    a = {tuple(pair) for pair in match(scores, 0.1, 0.5).pairs.tolist()}
    b = {(rows[i], columns[j]) for i, j in match(scores[rows][:, columns], 0.1, 0.5).pairs}
    assert a == b


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 10_000))
def test_cold_matches_are_the_best_partial_assignment(rows: int, columns: int, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(rows, columns))
    dustbin = -0.2
    gain = np.zeros((rows + columns, rows + columns))
    gain[:rows, :columns] = 2 * (scores - dustbin)  # both leave the dustbin
    best = gain[linear_sum_assignment(-gain)].sum()
    pairs = match(scores, dustbin, 0.05).pairs
    got = sum(2 * (scores[i, j] - dustbin) for i, j in pairs)
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    assert got >= 0.9 * best - 0.2


@pytest.mark.parametrize(("few", "many"), [(1, 7), (2, 7), (3, 20)])
def test_few_before_many_equal_ones_are_all_matched(few: int, many: int) -> None:
    found = match(np.full((few, many), 0.9), 0.2, 0.1)
    assert len(found.pairs) == few
    assert len(found.left_over) == many - few
    assert len(match(np.full((many, few), 0.9), 0.2, 0.1).pairs) == few
    nothing_alike = match(np.full((few, many), -2.0), 0.2, 0.1)
    assert len(nothing_alike.pairs) == 0


def test_equal_objects_are_all_matched_but_the_one_too_many() -> None:
    # Five equal pins before six: published, a row's largest entry is the dustbin or blocked by a
    # tie; all five are matched and one reference is left over here.
    scores = np.full((5, 6), 0.9)
    found = match(scores, 0.2, 0.1)
    assert len(found.pairs) == 5
    assert len(found.left_over) == 1
    extra = match(scores.T, 0.2, 0.1)
    assert (extra.partner < 0).sum() == 1
    assert (extra.nearest >= 0).all()


def test_an_unmatched_object_keeps_its_nearest() -> None:
    scores = np.array([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.1, 0.2, 0.0]])
    found = match(scores, 0.5, 0.05)
    assert found.pairs.tolist() == [[0, 0], [1, 1]]
    assert found.partner.tolist() == [0, 1, -1]
    assert found.nearest.tolist() == [0, 1, 1]
    assert found.left_over.tolist() == [2]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_match(shape: tuple[int, int]) -> None:
    found = match(np.zeros(shape), 0.0, 1.0)
    assert len(found.pairs) == 0
    assert found.partner.tolist() == [-1] * shape[0]
    assert found.nearest.tolist() == [-1] * shape[0]
    assert found.left_over.tolist() == list(range(shape[1]))
    np.testing.assert_allclose(found.plan[:-1].sum(1), 1)


def test_one_to_one_hundreds() -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(0, 0.1, (200, 200)) + 2 * np.eye(200)[rng.permutation(200)]
    found = match(scores, 0.8, 0.1)
    assert len(found.pairs) == 200
    assert (scores[tuple(found.pairs.T)] > 1.5).all()
