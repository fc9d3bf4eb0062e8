"""The two summaries: keys, what each is, and what is left out when a class is absent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from skimage.measure import label

from fmlad.errors import OptionError
from fmlad.metrics import (
    aupro,
    auroc,
    average_precision,
    f1_floor,
    f1_max,
    fpr_at_tpr,
    image_metrics,
    pixel_auroc,
    pixel_metrics,
    pixel_report,
    spro,
)
from tests.metrics.test_spro import Case

KINDS = ["good", "logical", "structural", "good", "logical", "structural", "good", "structural"]
SCORES = [0.1, 0.3, 0.9, 0.4, 0.2, 0.8, 0.35, 0.36]
OVER_ALL = {"auroc_micro", "ap", "f1_max", "f1_floor", "fpr95"}


def test_image_metrics_are_the_single_ones() -> None:
    labels = [kind != "good" for kind in KINDS]
    got = image_metrics(KINDS, SCORES)
    assert got == {
        "auroc_logical": pytest.approx(2 / 6),
        "auroc_structural": pytest.approx(8 / 9),
        "auroc_mean": pytest.approx((2 / 6 + 8 / 9) / 2),
        "auroc_micro": auroc(labels, SCORES),
        "ap": average_precision(labels, SCORES),
        "f1_max": f1_max(labels, SCORES),
        "f1_floor": f1_floor(labels),
        "fpr95": fpr_at_tpr(labels, SCORES, 0.95),
    }
    assert all(type(value) is float for value in got.values())


@pytest.mark.parametrize(
    ("left", "wanted"),
    [
        ({"good", "logical"}, OVER_ALL | {"auroc_logical"}),
        ({"good", "structural"}, OVER_ALL | {"auroc_structural"}),
        ({"good"}, set()),
        ({"logical", "structural"}, set()),
        (set(), set()),
    ],
)
def test_what_has_no_class_is_left_out(left: set[str], wanted: set[str]) -> None:
    rows = [(kind, score) for kind, score in zip(KINDS, SCORES, strict=True) if kind in left]
    got = image_metrics([kind for kind, _ in rows], [score for _, score in rows])
    assert set(got) == wanted


def test_anomalies_of_an_unknown_sort_count_over_all_alone() -> None:
    kinds = ["good" if kind == "good" else "anomalous" for kind in KINDS]
    got, sorted_ = image_metrics(kinds, SCORES), image_metrics(KINDS, SCORES)
    assert set(got) == OVER_ALL
    assert all(got[key] == sorted_[key] for key in OVER_ALL)


@pytest.mark.parametrize(
    ("kinds", "scores", "says"),
    [
        (["good", "bad"], [0, 1], "unknown kind of image 'bad'"),
        (["good", "logical"], [0], "2 kinds and scores"),
        (["good", "logical"], [0, np.nan], "finite"),
        (["good"], [np.inf], "finite"),
        (["good", "logical"], ["low", "high"], "list of numbers"),
    ],
)
def test_wrong_lists_are_refused(kinds: Any, scores: Any, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        image_metrics(kinds, scores)


def category() -> Case:
    rng = np.random.default_rng(0)
    regions = [rng.random((r, 14, 17)) < 0.15 for r in (2, 0, 1)]
    maps = [rng.normal(size=(14, 17)).astype(np.float32) + own.sum(axis=0) for own in regions]
    return maps, regions, [[own.sum() // 2 for own in each] for each in regions]


def test_pixel_metrics_are_the_single_ones() -> None:
    maps, regions, saturations = category()
    unions = [own.any(axis=0) for own in regions]
    got = pixel_metrics(maps, regions, saturations)
    limits = (0.01, 0.05, 0.1, 0.3, 1.0)
    assert list(got) == ["pixel_auroc", "aupro", *(f"spro@{x}" for x in limits)]
    assert all(type(value) is float for value in got.values())
    assert got["pixel_auroc"] == pytest.approx(pixel_auroc(maps, unions), abs=1e-12)
    assert got["aupro"] == pytest.approx(aupro(maps, unions, 0.3), abs=1e-12)
    for limit in limits:
        wanted = spro(maps, regions, saturations, limit)
        assert got[f"spro@{limit}"] == pytest.approx(wanted, abs=1e-12)
    components = [
        np.array([labels == n for n in range(1, labels.max() + 1)], dtype=bool).reshape(-1, 14, 17)
        for labels in (label(union, connectivity=2) for union in unions)
    ]
    areas = [own.sum(axis=(1, 2)).tolist() for own in components]
    assert got["aupro"] == pytest.approx(spro(maps, components, areas, 0.3), abs=1e-12)


def test_the_report_has_the_curve_too() -> None:
    report = pixel_report(*category(), points=50)
    assert report.figures == pixel_metrics(*category())
    assert report.curve is not None
    assert len(report.curve.fpr) <= 50
    assert report.curve.area(1.0) == pytest.approx(report.figures["spro@1.0"], abs=0.02)


def test_with_kinds_spro_is_measured_as_the_evaluator_of_mvtec_loco_does() -> None:
    maps, regions, saturations = category()
    kinds = ["logical", "good", "structural"]
    got = pixel_metrics(maps, regions, saturations, kinds)
    plain = pixel_metrics(maps, regions, saturations)
    assert {name: got[name] for name in plain} == plain
    for limit in (0.01, 0.05, 0.1, 0.3, 1.0):
        parts = []
        for kind, rows in (("logical", (0, 1)), ("structural", (1, 2))):
            picked = ([many[i] for i in rows] for many in (maps, regions, saturations))
            parts.append(spro(*picked, limit))
            assert got[f"spro_{kind}@{limit}"] == pytest.approx(parts[-1], abs=1e-12)
        assert got[f"spro_mean@{limit}"] == pytest.approx(sum(parts) / 2, abs=1e-12)
    assert pixel_metrics(maps, regions, saturations, ["anomalous", "good", "anomalous"]) == plain
    assert pixel_metrics(maps, regions, saturations, ["logical", "good", "logical"]) == plain
    with pytest.raises(OptionError, match="kinds"):
        pixel_metrics(maps, regions, saturations, ["good"])


def test_nothing_to_find_gives_nothing() -> None:
    report = pixel_report([np.zeros((3, 3))], [np.zeros((0, 3, 3), bool)], [[]])
    assert (report.figures, report.curve) == ({}, None)


def test_wrong_input_is_refused_here_too() -> None:
    maps, regions, saturations = category()
    with pytest.raises(OptionError, match="2 regions"):
        pixel_metrics(maps, regions[:2], saturations)
    with pytest.raises(OptionError, match="saturates at 9999"):
        pixel_metrics(maps, regions, [saturations[0], [], [9999]])
    with pytest.raises(OptionError, match="normal pixel"):
        pixel_metrics([np.zeros((2, 2))], [np.ones((1, 2, 2), bool)], [[4]])
