"""Batches and joined marks: what is only at work on large data, made to work on small ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlad.metrics import spro_curve, sweep
from fmlad.metrics.curve import SproCurve
from fmlad.metrics.reading import outside, saturating
from fmlad.metrics.summary import SPRO_LIMITS
from tests.metrics import reference
from tests.metrics.test_spro import Case, cases


def swept(case: Case, marks: int) -> SproCurve:
    maps, regions, saturations = case
    images = sweep.Images(
        len(maps),
        lambda i: len(saturations[i]) == 0,
        lambda i: sweep.Pixels(
            maps[i].astype(np.float64),
            outside(regions[i]),
            (saturating(maps[i].astype(np.float64), regions[i], saturations[i], i),),
        ),
    )
    return sweep.sweep(images, "it", marks=marks).curve()


@given(cases(), st.sampled_from([1, 4, 16]))
@settings(deadline=None, max_examples=150)
def test_joined_marks_are_off_by_no_more_than_they_say(case: Case, marks: int) -> None:
    joined, exact = swept(case, marks), reference.curve(*case)
    for limit in (*SPRO_LIMITS, 0.42):
        off = abs(joined.area(limit) - reference.area(exact, limit))
        assert off <= joined.error(limit) + 1e-9
    for fpr, overlap, threshold in zip(joined.fpr, joined.spro, joined.thresholds, strict=True):
        wanted = reference.point([m.astype(float) for m in case[0]], *case[1:], threshold)
        assert (fpr, overlap) == pytest.approx(wanted, abs=1e-9)


def large(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    maps = list(rng.random((4, 60, 70)))
    regions = [rng.random((r, 60, 70)) < 0.3 for r in (2, 0, 1, 3)]
    for map_, own in zip(maps, regions, strict=True):
        map_ += 0.2 * own.sum(axis=0)
    return maps, regions, [[own.sum() / (1 + i) for i, own in enumerate(r)] for r in regions]


def test_more_marks_are_closer_and_say_so() -> None:
    case = large(0)
    exact = spro_curve(*case)
    assert exact.error(1.0) == 0
    errors = []
    for marks in (20, 200, 2000):
        curve = swept(case, marks)
        assert len(np.unique(curve.thresholds)) < 2 * marks + 10
        off = max(abs(curve.area(x) - exact.area(x)) for x in (0.3, 1.0))
        assert off <= max(curve.error(x) for x in (0.3, 1.0))
        errors.append(curve.error(1.0))
    assert errors[0] > 5 * errors[1] > 25 * errors[2] > 0


def test_each_region_keeps_marks_in_proportion_to_its_weight() -> None:
    rng = np.random.default_rng(1)
    areas = (5000, 500, 10)
    maps = [i + 1 + rng.random((1, area)) for i, area in enumerate(areas)] + [np.zeros((1, 9))]
    regions = [np.ones((1, 1, area), bool) for area in areas] + [np.zeros((0, 1, 9), bool)]
    curve = swept((maps, regions, [[float(area)] for area in areas] + [[]]), 100)
    marks = curve.thresholds[1:][np.diff(curve.spro) > 0]  # at a mark, or just below it
    counts = [np.sum((marks > i + 1) & (marks < i + 2)) for i in range(3)]
    assert counts[2] == 10  # too few to leave any out
    assert 10 <= counts[0] <= 80
    assert 10 <= counts[1] <= 80
    assert sum(counts) <= 200


@pytest.mark.parametrize("batch", [1, 5000, 10**6])
def test_batches_change_nothing(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = large(2)
    wanted = spro_curve(*case)
    monkeypatch.setattr(sweep, "BATCH", batch)
    got = spro_curve(*case)
    for field in ("fpr", "spro", "thresholds", "slack"):
        assert (getattr(got, field) == getattr(wanted, field)).all()


def test_mixed_precisions_are_compared_without_rounding() -> None:
    region = np.array([[[True, False]]])
    single = np.array([[0.1, 0.0]], np.float32)
    above = np.array(
        [[np.nextafter(np.float64(np.float32(0.1)), 1), 0.0]]
    )  # by less than a float32
    none = np.zeros((0, 1, 2), bool)
    curve = spro_curve([single, above], [region, none], [[1], []])
    assert curve.spro[curve.fpr <= 0.3].max() == 0  # one of three normal pixels comes first
    assert (curve.fpr[1], curve.spro[1]) == (pytest.approx(1 / 3), 0)
    assert curve.thresholds[1] == above[0, 0]


def test_thinned_keeps_the_ends_and_the_shape() -> None:
    curve = spro_curve(*large(3))
    thin = curve.thinned(200)
    assert len(thin.fpr) <= 200 < len(curve.fpr)
    assert (thin.fpr[0], thin.spro[0], thin.fpr[-1], thin.spro[-1]) == (0, 0, 1, 1)
    assert set(zip(thin.fpr, thin.spro, strict=True)) <= set(
        zip(curve.fpr, curve.spro, strict=True)
    )
    assert thin.area(1.0) == pytest.approx(curve.area(1.0), abs=1e-3)
    assert thin.area(0.05) == pytest.approx(curve.area(0.05), abs=1e-2)
    assert thin.thinned(1000) is thin
    assert thin.to_dict() == {"fpr": thin.fpr.tolist(), "spro": thin.spro.tolist()}
    with pytest.raises(sweep.OptionError, match="two points"):
        curve.thinned(1)
