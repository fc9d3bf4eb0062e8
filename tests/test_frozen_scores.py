"""Scores of fixed pictures are those on record: what moves code must not move them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.frozen_scores import CASES, differences, measure

RECORD = Path(__file__).parent / "assets" / "frozen_scores.json"
# Another processor rounds otherwise; here the largest difference is 0.
TOLERANCE = 1e-3


def test_the_record_knows_every_case() -> None:
    assert len(json.loads(RECORD.read_text())) == len(CASES)


@pytest.mark.slow
def test_scores_are_those_on_record() -> None:
    recorded, now = json.loads(RECORD.read_text()), measure()
    assert {case: differences(recorded[case], now[case]) for case in recorded} == pytest.approx(
        dict.fromkeys(recorded, 0.0), abs=TOLERANCE
    )
