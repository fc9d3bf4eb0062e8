"""Thresholds and p-values: what they are, what they promise, what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmlad.errors import CorruptDetectorError, OptionError
from fmlad.scoring import quantiles
from fmlad.scoring.calibration import Calibration, Source, checked_rate, far_odder

FINITE = st.floats(-1e6, 1e6)
NORMAL = Calibration.fit([0.5, 1.0, 0.25], "leave-one-out")


def test_with_enough_scores_the_threshold_is_a_rank() -> None:
    scores = [float(score) for score in range(1, 20)]
    assert Calibration.fit(scores, "validation").threshold == 19.0  # 1 in 20
    tenth = Calibration.fit(scores, "validation", rate=0.1)
    assert (tenth.threshold, tenth.modelled, tenth.missing) == (18.0, False, 0)
    assert tenth.sure_above == 19.0
    assert Calibration.fit(scores, "validation", rate=0.05).sure_above is None


def test_with_few_scores_it_is_read_off_their_spread_and_says_so() -> None:
    assert NORMAL.modelled
    assert (NORMAL.rate, NORMAL.missing) == (0.15, 3)  # six images promise 1 in 7
    assert 0.5 < NORMAL.threshold < 2.0
    assert NORMAL.sure_above > NORMAL.threshold
    assert NORMAL.scores == (0.25, 0.5, 1.0)
    wanted = Calibration.fit([0.5, 1.0, 0.25], "leave-one-out", rate=0.05)
    assert wanted.threshold == pytest.approx(NORMAL.sure_above)
    assert "16 more normal images" in wanted.describe()
    copies = Calibration.fit([0.5, 1.0, 0.25, 0.3], "augmentations", rate=0.05)
    assert copies.missing == 19  # altered copies are no images


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=30), st.floats(0.01, 0.5))
def test_fewer_false_alarms_take_a_higher_threshold(scores: list[float], rate: float) -> None:
    low = Calibration.fit(scores, "validation", rate=rate)
    lower = Calibration.fit(scores, "validation", rate=rate / 2)
    if low.modelled == lower.modelled:
        assert low.threshold <= lower.threshold
    allowed = math.floor(rate * (len(scores) + 1) + 1e-9)
    if not low.modelled:
        assert sum(score > low.threshold for score in scores) < max(allowed, 1)


@pytest.mark.parametrize(("n", "rate"), [(19, 0.05), (19, 0.1), (6, 0.15), (99, 0.02)])
def test_ranks_keep_their_promise(n: int, rate: float) -> None:
    rng = np.random.default_rng(n)
    alarms = [
        Calibration.fit(rng.gamma(2, size=n).tolist(), "validation", rate=rate).decide(rng.gamma(2))
        for _ in range(4000)
    ]
    expected = math.floor(rate * (n + 1) + 1e-9) / (n + 1)
    assert np.mean(alarms) == pytest.approx(expected, abs=4 * math.sqrt(expected / 4000))


def test_the_model_keeps_its_word_where_it_holds() -> None:
    rng = np.random.default_rng(0)
    alarms = []
    for _ in range(3000):
        spread = quantiles.SPREAD * math.sqrt(quantiles.WORTH / rng.chisquare(quantiles.WORTH))
        *known, new = np.exp(rng.normal(0, spread, 5)) - quantiles.OFFSET
        alarms.append(new > quantiles.predictive(known, 0.1))
    assert np.mean(alarms) == pytest.approx(0.1, abs=0.025)


def test_decisions_leave_room_for_doubt() -> None:
    assert NORMAL.threshold is not None
    assert NORMAL.sure_above is not None
    between = (NORMAL.threshold + NORMAL.sure_above) / 2
    assert NORMAL.decision(NORMAL.threshold) == "ok"
    assert NORMAL.decision(between) == "unsure"
    assert NORMAL.decide(between) is True
    assert NORMAL.decision(NORMAL.sure_above + 1) == "not_ok"
    assert NORMAL.with_threshold(0.7).decision(0.8) == "not_ok"
    assert NORMAL.with_threshold(None).decision(0.8) is None


@pytest.mark.parametrize("value", [0, 1, -0.1, "0.1", True, float("nan")])
def test_a_rate_that_is_no_share_is_refused(value: Any) -> None:
    with pytest.raises(OptionError, match="target_false_alarms"):
        checked_rate(value)


def test_nothing_known_means_no_decision() -> None:
    calibration = Calibration.fit([], "validation")
    assert calibration.threshold is None
    assert calibration.decide(1e9) is None
    assert calibration.p_value(1e9) is None


@given(st.lists(FINITE, min_size=1, max_size=8), FINITE)
def test_the_p_value_is_the_rank(scores: list[float], score: float) -> None:
    p = Calibration.fit(scores, "validation").p_value(score)
    at_least = sum(1 for s in scores if s >= score)
    assert p == (1 + at_least) / (1 + len(scores))
    assert 1 / (1 + len(scores)) <= p <= 1


@given(st.lists(FINITE, min_size=1, max_size=8), FINITE, FINITE)
def test_odder_is_never_more_probable(scores: list[float], a: float, b: float) -> None:
    calibration = Calibration.fit(scores, "validation")
    low, high = calibration.p_value(min(a, b)), calibration.p_value(max(a, b))
    assert low is not None
    assert high is not None
    assert low >= high


@pytest.mark.parametrize("n", [1, 4, 9])
def test_p_values_of_normal_images_are_uniform_on_their_ranks(n: int) -> None:
    """The conformal promise: P(p <= k / (n + 1)) = k / (n + 1) for exchangeable scores."""
    rng = np.random.default_rng(n)
    rounds = 4000
    p = [
        Calibration.fit(rng.gamma(2, size=n).tolist(), "validation").p_value(rng.gamma(2))
        for _ in range(rounds)
    ]
    shares = np.bincount(np.rint(np.array(p) * (n + 1)).astype(int), minlength=n + 2)[1:] / rounds
    spread = np.sqrt(1 / (n + 1) * n / (n + 1) / rounds)
    assert np.abs(shares - 1 / (n + 1)).max() < 4 * spread


def test_ties_only_make_p_values_cautious() -> None:
    rng = np.random.default_rng(0)
    p = np.array(
        [
            Calibration.fit(rng.integers(0, 3, 4).tolist(), "validation").p_value(
                rng.integers(0, 3)
            )
            for _ in range(2000)
        ]
    )
    for level in (0.2, 0.4, 0.6, 0.8):
        assert (p <= level + 1e-9).mean() <= level + 0.03


def test_a_threshold_of_the_users_own_keeps_the_scores() -> None:
    changed = NORMAL.with_threshold(2)
    assert (changed.threshold, changed.source) == (2.0, "user")
    assert type(changed.threshold) is float
    assert changed.scores == NORMAL.scores
    assert changed.p_value(0.7) == NORMAL.p_value(0.7)
    assert NORMAL.source == "leave-one-out"
    assert changed.decide(1.5) is False


def test_a_threshold_can_be_taken_away() -> None:
    changed = NORMAL.with_threshold(None)
    assert changed.decide(1e9) is None
    assert changed.source == "user"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), True, "1", [1], 1j])
def test_a_threshold_that_is_no_finite_number_is_refused(value: Any) -> None:
    with pytest.raises(OptionError, match="threshold must be"):
        NORMAL.with_threshold(value)


@pytest.mark.parametrize("value", [np.float32(0.5), np.int64(2)])
def test_a_threshold_may_be_any_real_scalar(value: Any) -> None:
    assert NORMAL.with_threshold(value).threshold == value


def test_a_huge_integer_threshold_is_refused() -> None:
    with pytest.raises(OptionError):
        NORMAL.with_threshold(10**400)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("leave-one-out", "3 shots"),
        ("augmentations", "3 gentle alterations"),
        ("validation", "3 validation images"),
        ("user", "by the user"),
    ],
)
def test_it_says_where_the_threshold_came_from(source: Source, says: str) -> None:
    assert says in Calibration(1.0, source, (0.1, 0.2, 1.0)).describe()


@given(st.none() | FINITE, st.lists(FINITE, max_size=5), st.sampled_from(["validation", "user"]))
def test_it_survives_json(threshold: float | None, scores: list[float], source: Source) -> None:
    calibration = Calibration(threshold, source, tuple(sorted(scores)))
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration


GOOD = NORMAL.to_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": "1.0"},
        {"threshold": True},
        {"threshold": [1.0]},
        {"source": "guessed"},
        {"source": None},
        {"scores": None},
        {"scores": "0.5"},
        {"scores": {"a": 0.5}},
        {"scores": [0.5, None]},
        {"scores": [0.5, "1"]},
        {"scores": [True]},
        {"rate": "0.1"},
        {"sure_above": True},
        {"modelled": 1},
        {"dropped": -1},
    ],
)
def test_rubbish_is_refused(change: dict[str, Any]) -> None:
    assert Calibration.from_dict(GOOD) == NORMAL
    with pytest.raises(CorruptDetectorError, match="calibration"):
        Calibration.from_dict({**GOOD, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": float("nan")},
        {"threshold": float("inf")},
        {"scores": [0.5, float("nan")]},
        {"source": ["user"]},
    ],
)
def test_more_rubbish_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CorruptDetectorError):
        Calibration.from_dict({**GOOD, **change})


@pytest.mark.parametrize("key", ["source", "scores"])
def test_a_missing_key_is_refused(key: str) -> None:
    with pytest.raises(CorruptDetectorError, match="calibration"):
        Calibration.from_dict({k: v for k, v in GOOD.items() if k != key})


def test_a_missing_threshold_is_refused() -> None:
    with pytest.raises(CorruptDetectorError):
        Calibration.from_dict({k: v for k, v in GOOD.items() if k != "threshold"})


def test_one_shot_far_odder_than_the_others_is_left_aside_on_request_alone() -> None:
    scores = [0.9, 0.6, 4.0, 0.7]
    kept = Calibration.fit(scores, "leave-one-out")
    assert kept.scores[-1] == 4.0
    dropped = Calibration.fit(scores, "leave-one-out", odd="drop")
    assert (dropped.scores, dropped.dropped) == ((0.6, 0.7, 0.9), 1)
    assert dropped.threshold < kept.threshold
    assert "3 shots" in dropped.describe()
    assert "1 far odder left aside" in dropped.describe()
    assert Calibration.fit(scores, "validation", odd="drop").dropped == 0
    assert Calibration.fit([0.1, 4.0], "leave-one-out", odd="drop").dropped == 0


def test_scores_below_the_baseline_of_the_fusion_are_never_odd() -> None:
    scores = [0.0, 0.1, 0.2, 1.5]
    assert Calibration.fit(scores, "leave-one-out", odd="drop").dropped == 1
    assert Calibration.fit(scores, "leave-one-out", odd="drop", baseline=3.0).dropped == 0


@pytest.mark.parametrize(
    ("scores", "aside"),
    [
        ([], 0),
        ([1.0], 0),
        ([0.1, 4.0], 0),  # each is as far from the other as the other from it
        ([0.5, 0.6, 4.0], 1),
        ([0.5, 0.6, 4.0, 4.1], 0),  # half of the shots are not the odd ones
        ([0.5, 0.6, 0.7, 4.0, 4.1], 2),
        ([0.5, 0.9, 1.5, 2.5, 4.0], 0),  # no gap
    ],
)
def test_shots_are_far_odder_as_a_minority_beyond_a_gap(scores: list[float], aside: int) -> None:
    assert sum(score > far_odder(scores) for score in scores) == aside
