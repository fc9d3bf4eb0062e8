"""Verdicts in words and in JSON, and the parts of a picture."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from fmlad.errors import InvalidImageError, OptionError
from fmlad.findings import Finding
from fmlad.prediction import Failure, NearestShot, Prediction, Segmentation
from fmlad.schema import FailureJson, VerdictJson, json_schema

PARTS = Segmentation(
    np.array([[0, 0, 1], [2, 1, 1]]), ["background", "pin", "slot"], {"pin": 2, "slot": 1}
)
FINDINGS = [
    Finding("missing", "pin", 3.0, 2.0, (0.0, 0.0, 2.0, 1.0), 2.0, "a pin is missing"),
    Finding("extra", "slot", None, None, None, 1.5, "a slot too many"),
]


def prediction(**changes: Any) -> Prediction:
    pixels = np.zeros((2, 3, 3), dtype=np.uint8)
    whole = Prediction(
        "query.png",
        1.25,
        1.0,
        True,
        "not_ok",
        0.2,
        np.zeros((2, 3), dtype=np.float32),
        {"patch": 1.0, "histogram": 0.25},
        PARTS,
        FINDINGS,
        ["registered to 2 shots"],
        pixels,
    )
    return replace(whole, **changes)


def test_areas_are_shares_of_the_picture() -> None:
    assert PARTS.areas() == pytest.approx({"background": 2 / 6, "pin": 3 / 6, "slot": 1 / 6})
    assert PARTS.counts() == {"pin": 2, "slot": 1}


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_areas_add_up_to_one(parts: int, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, parts, (7, 5))
    areas = Segmentation(labels, [f"part-{i}" for i in range(parts)]).areas()
    assert sum(areas.values()) == pytest.approx(1)
    assert len(areas) == parts


def test_a_part_that_is_not_there_covers_nothing() -> None:
    found = Segmentation(np.zeros((4, 4), dtype=np.uint8), ["background", "pin"])
    assert found.areas() == {"background": 1.0, "pin": 0.0}
    assert found.counts() == {}


def test_counts_are_a_copy() -> None:
    PARTS.counts()["pin"] = 99
    assert PARTS.counts()["pin"] == 2


@pytest.mark.parametrize(
    ("decided", "word"),
    [("not_ok", "anomalous"), ("unsure", "unsure"), ("ok", "normal"), (None, "not decided")],
)
def test_the_first_line_is_the_verdict(decided: str | None, word: str) -> None:
    first = prediction(decision=decided).explain().splitlines()[0]
    assert first == f"query.png: {word} (score 1.25, threshold 1.00)"


def test_without_a_threshold_none_is_told() -> None:
    first = prediction(decision=None, threshold=None).explain().splitlines()[0]
    assert first == "query.png: not decided (score 1.25)"


def test_every_finding_is_told_with_its_number_in_order() -> None:
    lines = prediction().explain().splitlines()
    assert lines[1:3] == ["  1. a pin is missing", "  2. a slot too many"]
    many = [replace(FINDINGS[0], text=f"finding {i}") for i in range(1, 13)]
    told = prediction(findings=many).explain()
    assert all(f"  {i}. finding {i}\n" in told for i in range(1, 13))


def test_every_note_is_told() -> None:
    assert "note: registered to 2 shots" in prediction().explain()


@pytest.mark.parametrize(
    ("decided", "told"), [("not_ok", True), ("unsure", True), ("ok", False), (None, False)]
)
def test_an_anomaly_without_a_place_says_so(decided: str | None, told: bool) -> None:
    text = prediction(decision=decided, findings=[]).explain()
    assert ("no single place" in text) is told
    assert "no single place" not in prediction().explain()


def test_the_dictionary_is_plain_json() -> None:
    whole = prediction().to_dict()
    read = json.loads(json.dumps(whole, allow_nan=False))
    assert read["name"] == "query.png"
    assert (read["score"], read["threshold"], read["p_value"]) == (1.25, 1.0, 0.2)
    assert read["is_anomalous"] is True
    assert read["size"] == {"height": 2, "width": 3}
    assert read["branch_scores"] == {"patch": 1.0, "histogram": 0.25}
    assert read["areas"]["pin"] == 0.5
    assert read["counts"] == {"pin": 2, "slot": 1}
    assert [f["kind"] for f in read["findings"]] == ["missing", "extra"]
    assert read["findings"][0]["box"] == [0, 0, 2, 1]
    assert read["findings"][1]["box"] is None
    assert read["notes"] == ["registered to 2 shots"]


def test_what_is_unknown_is_null() -> None:
    changes = {"threshold": None, "is_anomalous": None, "p_value": None, "segmentation": None}
    read = json.loads(json.dumps(prediction(**changes).to_dict()))
    assert all(read[key] is None for key in (*list(changes)[:3], "areas", "counts"))


def test_the_dictionary_is_a_copy() -> None:
    whole = prediction()
    whole.to_dict()["branch_scores"]["patch"] = 99
    whole.to_dict()["notes"].clear()
    assert whole.branch_scores["patch"] == 1.0
    assert whole.notes


def test_it_prints_as_one_line() -> None:
    told = "<Prediction 'query.png': anomalous, score 1.25, threshold 1.00, 2 findings>"
    assert repr(prediction()) == told
    undecided = repr(prediction(threshold=None, decision=None, findings=FINDINGS[:1]))
    assert undecided == "<Prediction 'query.png': not decided, score 1.25, 1 finding>"


def test_notebooks_show_the_overlay_and_the_words() -> None:
    whole = prediction(name="<b>.png")
    with Image.open(io.BytesIO(whole._repr_png_())) as picture:
        assert picture.size == (3, 2)
        assert np.array_equal(np.asarray(picture), np.asarray(whole.overlay()))
    page = whole._repr_html_()
    assert "data:image/jpeg;base64," in page
    assert "1. a pin is missing" in page
    assert "&lt;b&gt;.png" in page
    assert "<b>" not in page


def test_the_schema_of_the_docs_is_that_of_the_code_and_holds_for_every_verdict() -> None:
    path = Path(__file__).parents[1] / "docs" / "verdict.schema.json"
    assert json.loads(path.read_text(encoding="utf-8")) == json_schema()
    adapter = TypeAdapter(VerdictJson | FailureJson)
    failure = Failure("bad.png", InvalidImageError("no picture"))
    unknown = {"threshold": None, "is_anomalous": None, "decision": None, "segmentation": None}
    for one in (prediction(), prediction(**unknown), failure):
        told = one.to_dict()
        adapter.validate_json(json.dumps(told), strict=True)
        whole = FailureJson if isinstance(one, Failure) else VerdictJson
        assert told.keys() == whole.__required_keys__
    with pytest.raises(ValidationError):
        adapter.validate_python({**prediction().to_dict(), "version": 2})


def test_a_failure_names_its_source_and_reason() -> None:
    failure = Failure("bad.png", InvalidImageError("bad.png is no picture."))
    assert json.loads(json.dumps(failure.to_dict())) == {
        "version": 1,
        "name": "bad.png",
        "error": "bad.png is no picture.",
    }


def test_crops_show_the_place_and_the_same_place_in_the_nearest_shot() -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[40:60, 120:140] = 250
    shot = NearestShot("shot.png", Image.new("RGB", (100, 50), "blue"))
    found = Finding(
        "extra", None, None, None, (120, 40, 140, 60), 2.0, "one", ((120, 40, 140, 60),)
    )
    whole = prediction(pixels=pixels, findings=[found, FINDINGS[1]], nearest=shot)
    here, there = whole.crops(1)
    assert max(here.size) == max(there.size)
    middle = np.asarray(here)[here.height // 2, here.width // 2]
    assert middle.min() > 200
    assert np.asarray(here)[2, 2].max() < 50
    assert tuple(np.asarray(there).reshape(-1, 3).max(0)) == (0, 0, 255)
    assert whole.crops(2) == []  # it names no place
    assert len(prediction(pixels=pixels, findings=[found]).crops(1)) == 1
    for number in (0, 3, True):
        with pytest.raises(OptionError, match="no finding"):
            whole.crops(number)
