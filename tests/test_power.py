"""What a detector says it will see."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fmlad import Detector
from fmlad.commands.main import cli
from fmlad.datasets import render_scene
from fmlad.errors import CorruptDetectorError, OptionError
from fmlad.power import Caught, PowerCheck
from fmlad.storage import MANIFEST
from fmlad.synthetic import DAMAGES, REARRANGEMENTS

SHOTS = [render_scene("pushpins", 5, "train", "good", index).image for index in range(4)]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.from_shots(SHOTS, profile="builtin")


@pytest.fixture(scope="module")
def power(detector: Detector) -> PowerCheck:
    return detector.power_check(copies=2)


def test_it_tries_every_kind_and_knows_what_each_branch_heard(power: PowerCheck) -> None:
    assert [row.kind for row in power.rows] == [*DAMAGES, *REARRANGEMENTS]
    for row in power.rows:
        assert 0 <= row.in_place <= row.caught <= row.of <= 2
        assert set(row.branches) == {"patch", "histogram", "composition", "combination"}
        assert all(0 <= heard <= row.of for heard in row.branches.values())
    # Fifteen pins, each in its compartment: a missing or second one is what the method is for.
    assert power.share(("missing", "extra")) >= 0.75
    counted = {row.kind: row.branches["histogram"] for row in power.rows}
    assert counted["missing"] + counted["extra"] >= 3
    assert power.share(("nothing",)) is None


def test_it_is_the_same_each_time_and_blind_detectors_say_so(
    detector: Detector, power: PowerCheck
) -> None:
    before = detector.threshold
    assert detector.power_check(copies=2) == power
    try:
        detector.threshold = 1e6
        assert detector.power is None  # it was about another threshold
        blind = detector.power_check(copies=1)
        assert blind.share([*DAMAGES, *REARRANGEMENTS]) == 0
        told = "\n".join(blind.describe())
        assert "0 of 1 found" in told
        assert "small damage will often be missed" in told
        assert "missing, extra and misplaced parts will often be missed" in told
    finally:
        detector.threshold = before


def tried(copies: int, histogram: int) -> PowerCheck:
    """Of three kinds; the patch bank heard one copy."""
    none = {"patch": 0, "histogram": 0}
    heard = {"patch": 1, "histogram": histogram}
    rows = (
        Caught("stain", 0.05, 0, 0, copies, none),
        Caught("missing", 0.05, 0, 0, copies, heard),
        Caught("extra", 0.05, 0, 0, copies, none),
    )
    return PowerCheck(rows, 4)


def test_a_branch_that_heard_no_copy_at_all_is_called_noise() -> None:
    power = tried(8, histogram=0)
    assert list(power.silent) == ["histogram"]
    assert "none of 24 altered copies" in power.silent["histogram"]
    assert any(line.startswith("histogram: no better than noise") for line in power.describe())
    heard = tried(8, histogram=1)
    assert not heard.silent
    assert not any("noise" in line for line in heard.describe())
    assert not tried(7, histogram=0).silent  # too few copies to say so
    assert not PowerCheck((), 4).silent


def test_it_is_saved_printed_again_and_verified(
    detector: Detector, tmp_path: Path, power: PowerCheck
) -> None:
    detector.power_check(copies=2)
    detector.save(tmp_path / "saved")
    again = Detector.load(tmp_path / "saved", device="cpu")
    assert again.power == power
    with pytest.raises(OptionError, match="keeps no original shots"):
        again.power_check()
    said = CliRunner().invoke(cli, ["check", str(tmp_path / "saved")])
    assert said.exit_code == 0
    assert all(line in said.output for line in power.describe())
    read = json.loads(CliRunner().invoke(cli, ["check", str(tmp_path / "saved"), "--json"]).output)
    assert PowerCheck.from_dict(read) == power
    assert json.loads((tmp_path / "saved" / MANIFEST).read_text())["power"] == read


def test_a_detector_that_was_never_tried_says_what_to_do(tmp_path: Path) -> None:
    Detector.from_shots(SHOTS[:2], profile="builtin", banks=["patch"]).save(tmp_path / "saved")
    said = CliRunner().invoke(cli, ["check", str(tmp_path / "saved")])
    assert said.exit_code == 1
    assert isinstance(said.exception, OptionError)
    assert "fmlad fit" in str(said.exception)


def test_with_a_single_shot_it_warns() -> None:
    power = Detector.from_shots(SHOTS[:1], profile="builtin", banks=["patch"]).power_check(copies=1)
    assert "far too optimistic" in power.describe()[-1]


def test_without_parts_damage_alone_is_tried() -> None:
    plain = [
        np.random.default_rng(seed).normal(120, 4, (96, 96, 3)).astype(np.uint8) for seed in (0, 1)
    ]
    power = Detector.from_shots(plain, profile="builtin", banks=["patch"]).power_check(copies=1)
    assert {row.kind for row in power.rows} <= {*DAMAGES, *REARRANGEMENTS}
    if not power.share(REARRANGEMENTS):
        assert any("no single part" in line for line in power.describe())


@pytest.mark.parametrize("copies", [0, -1, True, 1.5, "many"])
def test_a_number_of_copies_that_is_none_is_refused(detector: Detector, copies: object) -> None:
    with pytest.raises(OptionError, match="copies"):
        detector.power_check(copies=copies)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [{"rows": None}, {"shots": "3"}, {"rows": [{"kind": "dent"}]}, {"rows": [1]}],
)
def test_rubbish_is_refused(change: dict[str, object]) -> None:
    good = PowerCheck((Caught("stain", 0.05, 1, 1, 2, {"patch": 1}),), 2).to_dict()
    assert PowerCheck.from_dict(json.loads(json.dumps(good))).to_dict() == good
    with pytest.raises(CorruptDetectorError, match="power check"):
        PowerCheck.from_dict({**good, **change})


def test_looking_for_one_kind_alone() -> None:
    damage = Detector.from_shots(SHOTS[:2], profile="builtin", looks_for="damage")
    assert set(damage.predict(SHOTS[2]).branch_scores) == {"patch"}
    parts = Detector.from_shots(SHOTS[:2], profile="builtin", looks_for="composition")
    assert "patch" not in parts.predict(SHOTS[2]).branch_scores
    with pytest.raises(OptionError, match="'both', 'damage' or 'composition'"):
        Detector.from_shots(SHOTS[:2], profile="builtin", looks_for="dents")
    with pytest.raises(OptionError, match="sets banks itself"):
        Detector.from_shots(SHOTS[:2], profile="builtin", looks_for="damage", banks=["histogram"])
    with pytest.raises(OptionError, match="cannot look for damage alone"):
        Detector.from_shots(SHOTS[:2], profile="builtin", method="sam-lad", looks_for="damage")
