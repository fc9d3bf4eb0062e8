"""``fmlad predict --report`` and ``--csv``."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fmlad import Detector
from fmlad.commands.main import cli
from fmlad.table import COLUMNS


def picture(seed: int, scratched: bool = False) -> np.ndarray:
    y, x = np.mgrid[0:96, 0:128]
    pixels = np.stack([90 + x // 2, 110 + y // 2, 120 + 0 * x], axis=-1).astype(float)
    pixels += np.random.default_rng(seed).normal(0, 3, pixels.shape)
    if scratched:
        pixels[40:44, 30:90] = 250
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    shots = [picture(seed) for seed in range(4)]
    Detector.from_shots(shots, profile="builtin", banks=["patch"]).save(folder / "line")
    (folder / "new").mkdir()
    for name, pixels in {"good": picture(9), "scratched <b>": picture(10, True)}.items():
        Image.fromarray(pixels).save(folder / "new" / f"{name}.png")
    (folder / "new" / "note.png").write_text("no picture")
    return folder


def run(place: Path, *more: str) -> str:
    done = CliRunner().invoke(cli, ["predict", str(place / "line"), str(place / "new"), *more])
    assert done.exit_code == 1  # a file could not be read
    return done.output


def test_the_report_is_one_page_with_the_oddest_first(place: Path) -> None:
    told = run(place, "--report", str(place / "out.html"))
    assert f"Report: {place / 'out.html'}" in told
    page = (place / "out.html").read_text()
    assert "3 images: 1 normal, 1 anomalous, 1 could not be read" in page
    assert not re.search(r"(src|href)='?(http|/)", page)  # nothing beside it
    assert "scratched &lt;b&gt;.png" in page
    assert "<b>.png" not in page
    first, second = re.findall(r"<a class='(\w+)'", page)
    assert (first, second) == ("anomalous", "normal")
    assert "note.png" in page.split("Could not be read")[1]
    assert "threshold " in page.split("<svg")[1]
    assert page.count("<section") == 1  # what is normal is in the film alone
    assert "<figure>" in page  # a crop of what is wrong


def test_a_threshold_of_ones_own_is_what_the_report_says(place: Path) -> None:
    run(place, "--report", str(place / "own.html"), "--threshold", "1000000")
    page = (place / "own.html").read_text()
    assert "set by the user" in page
    assert "2 normal" in page
    assert "Nothing." in page


def test_the_table_has_a_line_an_image(place: Path) -> None:
    run(place, "--csv", str(place / "deep" / "out.csv"))
    with (place / "deep" / "out.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS
    assert [line["verdict"] for line in lines] == ["normal", "could not be read", "anomalous"]
    assert float(lines[2]["score"]) > float(lines[2]["threshold"])
    assert "defect" in lines[2]["first_finding"]
    assert "not an image" in lines[1]["error"]


def test_a_place_that_cannot_be_written_is_one_error(place: Path) -> None:
    (place / "file").write_text("")
    for option in ("--report", "--csv"):
        arguments = ["predict", str(place / "line"), str(place / "new"), option]
        done = CliRunner().invoke(cli, [*arguments, str(place / "file" / "x")])
        assert done.exit_code == 1
        assert "cannot be written" in str(done.exception)


def test_a_target_of_the_wrong_kind_is_refused_before_the_work(place: Path) -> None:
    (place / "file").write_text("")
    for option, target, word in (
        ("--report", place, "is a folder; name a file"),
        ("--csv", place, "is a folder; name a file"),
        ("--overlays", place / "file", "is a file; name a folder"),
        ("--parts", place / "file", "is a file; name a folder"),
        ("--review", place / "file", "is a file; name a folder"),
    ):
        arguments = ["predict", str(place / "line"), str(place / "new"), option, str(target)]
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 1
        assert word in str(done.exception)
        assert "score" not in done.output


def test_files_of_one_name_are_shown_with_their_folders(place: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        Image.fromarray(picture(9)).save(tmp_path / name / "a.png")
    out = tmp_path / "out.html"
    folders = [str(tmp_path / name) for name in ("one", "two")]
    CliRunner().invoke(cli, ["predict", str(place / "line"), *folders, "--report", str(out)])
    page = out.read_text()
    assert "one/a.png" in page
    assert "two/a.png" in page
