"""Regions: what lies outside never counts, and the region moves with the product."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fmlad import Detector, Prediction, pipeline
from fmlad.errors import CorruptDetectorError, OptionError
from fmlad.memory.registration import edges_within, fan, register
from fmlad.regions import Regions, share_inside
from fmlad.storage import MANIFEST
from tests.commands.test_main import fmlad_cli
from tests.conftest import Pixels, picture

SIZE = (96, 128)
ROI = (0, 0, 90, 96)  # the right third is outside
PATCH: dict[str, Any] = {"profile": "builtin", "banks": "patch"}
SHOTS = [picture(i, SIZE) for i in range(4)]
NORMAL = picture(20, SIZE)


def marked(pixels: Pixels, x: int, y: int = 40) -> Pixels:
    """A copy with a dark stroke of 12 x 12 px."""
    changed = pixels.copy()
    changed[y : y + 12, x : x + 12] = 0
    changed[y + 4 : y + 8, x : x + 12] = 255
    return changed


def shifted(pixels: Pixels, right: int, down: int) -> Pixels:
    padded = np.pad(pixels, ((down, 0), (right, 0), (0, 0)), mode="edge")
    return np.ascontiguousarray(padded[: pixels.shape[0], : pixels.shape[1]])


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.from_shots(SHOTS, roi=[ROI], **PATCH)


def same(one: Prediction, other: Prediction) -> bool:
    """The same verdict, but for the picture."""
    return (
        one.score == other.score
        and np.array_equal(one.anomaly_map, other.anomaly_map)
        and one.findings == other.findings
        and one.branch_scores == other.branch_scores
    )


@pytest.mark.parametrize(
    ("options", "looser"),
    [
        (PATCH, {}),
        ({"profile": "builtin"}, {}),
        ({"profile": "builtin", "method": "sam-lad"}, {}),
        ({"profile": "builtin", "prompts": "dice"}, {}),
        (PATCH, {"ignore": [(90, 0, 128, 96)]}),
    ],
)
def test_a_difference_outside_changes_nothing_at_all(
    options: dict[str, Any], looser: dict[str, Any]
) -> None:
    where = looser or {"roi": [ROI]}
    fitted = Detector.from_shots(SHOTS, **where, **options)
    plain = fitted.predict(NORMAL)
    outside = fitted.predict(marked(NORMAL, 108))
    assert same(outside, plain)
    assert np.array_equal(outside.pixels, marked(NORMAL, 108))
    assert not outside.anomaly_map[:, 90:].any()
    assert outside.region is not None
    assert outside.region[:, :90].all()
    assert not outside.region[:, 90:].any()


def test_shots_may_differ_outside(detector: Detector) -> None:
    others = [SHOTS[0], *(marked(shot, 100 + 4 * i, 20 * i) for i, shot in enumerate(SHOTS[1:]))]
    again = Detector.from_shots(others, roi=[ROI], **PATCH)
    assert again.threshold == detector.threshold
    assert same(again.predict(NORMAL), detector.predict(NORMAL))


def test_a_difference_inside_is_found(detector: Detector) -> None:
    normal, odd = detector.predict(NORMAL), detector.predict(marked(NORMAL, 50))
    assert odd.score > 1.5 * normal.score
    assert odd.is_anomalous
    assert odd.findings[0].box is not None
    x1, _, x2, _ = odd.findings[0].box
    assert x1 < 56 < x2


def test_without_a_region_the_same_difference_counts() -> None:
    free = Detector.from_shots(SHOTS, **PATCH)
    assert free.predict(marked(NORMAL, 108)).score > 1.5 * free.predict(NORMAL).score
    assert free.predict(NORMAL).region is None


def test_it_moves_with_the_product(detector: Detector) -> None:
    moved = detector.predict(shifted(NORMAL, 10, 4))
    assert moved.region is not None
    wanted = np.arange(128) < 100
    assert (moved.region == wanted).mean() > 0.97
    # What is marked outside moved along and is still outside; inside it is still found.
    beyond = detector.predict(shifted(marked(NORMAL, 104), 10, 4))
    assert beyond.score == pytest.approx(moved.score, rel=0.02)
    assert detector.predict(shifted(marked(NORMAL, 76), 10, 4)).score > 1.5 * moved.score


def test_it_stays_where_shots_do_not_register() -> None:
    rng = np.random.default_rng(0)

    def loose() -> Pixels:
        pixels = np.full((*SIZE, 3), 120, np.uint8)
        for _ in range(12):
            x, y = rng.integers(0, 116), rng.integers(0, 84)
            pixels[y : y + 10, x : x + 10] = rng.integers(0, 255, 3)
        return pixels

    fitted = Detector.from_shots([loose() for _ in range(4)], roi=[ROI], **PATCH)
    assert fitted.regions is not None
    assert not fitted.regions.follows
    for query in (loose(), shifted(loose(), 10, 4)):
        region = fitted.predict(query).region
        assert region is not None
        assert np.array_equal(region, np.broadcast_to(np.arange(128) < 90, SIZE))
    # Another size: the same relative place.
    larger = np.asarray(Image.fromarray(loose()).resize((256, 192)))
    region = fitted.predict(larger).region
    assert region is not None
    assert np.array_equal(region, np.broadcast_to(np.arange(256) < 180, (192, 256)))


def test_a_query_that_does_not_register_is_noted(detector: Detector) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (*SIZE, 3)).astype(np.uint8)
    found = detector.predict(noise)
    assert any("the region stayed at its relative place" in note for note in found.notes)
    assert found.region is not None
    assert np.array_equal(found.region, np.broadcast_to(np.arange(128) < 90, SIZE))


def test_a_plain_region_moves_with_what_is_around_it() -> None:
    plain = [shot.copy() for shot in SHOTS]
    for pixels in plain:
        pixels[30:60, 40:80] = 150
    fitted = Detector.from_shots(plain, roi=[(42, 32, 78, 58)], **PATCH)
    region = fitted.predict(shifted(plain[0], 10, 4)).region
    assert region is not None
    wanted = np.zeros(SIZE, bool)
    wanted[36:62, 52:88] = True
    assert (region & wanted).sum() > 0.9 * (region | wanted).sum()


def test_a_single_shot_is_enough() -> None:
    fitted = Detector.from_shots(SHOTS[0], roi=[ROI], **PATCH)
    assert same(fitted.predict(marked(NORMAL, 108)), fitted.predict(NORMAL))
    # Its altered copies differ inside alone.
    other = Detector.from_shots(marked(SHOTS[0], 108), roi=[ROI], **PATCH)
    assert other.threshold == fitted.threshold


def test_it_is_saved_with_the_detector(detector: Detector, tmp_path: Path) -> None:
    again = Detector.load(detector.save(tmp_path / "saved"), device="cpu")
    for query in (NORMAL, shifted(marked(NORMAL, 50), 10, 4)):
        first, second = detector.predict(query), again.predict(query)
        assert same(first, second)
        assert first.region is not None
        assert second.region is not None
        assert np.array_equal(first.region, second.region)
    manifest = json.loads((tmp_path / "saved" / MANIFEST).read_text())
    for name, value in (
        ("inside", "no base64"), ("inside", "AAAA"), ("reference", 5), ("colour", [1, 2]),
        ("colour", [1, 2, 300]), ("follows", "yes"),
    ):  # fmt: skip
        with pytest.raises(CorruptDetectorError, match="regions of the saved detector"):
            Regions.from_dict({**manifest["regions"], name: value})


def test_many_at_once_and_further_shots_use_it_too(detector: Detector) -> None:
    queries = [marked(NORMAL, 108), marked(NORMAL, 50)]
    many = list(detector.predict_many(queries))
    assert all(same(a, detector.predict(b)) for a, b in zip(many, queries, strict=True))
    grown = Detector.from_shots(SHOTS[:3], roi=[ROI], **PATCH)
    grown.add_shots(SHOTS[3])
    assert same(grown.predict(queries[0]), detector.predict(queries[0]))


def test_pictures_darken_what_is_outside(detector: Detector) -> None:
    found = detector.predict(NORMAL)
    for shown in (found.overlay(), found.parts_overlay()):
        pixels = np.asarray(shown)
        assert pixels[:, 100:].mean() < 0.5 * NORMAL[:, 100:].mean()
    assert np.array_equal(np.asarray(found.parts_overlay())[:, :80], NORMAL[:, :80])


def test_the_power_check_alters_copies_inside_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = Detector.from_shots(SHOTS, roi=[ROI], **PATCH)
    judged = []
    judge = pipeline.judge

    def spy(view: Any, *rest: Any) -> Prediction:
        judged.append(view)
        return judge(view, *rest)

    monkeypatch.setattr(pipeline, "judge", spy)
    power = fitted.power_check(copies=4)
    assert power.share(["scratch", "stain"]) is not None
    copies = [view for view in judged if "(with" in view.name]
    assert copies
    for view in copies:
        shot = next(s for i, s in enumerate(SHOTS) if view.name.startswith(f"image {i}"))
        assert np.array_equal(view.pixels[:, 90:], shot[:, 90:])
        assert not np.array_equal(view.pixels, shot)


def test_the_outside_has_no_say_in_a_registration() -> None:
    inside = np.broadcast_to(np.arange(128) < 90, SIZE)
    shot = fan(edges_within(SHOTS[0], np.ones(SIZE, bool)))
    found = register(edges_within(shifted(SHOTS[1], 10, 0), inside), shot)
    there = register(edges_within(marked(shifted(SHOTS[1], 10, 0), 112), inside), shot)
    assert found.confidence == there.confidence > 0.8
    assert float(found.matrix[0, 2]) == pytest.approx(-20 / 128, abs=0.01)


def test_shares_of_boxes() -> None:
    inside = np.zeros((10, 20), bool)
    inside[:, :10] = True
    assert share_inside((0, 0, 10, 10), inside) == 1
    assert share_inside((5, 0, 15, 10), inside) == 0.5
    assert share_inside((15, 2, 15, 2), inside) == 0
    assert share_inside((-5, -5, 3, 3), inside) == 1
    assert share_inside((25, 0, 30, 10), inside) == 0


def test_the_command_line(folder: Path, tmp_path: Path) -> None:
    shot = np.asarray(Image.open(folder / "0.png"))
    inside = np.zeros(shot.shape[:2], bool)
    inside[:, :110] = True
    Image.fromarray(inside).save(tmp_path / "mask.png")
    (tmp_path / "right.json").write_text(json.dumps({"boxes": [[110, 0, 160, 120]]}))
    ways = (("--roi", "0,0,110,120"), ("--roi", tmp_path / "mask.png"),
            ("--ignore", tmp_path / "right.json"))  # fmt: skip
    maps = []
    for number, way in enumerate(ways):
        out = tmp_path / f"detector-{number}"
        rest = ("--profile", "builtin", "--option", "banks=patch", "--no-check", *way)
        done = fmlad_cli("fit", folder, "--out", out, *rest)
        assert done.returncode == 0
        assert "The region moves with the product" in done.stdout
        maps.append(Detector.load(out, device="cpu").predict(shot).anomaly_map)
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])
    assert not maps[0][:, 110:].any()
    done = fmlad_cli("fit", folder, "--out", tmp_path / "new", "--roi", "0,0,999,10")
    assert done.returncode == 1
    assert "outside the first shot" in done.stderr
    rules = ("fit", "--out", tmp_path / "new", "--prompts", "dice", "--roi", "0,0,9,9")
    assert "--roi needs normal images" in fmlad_cli(*rules).stderr


def test_it_is_refused_before_any_work() -> None:
    with pytest.raises(OptionError, match="roi="):
        Detector.from_shots(SHOTS, roi=[(0, 0, 999, 10)], backbones={}, **PATCH)
