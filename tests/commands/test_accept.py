"""The loop of feedback on the command line: put aside, accept, undo."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fmlad
from tests.commands.test_main import fmlad_cli
from tests.conftest import picture
from tests.test_storage import manifest_of, tree_of

SIZE = (96, 128)
OPTIONS = ("--profile", "builtin", "--option", "banks=patch", "--option", "registration=false")


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("normal")
    for seed in range(3):
        write(home / f"{seed}.png", picture(seed, SIZE))
    return home


@pytest.fixture(scope="module")
def original(shots: Path) -> Path:
    out = shots.parent / "detectors" / "board"
    done = fmlad_cli("fit", shots, "--out", out, *OPTIONS, "--no-check")
    assert done.returncode == 0, done.stderr
    said = re.search(
        r"Keeps 3 shots \((\d+\.\d) MB\), so that more can be added later", done.stdout
    )
    assert said, done.stdout
    size = sum(path.stat().st_size for path in (out / "originals").iterdir())
    assert float(said[1]) == pytest.approx(size / 1e6, abs=0.05)
    return out


@pytest.fixture
def saved(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "board"))


@pytest.fixture
def line(tmp_path: Path) -> Path:
    """What comes in: one like the shots, and two of a lot with a harmless mark."""
    write(tmp_path / "line" / "good.png", picture(8, SIZE))
    for seed in (9, 10):
        write(tmp_path / "line" / f"marked-{seed}.png", picture(seed, SIZE, defect=True))
    return tmp_path / "line"


def score(detector: Path, image: Path) -> float:
    return fmlad.Detector.load(detector).predict(image).score


def test_the_loop_from_putting_aside_to_accepting_and_back(
    saved: Path, line: Path, tmp_path: Path
) -> None:
    review = tmp_path / "review"
    done = fmlad_cli("predict", saved, line, "--review", review)
    assert done.returncode == 0, done.stderr
    assert "2 images put aside" in done.stdout
    assert sorted(path.name for path in review.iterdir()) == ["marked-10.png", "marked-9.png"]
    for path in review.iterdir():
        assert path.read_bytes() == (line / path.name).read_bytes()

    before = fmlad.Detector.load(saved)
    mark, other = review / "marked-9.png", line / "marked-10.png"
    done = fmlad_cli("accept", saved, mark)
    assert done.returncode == 0, done.stderr
    assert f"{mark}: was anomalous" in done.stdout
    assert "is now normal" in done.stdout
    assert "4 shots now" in done.stdout
    # The accepted image is odd among the shots, and the user is told which is most like it.
    assert re.search(
        r"marked-9\.png: far odder than the other shots .* most like .*\.png", done.stdout
    )
    after = fmlad.Detector.load(saved)
    assert f"Threshold {before.threshold:.3g} before, {after.threshold:.3g} now" in done.stdout
    assert after.predict(other).score < before.predict(other).score
    assert after.journal[-1].names == (str(mark),)

    assert fmlad_cli("accept", saved, other, "--json").returncode == 0
    assert len(fmlad.Detector.load(saved).shots) == 5
    done = fmlad_cli("undo", saved)
    assert f"Taken back: {other}" in done.stdout
    assert score(saved, other) == pytest.approx(after.predict(other).score, rel=1e-5)
    done = fmlad_cli("undo", saved, "--json")
    told = json.loads(done.stdout)
    assert told["taken_back"] == [str(mark)]
    assert told["shots"] == 3
    assert told["threshold"] == pytest.approx(before.threshold, rel=1e-5)
    assert score(saved, other) == pytest.approx(before.predict(other).score, rel=1e-5)
    held = tree_of(saved)
    done = fmlad_cli("undo", saved)
    assert done.returncode == 1
    assert "nothing to take back" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert tree_of(saved) == held


def test_accept_tells_programs_what_it_did(saved: Path, line: Path) -> None:
    marked = sorted(line.glob("marked-*.png"))
    before = fmlad.Detector.load(saved)
    done = fmlad_cli("accept", saved, *marked, "--json")
    told = json.loads(done.stdout)
    after = fmlad.Detector.load(saved)
    assert [one["name"] for one in told["accepted"]] == [str(path) for path in marked]
    for one, path in zip(told["accepted"], marked, strict=True):
        assert one["score_before"] == pytest.approx(before.predict(path).score, abs=1e-6)
        assert one["score"] == pytest.approx(after.predict(path).score, abs=1e-6)
        assert (one["decision_before"], one["decision"]) == ("not_ok", "ok")
    assert (told["threshold_before"], told["threshold"]) == (before.threshold, after.threshold)
    assert told["shots"] == 5
    # Both at once were one change, which goes back as one.
    fmlad_cli("undo", saved)
    assert len(fmlad.Detector.load(saved).shots) == 3


def test_known_images_are_refused_whatever_they_are_called(
    saved: Path, shots: Path, line: Path, tmp_path: Path
) -> None:
    held = tree_of(saved)
    renamed = write(tmp_path / "renamed.bmp", picture(1, SIZE))
    twin = Path(shutil.copy(line / "good.png", tmp_path / "twin.png"))
    for given, words in (
        ([renamed], f"same pixels as the shot {shots / '1.png'}"),
        ([line / "good.png", renamed], "renamed.bmp has the same pixels"),
        ([line / "good.png", twin], f"same pixels as {line / 'good.png'}"),
        ([tmp_path / "nowhere.png"], "does not exist"),
    ):
        done = fmlad_cli("accept", saved, *given)
        assert done.returncode == 1
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert tree_of(saved) == held


def test_without_originals_accept_says_how_to_get_them(
    shots: Path, line: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bare"
    done = fmlad_cli("fit", shots, "--out", out, *OPTIONS, "--no-check", "--no-keep-shots")
    assert "Keeps" not in done.stdout
    assert manifest_of(out)["originals"] is None
    for command in (("accept", out, line / "good.png"), ("undo", out)):
        done = fmlad_cli(*command)
        assert done.returncode == 1
        assert "--no-keep-shots" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert "--check" in fmlad_cli("check", out).stderr


def test_check_tries_a_detector_that_was_not_tried_since_its_last_change(saved: Path) -> None:
    assert fmlad.Detector.load(saved).power is None
    done = fmlad_cli("check", saved)
    assert done.returncode == 0, done.stderr
    assert "scratches" in done.stdout
    assert fmlad.Detector.load(saved).power is not None
    assert fmlad_cli("check", saved).stdout == done.stdout


def test_fit_tells_programs_what_it_keeps(shots: Path, tmp_path: Path) -> None:
    more = ("--validation", write(tmp_path / "v.png", picture(40, SIZE)))
    command = ("fit", shots, "--out", tmp_path / "d", *OPTIONS, "--no-check", *more)
    told = json.loads(fmlad_cli(*command, "--json").stdout)
    assert told["kept"]["images"] == 4
    assert told["kept"]["bytes"] == sum(
        path.stat().st_size for path in (tmp_path / "d" / "originals").iterdir()
    )
    assert {"score", "p_value", "nearest"} <= told["shots"][0].keys()
    assert "all 4 images" in fmlad_cli(*command).stdout


def test_fit_names_the_shot_that_a_suspicious_one_is_most_like(shots: Path, tmp_path: Path) -> None:
    odd = write(tmp_path / "odd.png", picture(9, SIZE, defect=True))
    done = fmlad_cli("fit", shots, odd, "--out", tmp_path / "d", *OPTIONS, "--no-check")
    assert re.search(
        rf"{re.escape(str(odd))}: far odder than the other shots \(score [\d.]+, most like "
        rf"{re.escape(str(shots))}/[012]\.png\)",
        done.stdout,
    )


def test_nothing_is_put_aside_where_nothing_is_odd(saved: Path, line: Path, tmp_path: Path) -> None:
    done = fmlad_cli("predict", saved, line / "good.png", "--review", tmp_path / "review")
    assert "0 images put aside" in done.stdout
    assert not (tmp_path / "review").exists()
