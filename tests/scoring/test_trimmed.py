"""Trimmed z-scores against the formula, and what the fusion promises."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmlad.errors import CorruptDetectorError
from fmlad.scoring.fusion import fusion_from_dict
from fmlad.scoring.trimmed import TrimmedMoments, TrimmedZ


def normals(count: int = 50, seed: int = 0) -> list[dict[str, float]]:
    rng = np.random.default_rng(seed)
    return [
        {"g1": float(rng.gamma(9)), "g2": float(40 * rng.gamma(4)), "other": float(rng.gamma(2))}
        for _ in range(count)
    ]


def by_hand(scores: list[float]) -> tuple[float, float]:
    ordered = np.sort(scores)
    low, high = (
        np.interp(q * (len(ordered) - 1), range(len(ordered)), ordered) for q in (0.2, 0.8)
    )
    middle = [s for s in scores if low < s < high]
    mean = sum(middle) / len(middle)
    return mean, math.sqrt(sum((s - mean) ** 2 for s in middle) / len(middle))


def test_moments_are_those_of_the_middle() -> None:
    scores = [one["g2"] for one in normals()]
    found = TrimmedMoments.fit(scores)
    assert (found.mean, found.deviation) == pytest.approx(by_hand(scores))


@given(st.lists(st.floats(0, 1000), min_size=10, max_size=40, unique=True), st.floats(1, 1e6))
def test_the_largest_score_may_be_anything(scores: list[float], more: float) -> None:
    ordered = sorted(scores)
    larger = [*ordered[:-1], ordered[-1] + more]
    # With ten scores or more the quantiles lie between others than the largest.
    assert TrimmedMoments.fit(larger) == TrimmedMoments.fit(ordered)


@pytest.mark.parametrize("scores", [[2.0], [2.0, 2.0, 2.0, 2.0], [1.0, 2.0]])
def test_what_does_not_vary_is_not_divided(scores: list[float]) -> None:
    found = TrimmedMoments.fit(scores)
    assert found.mean == pytest.approx(np.mean(scores))
    assert found.deviation == (1.0 if len(set(scores)) == 1 else 0.5)


def test_the_sum_is_of_trimmed_z_scores() -> None:
    images = normals()
    query = {"g1": 20.0, "g2": 300.0, "other": 5.0}
    expected = 0.0
    for branch, score in query.items():
        mean, deviation = by_hand([one[branch] for one in images])
        expected += (score - mean) / deviation
    assert TrimmedZ.fit(images).sum(query) == pytest.approx(expected)


def test_the_score_keeps_the_order_of_the_sum_and_is_positive() -> None:
    fitted = TrimmedZ.fit(normals())
    images = normals(40, seed=1)
    sums = [fitted.sum(one) for one in images]
    scores = [fitted.fused(one) for one in images]
    assert np.array_equal(np.argsort(sums), np.argsort(scores))
    assert min(scores) > 0 > min(sums)
    far = {"g1": 1e6, "g2": 1.0, "other": 1.0}
    assert fitted.fused(far) == pytest.approx(fitted.sum(far))


def test_units_of_a_branch_do_not_matter() -> None:
    images = normals()
    scaled = [{**one, "g2": 1000 * one["g2"]} for one in images]
    query = {"g1": 9.0, "g2": 200.0, "other": 3.0}
    one, other = TrimmedZ.fit(images), TrimmedZ.fit(scaled)
    assert one.sum(query) == pytest.approx(other.sum({**query, "g2": 200_000.0}))


def test_a_place_that_one_branch_minds_is_not_hidden_by_another() -> None:
    fitted = TrimmedZ.fit(normals())
    quiet = np.zeros((2, 2), np.float32)
    loud = quiet.copy()
    loud[0, 1] = 50.0
    joined = fitted.fused_map({"g1": quiet, "g2": quiet, "other": loud})
    assert joined.dtype == np.float32
    assert joined[0, 1] == pytest.approx(fitted.scaled({"other": 50.0})["other"], rel=0.05)
    assert joined[0, 0] < 1
    assert fitted.fused_map({"other": loud})[0, 1] <= joined[0, 1]


def test_survives_json() -> None:
    fitted = TrimmedZ.fit(normals())
    assert fusion_from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted


@pytest.mark.parametrize(
    "change",
    [
        {"moments": {}}, {"moments": 3}, {"moments": {"g1": [0.0]}},
        {"moments": {"g1": [0.0, 0.0]}}, {"moments": {"g1": [math.nan, 1.0]}},
    ],
)  # fmt: skip
def test_a_damaged_description_is_refused(change: dict[str, object]) -> None:
    data = TrimmedZ.fit(normals()).to_dict()
    with pytest.raises(CorruptDetectorError):
        fusion_from_dict({**data, **change})
