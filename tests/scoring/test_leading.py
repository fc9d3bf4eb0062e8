"""One branch that is the score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fmlad.errors import CorruptDetectorError
from fmlad.scoring.fusion import fusion_from_dict
from fmlad.scoring.leading import Leading

LEADING = Leading("whole", ("one", "other", "whole"))


def test_the_lead_is_the_score_and_the_map() -> None:
    scores = {"one": 3.0, "other": 1.0, "whole": 2.0}
    assert LEADING.fused(scores) == 2.0
    assert LEADING.scaled(scores) == scores
    assert LEADING.scales == {"one": 1.0, "other": 1.0, "whole": 1.0}
    maps = {name: np.full((2, 3), value, np.float32) for name, value in scores.items()}
    assert (LEADING.fused_map(maps) == 2.0).all()
    del maps["whole"]
    assert (LEADING.fused_map(maps) == 3.0).all()
    assert LEADING.fused_map(maps).dtype == np.float32


def test_a_lead_that_is_no_branch_is_refused() -> None:
    with pytest.raises(ValueError, match="none of"):
        Leading("whole", ("one",))


def test_survives_saving() -> None:
    assert fusion_from_dict(LEADING.to_dict()) == LEADING


@pytest.mark.parametrize(
    "change", [{"lead": "third"}, {"lead": None}, {"branches": "whole"}, {"branches": [1]}]
)
def test_a_damaged_description_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CorruptDetectorError):
        fusion_from_dict({**LEADING.to_dict(), **change})
