"""Tray bolts, end to end: found, listed, and counted or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fmlad import Detector
from fmlad.errors import OptionError
from tests.commands.test_main import fmlad_cli
from tests.conftest import Pixels

BOLTS = ((20, 20), (140, 100))


def tray(seed: int, pins: int = 6, bolts: int = 2) -> Pixels:
    """A grey tray, 160 x 120, with dark bolts at two corners and red pins strewn on it."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (160, 120), (190, 190, 185))
    draw = ImageDraw.Draw(picture)
    for x, y in BOLTS[:bolts]:
        draw.ellipse((x - 8, y - 8, x + 8, y + 8), fill=(40, 40, 40))
    places: list[tuple[float, float]] = []
    while len(places) < pins:
        x, y = rng.uniform(14, 146), rng.uniform(14, 106)
        if all((x - a) ** 2 + (y - b) ** 2 > 24**2 for a, b in (*places, *BOLTS)):
            places.append((x, y))
            draw.ellipse((x - 6, y - 6, x + 6, y + 6), fill=(200, 40, 40))
    noise = rng.normal(0, 3, (120, 160, 3))
    return (np.asarray(picture) + noise).clip(0, 255).astype(np.uint8)


SHOTS = [tray(seed) for seed in range(4)]
PLAIN = tray(20)
NO_BOLT = tray(21, bolts=1)
NO_PIN = tray(22, pins=5)


@pytest.fixture(scope="module")
def kept() -> Detector:
    return Detector.from_shots(SHOTS, profile="builtin")


@pytest.fixture(scope="module")
def dropped() -> Detector:
    return Detector.from_shots(SHOTS, profile="builtin", fixtures="drop")


def parts(detector: Detector, query: Pixels) -> int:
    """Objects that were counted in an image."""
    found = detector.predict(query).segmentation
    assert found is not None
    return sum(found.counts().values())


def test_bolts_are_found_and_listed_either_way(kept: Detector, dropped: Detector) -> None:
    assert kept.fixtures == dropped.fixtures
    for fixture, (x, y) in zip(kept.fixtures, BOLTS, strict=True):
        box = np.array([x - 8, y - 8, x + 8, y + 8]) / [160, 120, 160, 120]
        assert fixture.box == pytest.approx(box, abs=0.02)
        assert fixture.description == "dark compact"


def test_kept_ones_count_and_dropped_ones_do_not(kept: Detector, dropped: Detector) -> None:
    assert (parts(kept, PLAIN), parts(dropped, PLAIN)) == (8, 6)
    assert any(f.kind == "missing" and "dark compact" in f.text
               for f in kept.predict(NO_BOLT).findings)  # fmt: skip
    assert kept.predict(NO_BOLT).branch_scores["histogram"] > 1
    found = dropped.predict(NO_BOLT)
    assert found.branch_scores["histogram"] == dropped.predict(PLAIN).branch_scores["histogram"]
    assert [f for f in found.findings if f.part] == []
    # What moves counts in both.
    for detector in (kept, dropped):
        wrong = detector.predict(NO_PIN)
        assert [f.kind for f in wrong.findings if f.part] == ["missing"]
        assert wrong.is_anomalous


def test_a_shot_left_out_does_not_count_its_bolts() -> None:
    # As if there had never been any: bolts would be unknown or extra objects otherwise.
    bare = Detector.from_shots(
        [tray(seed, bolts=0) for seed in range(4)], profile="builtin", banks="histogram"
    )
    alone = Detector.from_shots(SHOTS, profile="builtin", banks="histogram", fixtures="drop")
    assert alone.calibration.scores == pytest.approx(bare.calibration.scores, abs=0.2)
    assert alone.predict(PLAIN).score < 0.5


def test_it_survives_saving_and_further_shots(dropped: Detector, tmp_path: Path) -> None:
    again = Detector.load(dropped.save(tmp_path / "saved"), device="cpu")
    assert again.fixtures == dropped.fixtures
    for query in (PLAIN, NO_BOLT, NO_PIN):
        assert again.predict(query).score == pytest.approx(dropped.predict(query).score, rel=1e-6)
    grown = Detector.from_shots(SHOTS[:3], profile="builtin", fixtures="drop")
    grown.add_shots(SHOTS[3])
    assert grown.fixtures == dropped.fixtures
    assert grown.predict(NO_BOLT).score == pytest.approx(dropped.predict(NO_BOLT).score)


def test_where_there_are_no_parts_there_are_no_fixtures() -> None:
    assert Detector.from_shots(SHOTS, profile="builtin", banks="patch").fixtures == ()
    assert Detector.from_shots(SHOTS[:2], profile="builtin", banks="histogram").fixtures == ()
    with pytest.raises(OptionError, match="fixtures"):
        Detector.from_shots(SHOTS, profile="builtin", fixtures="lose")


def test_fit_lists_them(tmp_path: Path) -> None:
    for number, shot in enumerate(SHOTS):
        Image.fromarray(shot).save(tmp_path / f"{number}.png")
    rest = ("--profile", "builtin", "--no-check", "--option", "banks=histogram")
    out = ("--out", tmp_path.parent / "detector")
    said = fmlad_cli("fit", tmp_path, *out, *rest).stdout
    assert "others move (counted; --option fixtures=drop leaves them out)" in said
    assert said.count("  dark compact, ") == 2
    said = fmlad_cli("fit", tmp_path, *out, *rest, "--option", "fixtures=drop").stdout
    assert "others move (not counted)" in said
