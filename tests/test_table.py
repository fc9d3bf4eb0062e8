"""Verdicts as a table."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import fmlad
from fmlad.errors import InvalidImageError, OptionError
from fmlad.findings import Finding
from fmlad.prediction import Failure, Prediction
from fmlad.table import COLUMNS

PICTURE = np.zeros((4, 4, 3), np.uint8)
FOUND = Finding("defect", None, None, None, None, 2.0, "a scratch")
ONE = Prediction(
    "a.png", 2.0, 1.0, True, "not_ok", 0.2, np.zeros((4, 4), np.float32), {"patch": 2.0}, None,
    [FOUND], [], PICTURE,
)  # fmt: skip
BROKEN = Failure("b.png", InvalidImageError("b.png is no picture."))


def test_one_row_an_image_in_order() -> None:
    frame = fmlad.to_frame(iter([ONE, BROKEN]))
    assert tuple(frame.columns) == COLUMNS
    assert frame["name"].tolist() == ["a.png", "b.png"]
    assert frame["verdict"].tolist() == ["anomalous", "could not be read"]
    assert frame["score"].tolist()[0] == 2.0
    assert np.isnan(frame["score"].tolist()[1])
    assert frame["first_finding"].tolist()[0] == "a scratch"
    assert frame["error"].tolist()[1] == "b.png is no picture."


def test_one_alone_and_none_at_all() -> None:
    assert len(fmlad.to_frame(ONE)) == 1
    empty = fmlad.to_frame([])
    assert len(empty) == 0
    assert tuple(empty.columns) == COLUMNS


def test_what_is_no_verdict_is_refused() -> None:
    with pytest.raises(OptionError, match="takes predictions, got str"):
        fmlad.to_frame(["a.png"])


def test_without_pandas_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(OptionError, match="pip install pandas"):
        fmlad.to_frame([ONE])
