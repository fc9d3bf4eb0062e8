"""The shots as people look at them: small pictures, the most alike, ranks."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmlad import Detector
from fmlad.errors import CorruptDetectorError
from fmlad.shots import THUMBNAIL_SIDE, Gallery, ShotReport, report, thumbnail
from tests.conftest import picture

PATCH = {"profile": "builtin", "banks": "patch", "registration": False}


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (40, 60)) -> np.ndarray:
    return np.full((*size, 3), colour, np.uint8)


def gallery(*pictures: np.ndarray) -> Gallery:
    names = tuple(f"{index}.png" for index in range(len(pictures)))
    return Gallery(names, tuple(map(thumbnail, pictures)))


def test_the_most_alike_is_found_by_its_picture() -> None:
    shown = gallery(plain((250, 0, 0)), plain((0, 250, 0), (80, 80)), plain((0, 0, 250)))
    assert shown.nearest(plain((20, 200, 30), (33, 21))) == 1
    assert shown.nearest(plain((20, 200, 190), (33, 21))) == 1
    assert shown.nearest(plain((20, 200, 190), (33, 21)), frozenset({1})) == 2
    assert shown.nearest(plain((0, 0, 0)), frozenset({0, 1, 2})) is None
    assert Gallery().nearest(plain((0, 0, 0))) is None


def test_places_count_and_not_only_colours() -> None:
    left, right = plain((255, 255, 255)), plain((255, 255, 255))
    left[:, :30] = 0
    right[:, 30:] = 0
    shown = gallery(right, left)
    assert shown.nearest(left // 2) == 1
    assert shown.nearest(right // 2) == 0


def test_thumbnails_are_small_and_never_enlarged() -> None:
    shown = gallery(picture(0, (700, 1000)), picture(0, (24, 32)))
    assert shown.picture(0).size == (THUMBNAIL_SIDE, 224)
    assert shown.picture(1).size == (32, 24)
    assert shown.picture(1).mode == "RGB"


def test_a_thumbnail_that_is_none_is_damage() -> None:
    whole = thumbnail(plain((1, 2, 3)))
    png = io.BytesIO()
    Image.new("RGB", (4, 4)).save(png, "PNG")
    for data in (b"", b"rubbish", whole[: len(whole) // 2], png.getvalue()):
        with pytest.raises(CorruptDetectorError, match=r"a\.png"):
            Gallery(("a.png",), (data,)).nearest(plain((1, 2, 3)))


def test_ranks_are_those_of_the_other_shots() -> None:
    scores = [0.5, 2.0, None, 1.0, 1.0]
    reports = report(list("abcde"), scores, list("abcde"), 0.0, Gallery())
    assert [one.p_value for one in reports] == [1.0, 0.25, None, 0.75, 0.75]
    # By the definition: one and the OTHERS that score as high, of all.
    for one, score in zip(reports, scores, strict=True):
        if score is not None:
            others = [s for r, s in zip(reports, scores, strict=True) if r is not one and s]
            assert one.p_value == (1 + sum(s >= score for s in others)) / 4


def test_a_report_is_json_ready_without_its_picture() -> None:
    one = ShotReport("a", 1.0, None, False, 0.5, 3, Image.new("RGB", (4, 4)))
    assert json.loads(json.dumps(one.to_dict())) == {
        "name": "a", "score": 1.0, "duplicate_of": None, "suspicious": False, "p_value": 0.5,
        "nearest": 3,
    }  # fmt: skip
    assert "Image" not in repr(one)
    assert one == ShotReport("a", 1.0, None, False, 0.5, 3, None)


def test_shots_of_a_detector_know_their_like(tmp_path: Path) -> None:
    dark = [(picture(seed) // 3).astype(np.uint8) for seed in (2, 3)]
    fitted = Detector.from_shots([picture(0), dark[0], picture(1), dark[1]], **PATCH)
    assert [one.nearest for one in fitted.shots] == [2, 3, 0, 1]
    assert min(one.p_value for one in fitted.shots) == 0.25
    assert np.abs(np.asarray(fitted.shots[1].thumbnail, int) - dark[0]).mean() < 8
    loaded = Detector.load(fitted.save(tmp_path / "d"))
    assert loaded.shots == fitted.shots
    for one, two in zip(loaded.shots, fitted.shots, strict=True):
        assert np.array_equal(np.asarray(one.thumbnail), np.asarray(two.thumbnail))
    bare = Detector.load(fitted.save(tmp_path / "bare", thumbnails=False)).shots
    assert [(one.nearest, one.thumbnail) for one in bare] == [(None, None)] * 4
    assert [one.p_value for one in bare] == [one.p_value for one in fitted.shots]


def test_a_single_shot_has_no_like_but_a_picture() -> None:
    [only] = Detector.from_shots(picture(0), **PATCH).shots
    assert (only.nearest, only.p_value, only.score) == (None, None, None)
    assert only.thumbnail is not None
    assert only.thumbnail.size == (160, 120)
