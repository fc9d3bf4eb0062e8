"""Adaptive maximum: scales learned once, sums afterwards."""

from __future__ import annotations

import json
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmlad.errors import CorruptDetectorError
from fmlad.scoring.fusion import NEGLIGIBLE, AdaptiveScaling, Combine

SCORES = st.dictionaries(st.sampled_from("abc"), st.floats(0, 1e6), min_size=3, max_size=3)


@given(st.lists(SCORES, min_size=1, max_size=6))
def test_no_left_out_image_is_above_one_and_the_oddest_is_at_one(
    left_out: list[dict[str, float]],
) -> None:
    fusion = AdaptiveScaling.fit(left_out)
    for branch in "abc":
        scaled = [fusion.scaled(scores)[branch] for scores in left_out]
        if max(scores[branch] for scores in left_out) > NEGLIGIBLE:
            assert max(scaled) == 1
        else:  # raw values, near zero
            assert max(scaled) <= NEGLIGIBLE


def test_the_score_is_the_sum_of_scaled_branches() -> None:
    fusion = AdaptiveScaling.fit([{"a": 2, "b": 10}, {"a": 4, "b": 5}])
    assert dict(fusion.scales) == {"a": 4, "b": 10}
    assert fusion.scaled({"a": 6, "b": 5}) == {"a": 1.5, "b": 0.5}
    assert fusion.fused({"a": 6, "b": 5}) == 2
    assert type(fusion.fused({"a": np.float32(6), "b": np.float32(5)})) is float


def test_the_maximum_is_that_of_the_greatest_branch() -> None:
    fusion = AdaptiveScaling({"a": 2.0, "b": 1.0}, "maximum")
    assert fusion.fused({"a": 6.0, "b": 2.0}) == 3
    maps = {"a": np.array([[2.0, 0.0]], np.float32), "b": np.array([[0.5, 0.25]], np.float32)}
    np.testing.assert_array_equal(fusion.fused_map(maps), [[1.0, 0.25]])


def test_the_norm_joins_two_of_a_size_and_follows_the_greatest() -> None:
    fusion = AdaptiveScaling({"a": 2.0, "b": 1.0}, "norm")
    assert fusion.fused({"a": 2.0, "b": 1.0}) == pytest.approx(2**0.5)
    assert fusion.fused({"a": 10.0, "b": 1.0}) == pytest.approx(26**0.5)
    assert fusion.fused({"a": 0.0, "b": 3.0}) == pytest.approx(3.0)


def test_a_branch_that_is_zero_on_every_shot_counts_as_it_is() -> None:
    fusion = AdaptiveScaling.fit([{"high": 3.0, "zero": 0.0}, {"high": 1.0, "zero": 0.0}])
    assert fusion.scaled({"high": 3.0, "zero": 0.25}) == {"high": 1.0, "zero": 0.25}


def test_a_branch_seen_on_some_shots_only_is_scaled_by_those() -> None:
    fusion = AdaptiveScaling.fit([{"a": 1.0}, {"a": 2.0, "b": 8.0}])
    assert dict(fusion.scales) == {"a": 2.0, "b": 8.0}
    assert fusion.fused({"a": 2.0}) == 1.0


def test_rescaling_a_branch_changes_nothing() -> None:
    """Why there is a scale at all: the unit of a branch is arbitrary."""
    rows = [{"a": 0.2, "b": 30.0}, {"a": 0.5, "b": 20.0}]
    query = {"a": 0.7, "b": 45.0}
    plain = AdaptiveScaling.fit(rows).fused(query)
    rows = [{**row, "b": row["b"] * 1000} for row in rows]
    assert AdaptiveScaling.fit(rows).fused({**query, "b": 45_000.0}) == pytest.approx(plain)


@pytest.mark.parametrize("combine", get_args(Combine))
def test_maps_are_scaled_like_their_scores(combine: Combine) -> None:
    rng = np.random.default_rng(0)
    fusion = AdaptiveScaling({"a": 4.0, "b": 0.5}, combine)
    maps = {name: rng.random((5, 7), dtype=np.float32) for name in "ab"}
    fused = fusion.fused_map(maps)
    assert fused.dtype == np.float32
    assert fused.shape == (5, 7)
    for at in ((0, 0), (4, 6), (2, 3)):
        pixel = {name: float(map_[at]) for name, map_ in maps.items()}
        assert fused[at] == pytest.approx(fusion.fused(pixel), rel=1e-6)


def test_one_branch_keeps_score_and_map_maximum_equal() -> None:
    map_ = np.random.default_rng(1).random((6, 6), dtype=np.float32)
    fusion = AdaptiveScaling({"patch": 0.37})
    score = fusion.fused({"patch": float(map_.max())})
    assert score == pytest.approx(float(fusion.fused_map({"patch": map_}).max()), rel=1e-6)


@given(st.dictionaries(st.text(max_size=5), st.floats(1e-6, 1e6), max_size=4))
def test_it_survives_json(scales: dict[str, float]) -> None:
    there = json.dumps(AdaptiveScaling(scales).to_dict())
    assert AdaptiveScaling.from_dict(json.loads(there)) == AdaptiveScaling(scales)


GOOD = {"kind": "adaptive-scaling", "scales": {"a": 1.0}, "combine": "sum"}


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "maximum"},
        {"kind": None},
        {"combine": "average"},
        {"combine": None},
        {"scales": None},
        {"scales": [1.0]},
        {"scales": {"a": 0.0}},
        {"scales": {"a": -1.0}},
        {"scales": {"a": float("nan")}},
        {"scales": {"a": float("inf")}},
        {"scales": {"a": "1"}},
        {"scales": {"a": None}},
        {"scales": {"a": True}},
        {"scales": {"a": 1.0, "b": 0.0}},
    ],
)
def test_rubbish_is_refused(change: dict[str, Any]) -> None:
    assert AdaptiveScaling.from_dict(GOOD) == AdaptiveScaling({"a": 1.0})
    with pytest.raises(CorruptDetectorError, match="fusion"):
        AdaptiveScaling.from_dict({**GOOD, **change})


@pytest.mark.parametrize("key", GOOD)
def test_a_missing_key_is_refused(key: str) -> None:
    with pytest.raises(CorruptDetectorError, match="fusion"):
        AdaptiveScaling.from_dict({k: v for k, v in GOOD.items() if k != key})


def test_a_branch_scaled_by_its_mean_stays_between_its_bounds() -> None:
    left_out = [{"a": 0.0, "b": 1.0}, {"a": 0.0, "b": 2.0}, {"a": 9.0, "b": 3.0}]
    for bounds, scale in (((1.0, 6.0), 3.0), ((4.0, 6.0), 4.0), ((1.0, 2.0), 2.0)):
        fitted = AdaptiveScaling.fit(left_out, {"a": bounds}, by_mean=("a",))
        assert fitted.scales == {"a": scale, "b": 3.0}
