"""``fmlad labels check`` and ``show``, and ``fmlad fit --labels``."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmlad.methods import registry
from tests.commands.test_main import fmlad_cli
from tests.conftest import picture
from tests.datasets.part_labels.support import label
from tests.methods.test_protocol import CONTEXTS, METHOD

SIZE = (60, 80)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Three shots, two of them labelled."""
    for number in range(3):
        path = tmp_path / "shots" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture(number, SIZE)).save(path)
    for number in range(2):
        values = np.zeros(SIZE, np.uint8)
        values[5:15, 5:15] = values[5:15, 30:40] = 1
        values[30:50, 20 : 40 + number] = 2
        label(tmp_path / "labels" / f"{number}.png", values)
    (tmp_path / "labels" / "classes.txt").write_text("pin\n<b>tray\n")
    return tmp_path


def test_check_says_that_nothing_is_wrong(place: Path) -> None:
    done = fmlad_cli("labels", "check", place / "shots", "--labels", place / "labels")
    assert done.returncode == 0, done.stderr
    assert "2 of 3 images have a label" in done.stdout
    assert "Classes: background, pin, <b>tray" in done.stdout
    assert "Nothing is wrong" in done.stdout
    done = fmlad_cli("labels", "check", place / "shots", "--labels", place / "labels", "--json")
    told = json.loads(done.stdout)
    assert told["classes"] == ["background", "pin", "<b>tray"]
    assert [Path(name).name for name in told["unlabelled"]] == ["2.png"]
    assert told["problems"] == told["warnings"] == []


def test_check_lists_all_problems(place: Path) -> None:
    label(place / "labels" / "0.png", np.ones((9, 9), np.uint8))
    label(place / "labels" / "1.png", np.full(SIZE, 9, np.uint8))
    (place / "shots" / "3.png").write_text("no picture")
    done = fmlad_cli("labels", "check", place / "shots", "--labels", place / "labels")
    assert done.returncode == 1
    assert done.stdout.count("wrong: ") == 3
    for word in ("0.png is 9 x 9", "1.png has classes without a name", "3.png cannot be read"):
        assert word in done.stdout
    assert "3 problems found" in done.stdout
    done = fmlad_cli("labels", "check", place / "shots", "--labels", place / "labels", "--json")
    assert done.returncode == 1
    assert len(json.loads(done.stdout)["problems"]) == 3


def test_show_draws_each_label_and_counts(place: Path) -> None:
    out = place / "out"
    arguments = ("labels", "show", place / "shots", "--labels", place / "labels", "--out", out)
    done = fmlad_cli(*arguments)
    assert done.returncode == 0, done.stderr
    assert f"Page: {out / 'labels.html'}" in done.stdout
    assert "Without a label" in done.stdout
    told = json.loads(fmlad_cli(*arguments, "--json").stdout)
    first, second = told["images"]
    assert first["pixels"] == {"background": 4800 - 200 - 400, "pin": 200, "<b>tray": 400}
    assert second["pixels"]["<b>tray"] == 420
    assert first["regions"] == {"pin": 2, "<b>tray": 1}
    drawn = np.asarray(Image.open(first["picture"])).astype(int)
    assert drawn.shape == (12 * SIZE[0], 12 * SIZE[1], 3)
    large = Image.fromarray(picture(0, SIZE)).resize((12 * SIZE[1], 12 * SIZE[0]))
    changed = (drawn != np.asarray(large)).any(2)
    assert changed[12 * 15 - 1, 12 * 30 : 12 * 40].all()  # the lower edge of a pin
    assert not changed[12 * 55 :].any()  # no part is there
    page = (out / "labels.html").read_text()
    assert page.count("<figure>") == 2
    assert "&lt;b&gt;tray" in page
    assert "<b>tray" not in page
    assert "200 (2)" in page


def test_show_draws_what_is_found_without_labels(place: Path) -> None:
    out = place / "out"
    done = fmlad_cli(
        "labels", "show", place / "shots", "--labels", "auto", "--out", out,
        "--profile", "builtin", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["classes"][0] == "background"
    assert told["classes"][1].startswith("part ")
    assert len(told["images"]) == 3


def test_the_commands_and_the_code_of_the_docs_run(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    (place / "shots").rename(place / "normal_images")
    text = (Path(__file__).parents[2] / "docs" / "labels.md").read_text()
    (commands,), (code,) = (
        re.findall(rf"```{language}\n(.*?)```", text, flags=re.S) for language in ("bash", "python")
    )
    lines = commands.splitlines()
    assert len(lines) == 3
    for line in lines:
        words = shlex.split(line, comments=True)
        assert fmlad_cli(*words[1:]).returncode == 0, line
    assert (place / "seen" / "labels.html").is_file()
    assert (place / "found" / "labels.html").is_file()
    exec(code.replace("(120, 160)", str(SIZE)), {})
    assert "'pin': 200" in capsys.readouterr().out


def test_arguments_that_do_not_go_together(place: Path) -> None:
    done = fmlad_cli("labels", "check", place / "shots", "--labels", "auto")
    assert done.returncode == 1
    assert "made, not read" in done.stderr
    labels = place / "labels"
    done = fmlad_cli("labels", "show", place / "shots", "--labels", labels, "--profile", "builtin")
    assert done.returncode == 1
    assert "go with --labels auto" in done.stderr
    done = fmlad_cli(
        "labels", "show", place / "shots", "--labels", labels, "--out", labels / "0.png"
    )
    assert done.returncode == 1
    assert "is a file; name a folder" in done.stderr
    done = fmlad_cli("fit", "--prompts", "x", "--labels", labels, "--out", place / "d")
    assert done.returncode == 1
    assert "--labels needs normal images" in done.stderr


@pytest.fixture
def _plugged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_METHODS", {"learner": METHOD})
    registry._homes.cache_clear()
    CONTEXTS.clear()
    yield
    registry._homes.cache_clear()


@pytest.mark.usefixtures("_plugged")
def test_fit_and_accept_take_labels(place: Path) -> None:
    out = place / "detector"
    done = fmlad_cli(
        "fit", place / "shots", "--method", "learner", "--labels", place / "labels",
        "--out", out, "--profile", "builtin", "--option", "by=augmented", "--no-check",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names, context = CONTEXTS[-1]
    assert len(names) == 2
    assert len(context.unlabeled) == 1
    assert context.label_names == ("background", "pin", "<b>tray")
    Image.fromarray(picture(7, SIZE)).save(place / "7.png")
    values = np.zeros(SIZE, np.uint8)
    values[:9, :9] = 2
    label(place / "labels" / "7.png", values)
    (place / "labels" / "classes.txt").write_text("<b>tray\npin\n")
    done = fmlad_cli("accept", out, place / "7.png", "--labels", place / "labels")
    assert done.returncode == 0, done.stderr
    _, context = CONTEXTS[-1]
    assert context.labels is not None
    assert np.unique(context.labels[-1]).tolist() == [0, 1]
