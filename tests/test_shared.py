"""Whole detectors on real photographs, where they are at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fmlad

pytestmark = pytest.mark.shared


@pytest.mark.slow
def test_a_real_board_scan_shows_its_defects_against_its_template(
    shared: Callable[..., Path],
) -> None:
    root, stem = shared("data", "deeppcb", "group77000"), "77000003"
    template = root / "77000" / f"{stem}_temp.jpg"
    detector = fmlad.Detector.from_shots(template, profile="builtin")
    prediction = detector.predict(root / "77000" / f"{stem}_test.jpg")
    assert prediction.is_anomalous
    inside = np.zeros(prediction.anomaly_map.shape, bool)
    lines = (root / "77000_not" / f"{stem}.txt").read_text().splitlines()
    for x0, y0, x1, y1, _ in (map(int, line.split()) for line in lines):
        inside[y0:y1, x0:x1] = True
    assert np.median(prediction.anomaly_map[inside]) > 3 * np.median(
        prediction.anomaly_map[~inside]
    )
    assert not detector.predict(template).is_anomalous


@pytest.mark.slow
def test_dice_that_lie_anywhere_are_judged_without_place(shared: Callable[..., Path]) -> None:
    root = shared("data", "dice")
    trays = set((root / "trays.txt").read_text().split())
    photographs = [p for p in sorted((root / "images").glob("*.jpg")) if p.name not in trays]
    detector = fmlad.Detector.from_shots(photographs[:4], profile="builtin")
    assert any("compared anywhere" in note for note in detector.notes)
    prediction = detector.predict(photographs[10])
    assert prediction.anomaly_map.shape == Image.open(photographs[10]).size[::-1]
