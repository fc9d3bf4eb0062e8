"""Image-level metrics against brute force and against properties that define them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fmlad
from fmlad.errors import OptionError
from fmlad.metrics import auroc, average_precision, f1_floor, f1_max, fpr_at_tpr

Metric = Callable[[Any, Any], float]
ALL: tuple[Metric, ...] = (auroc, average_precision, f1_max)
REFUSING = (*ALL, fpr_at_tpr)

# Few distinct values, so that ties are the rule.
ROWS = st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=25).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)
Rows = list[tuple[bool, int]]


def columns(rows: Rows) -> tuple[list[int], list[float]]:
    return [int(label) for label, _ in rows], [score / 4 for _, score in rows]


def counts_at(rows: Rows, threshold: float) -> tuple[int, int]:
    """True and false positives of calling anomalous whatever reaches the threshold."""
    called = [label for label, score in rows if score >= threshold]
    return sum(called), len(called) - sum(called)


@given(ROWS)
@settings(deadline=None)
def test_auroc_is_the_share_of_pairs_in_order(rows: Rows) -> None:
    bad = [score for label, score in rows if label]
    good = [score for label, score in rows if not label]
    won = sum((b > g) + 0.5 * (b == g) for b in bad for g in good)
    assert auroc(*columns(rows)) == pytest.approx(won / (len(bad) * len(good)), abs=1e-12)


@given(ROWS)
@settings(deadline=None)
def test_average_precision_is_the_step_sum(rows: Rows) -> None:
    positives = sum(label for label, _ in rows)
    area, before = 0.0, 0.0
    for threshold in sorted({score for _, score in rows}, reverse=True):
        true, false = counts_at(rows, threshold)
        area += (true / positives - before) * true / (true + false)
        before = true / positives
    assert average_precision(*columns(rows)) == pytest.approx(area, abs=1e-12)


@given(ROWS)
@settings(deadline=None)
def test_f1_max_is_the_best_over_all_thresholds(rows: Rows) -> None:
    positives = sum(label for label, _ in rows)
    best = 0.0
    for threshold in {score for _, score in rows}:
        true, false = counts_at(rows, threshold)
        best = max(best, 2 * true / (true + false + positives))
    got = f1_max(*columns(rows))
    assert got == pytest.approx(best, abs=1e-12)
    share = positives / len(rows)
    assert got >= 2 * share / (1 + share) - 1e-12


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_equal_scores_give_the_floors(share: float) -> None:
    labels = np.arange(100) < 100 * share
    scores = np.zeros(100)
    assert auroc(labels, scores) == pytest.approx(0.5)
    assert average_precision(labels, scores) == pytest.approx(share)
    assert f1_max(labels, scores) == pytest.approx(2 * share / (1 + share))


@pytest.mark.parametrize("metric", ALL)
def test_perfect_order_gives_one(metric: Metric) -> None:
    assert metric([0, 1, 0, 1, 1], [-1, 5, 0, 3, 4]) == pytest.approx(1)


def test_the_direction_is_higher_is_more_anomalous() -> None:
    assert auroc([1, 0], [0.1, 0.9]) == 0
    assert average_precision([1, 0, 0], [0.1, 0.9, 0.8]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("metric", ALL)
@given(rows=ROWS)
@settings(deadline=None, max_examples=30)
def test_only_the_order_matters(metric: Metric, rows: Rows) -> None:
    labels, scores = columns(rows)
    assert metric(labels, np.exp(3 * np.array(scores))) == pytest.approx(metric(labels, scores))


@pytest.mark.parametrize("metric", ALL)
def test_lists_arrays_and_booleans_give_the_same_plain_float(metric: Metric) -> None:
    labels, scores = [0, 1, 0, 1, 1], [0.1, 0.4, 0.35, 0.8, 0.2]
    wanted = metric(labels, scores)
    assert type(wanted) is float
    for kind in (bool, np.uint8, np.float32, np.int64):
        assert metric(np.array(labels, dtype=kind), np.array(scores)) == wanted


@given(ROWS, st.sampled_from([0.05, 0.5, 0.8, 0.95, 1.0]))
@settings(deadline=None)
def test_fpr_at_tpr_is_the_least_over_all_thresholds(rows: Rows, tpr: float) -> None:
    positives = sum(label for label, _ in rows)
    rates = [counts_at(rows, threshold) for threshold in {score for _, score in rows}]
    wanted = min(
        false / (len(rows) - positives) for true, false in rates if true / positives >= tpr - 1e-12
    )
    assert fpr_at_tpr(*columns(rows), tpr) == pytest.approx(wanted, abs=1e-12)


def test_nineteen_of_twenty_are_95_per_cent() -> None:
    labels = [1] * 20 + [0] * 4
    scores = [*range(10, 30), 0, 1, 10.5, 50]  # the lowest anomaly needs one more false alarm
    assert fpr_at_tpr(labels, scores) == pytest.approx(1 / 4)
    assert fpr_at_tpr(labels, scores, 1.0) == pytest.approx(2 / 4)


@pytest.mark.parametrize("tpr", [0, -1, 1.1, np.nan])
def test_rates_out_of_range_are_refused(tpr: float) -> None:
    with pytest.raises(OptionError, match="tpr must lie in"):
        fpr_at_tpr([0, 1], [0, 1], tpr)


def test_the_floor_of_f1_is_what_calling_all_anomalous_gives() -> None:
    assert f1_floor([1, 0, 1, 1]) == pytest.approx(f1_max([1, 0, 1, 1], [5, 5, 5, 5]))
    assert f1_floor([1, 0, 1, 1]) == pytest.approx(6 / 7)
    assert type(f1_floor([0, 1])) is float
    with pytest.raises(OptionError, match="of 2 images 0"):
        f1_floor([0, 0])
    with pytest.raises(OptionError, match=r"0 .normal. or 1"):
        f1_floor([0, 2])


@pytest.mark.parametrize("metric", REFUSING)
@pytest.mark.parametrize(
    ("labels", "scores", "says"),
    [
        ([0, 0, 0], [1, 2, 3], "of 3 images 0 are anomalous"),
        ([1, 1], [1, 2], "of 2 images 2 are anomalous"),
        ([], [], "of 0 images"),
        ([0, 1], [0.5, np.nan], "finite"),
        ([0, 1], [0.5, np.inf], "finite"),
        ([0, 1, 1], [0.5, 1], r"\(3,\).*\(2,\)"),
        ([[0, 1]], [[0.5, 1]], r"\(1, 2\)"),
        (1, 0.5, "two lists"),
        ([0, 2], [0.5, 1], "0 .normal. or 1"),
        ([0, -1], [0.5, 1], "0 .normal. or 1"),
        ([0, 0.5], [0.5, 1], "0 .normal. or 1"),
        ([0, np.nan], [0.5, 1], "0 .normal. or 1"),
        (["good", "bad"], [0.5, 1], "0 .normal. or 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    metric: Metric, labels: Any, scores: Any, says: str
) -> None:
    with pytest.raises(OptionError, match=says):
        metric(labels, scores)


@pytest.mark.parametrize("scores", [["low", "high"], [[1], [1, 2]]])
def test_scores_that_are_no_numbers_are_refused(scores: Any) -> None:
    with pytest.raises(OptionError):
        auroc([0, 1], scores)


def test_metrics_are_reachable_after_a_bare_import() -> None:
    assert fmlad.metrics.auroc is auroc
