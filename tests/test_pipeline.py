"""What is said about an image follows from its score."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from fmlad.methods.protocol import Difference, Evidence
from fmlad.pipeline import Fitted, judge
from fmlad.prediction import Prediction
from fmlad.scoring.calibration import Calibration
from fmlad.scoring.fusion import AdaptiveScaling
from fmlad.views import BackboneSet


def judged(patch: float, histogram: float, threshold: float = 1.2) -> Prediction:
    """An image whose two banks say so much, each on a scale of its own."""
    maps = {name: np.zeros((8, 8), np.float32) for name in ("patch", "histogram")}
    maps["patch"][2:4, 2:4] = 4 * patch
    maps["histogram"][5:7, 5:7] = histogram
    box = (5.0, 5.0, 7.0, 7.0)
    found = Difference(
        branch="histogram", score=histogram, kind="missing", part="pin", expected=6, observed=5,
        boxes=(box,),
    )  # fmt: skip
    evidence = Evidence({"patch": 4 * patch, "histogram": histogram}, maps, None, [found])
    method = SimpleNamespace(
        name="fake", branches=tuple(maps), evidence=lambda view, state, exclude: evidence
    )
    fusion = AdaptiveScaling({"patch": 4.0, "histogram": 1.0}, "norm")
    calibration = Calibration(threshold, "leave-one-out", (threshold,))
    fitted = Fitted(cast(Any, method), cast(Any, None), fusion, calibration, (), ())
    return judge(BackboneSet({}).view(np.zeros((8, 8, 3), np.uint8)), fitted)


@pytest.mark.parametrize(("patch", "histogram"), [(0.85, 0.9), (0.9, 0.85), (0.5, 3.0), (3.0, 0.0)])
def test_an_anomalous_image_is_never_left_without_a_reason(patch: float, histogram: float) -> None:
    prediction = judged(patch, histogram)
    assert prediction.is_anomalous
    assert prediction.findings
    first = "missing" if histogram > patch else "defect"
    assert prediction.findings[0].kind == first


def test_a_weak_branch_beside_a_strong_one_gives_no_finding() -> None:
    assert {finding.kind for finding in judged(3.0, 0.6).findings} == {"defect"}


def test_a_normal_image_has_nothing_to_explain() -> None:
    prediction = judged(0.8, 0.8)
    assert not prediction.is_anomalous
    assert not prediction.findings
