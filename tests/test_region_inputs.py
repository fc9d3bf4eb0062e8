"""Regions in every form that a user may give, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fmlad.errors import OptionError
from fmlad.region_inputs import drawn, from_arguments

SIZE = (60, 80)
BOX = (20, 10, 50, 40)
WANTED = np.zeros(SIZE, bool)
WANTED[10:40, 20:50] = True
CORNERS = [(20, 10), (50, 10), (50, 40), (20, 40)]


def region(given: Any) -> np.ndarray:
    return drawn(given, None, SIZE, 512)


@pytest.mark.parametrize(
    "given",
    [
        WANTED,
        WANTED.astype(np.uint8),
        np.where(WANTED, 7, 0),
        [BOX],
        BOX,
        [(20, 10, 50, 25), (20, 25, 50, 40)],
        [CORNERS],
        [np.array(CORNERS)],
        [[(20, 10), (50, 10), (50, 25), (20, 25)], (20, 25, 50, 40)],
        {"boxes": [BOX]},
        {"polygons": [CORNERS]},
        {"boxes": [(20, 10, 35, 40)], "polygons": [[(35, 10), (50, 10), (50, 40), (35, 40)]]},
    ],
)
def test_arrays_boxes_and_polygons_draw_the_same(given: Any) -> None:
    assert np.array_equal(region(given), WANTED)


def test_files_draw_the_same(tmp_path: Path) -> None:
    Image.fromarray(WANTED).save(tmp_path / "mask.png")
    larger = Image.fromarray(WANTED.astype(np.uint8)).resize((160, 120), Image.Resampling.NEAREST)
    larger.save(tmp_path / "larger.png")
    (tmp_path / "boxes.json").write_text(json.dumps({"boxes": [BOX]}))
    for name in ("mask.png", "larger.png", "boxes.json"):
        assert np.array_equal(region(tmp_path / name), WANTED)
        assert np.array_equal(region(str(tmp_path / name)), WANTED)


def test_ignore_is_taken_out_of_roi() -> None:
    assert np.array_equal(drawn(None, [BOX], SIZE, 512), ~WANTED)
    left = drawn([BOX], [(20, 10, 30, 40)], SIZE, 512)
    assert np.array_equal(left[:, 30:], WANTED[:, 30:])
    assert not left[:, :30].any()


def test_large_ones_are_stored_small() -> None:
    small = drawn([(200, 100, 500, 400)], None, (600, 800), 80)
    assert np.array_equal(small, WANTED)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((60, 80), bool), "nothing is left inside"),
        (np.ones((60, 80), bool), "everything is left inside"),
        ([(0, 0, 80, 60)], "everything is left inside"),
        (np.ones((60, 60), bool), "60 x 60 pixels .* expected 80 x 60"),
        (np.ones((60, 80)), "float64"),
        (np.ones((60, 80, 3), np.uint8), r"\(60, 80, 3\)"),
        ([(20, 10, 500, 40)], "outside the first shot of 80 x 60"),
        ([(-1, 10, 50, 40)], "outside the first shot"),
        ([[(0, 0), (200, 0), (0, 10)]], "outside the first shot"),
        ([(50, 10, 20, 40)], "x1 < x2"),
        ([(1, 2, 3)], "expected a box"),
        ([[(1, 2), (3, 4)]], "at least 3 points"),
        (["20,10,50,40"], "expected a box"),
        ([(float("nan"), 0, 1, 1)], "expected a box"),
        ([], "empty list"),
        ({"circles": []}, "circles"),
        ({"boxes": 5}, "expected a list"),
        ({}, "empty list"),
        (5, "cannot be read"),
        ("none.png", "cannot be read: none.png does not exist"),
        ("none.json", "cannot be read"),
    ],
)
def test_what_cannot_be_is_one_clear_line(given: Any, said: str) -> None:
    for roi, ignore in ((given, None), (None, given)):
        if ignore is not None and "inside" in said:
            continue  # nothing ignored is everything inside, and the other way round
        with pytest.raises(OptionError, match=said) as error:
            drawn(roi, ignore, SIZE, 512)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["{", "[1, 2]", '{"boxes": [[1, 2]]}'])
def test_a_file_that_is_none_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.json").write_text(content)
    with pytest.raises(OptionError, match="roi="):
        region(tmp_path / "wrong.json")
    (tmp_path / "wrong.png").write_bytes(b"no picture")
    with pytest.raises(OptionError, match=r"roi= cannot be read: .*wrong\.png"):
        region(tmp_path / "wrong.png")


def test_arguments_of_the_command_line() -> None:
    assert from_arguments("--roi", ["20,10,50,40", "1, 2, 3, 4.5"]) == [BOX, (1, 2, 3, 4.5)]
    assert from_arguments("--roi", ["mask.png"]) == "mask.png"
    for given in (["a.png", "b.png"], ["a.png", "1,2,3,4"]):
        with pytest.raises(OptionError, match="--roi takes one file"):
            from_arguments("--roi", given)
