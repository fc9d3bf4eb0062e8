"""Prompt sets against controls."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmlad.commands.prompt_comparison import NO_TEXT, compare, write_comparison
from fmlad.errors import OptionError
from fmlad.progress import silent
from fmlad.prompts import PromptSet
from fmlad.prompts.controls import only_names, shuffled_nouns, wrong_nouns
from tests.commands.test_main import fmlad_cli
from tests.methods.clip_lad.test_coarse_to_fine import backbone_set, discs
from tests.methods.clip_lad.test_method import EXTRA, GOOD, MISSING, NORMAL, PROMPTS


@pytest.mark.slow
def test_right_words_beat_the_controls(tmp_path: Path) -> None:
    through = backbone_set(True)
    shots = [through.view(image) for image in NORMAL]
    good = [
        through.view(GOOD),
        through.view(discs(("red", 48, 52), ("red", 178, 62), ("blue", 62, 178))),
    ]
    bad = [through.view(MISSING), through.view(EXTRA)]
    rows = {
        row.title: row for row in compare([PROMPTS], shots, good, bad, progress=silent, draw_of=3)
    }
    assert list(rows) == [
        "discs",
        NO_TEXT,
        "wrong attributes (of discs)",
        "shuffled attributes (of discs, names alone)",
    ]
    assert rows["discs"].figures["auroc"] > 0.8
    wrong = rows["wrong attributes (of discs)"].figures
    assert wrong["against_first"] <= 0
    assert wrong["margin"] < rows["discs"].figures["margin"]
    page = write_comparison(tmp_path / "new" / "r.html", list(rows.values()), False).read_text()
    assert "does not read nouns" in page
    assert page.count("<img src='data:image/jpeg") == 4 * 5
    assert "http" not in re.sub(r"data:[^']*", "", page)


def test_without_labels_steadiness_and_margin() -> None:
    through = backbone_set(True)
    steady = compare([PROMPTS], [through.view(image) for image in NORMAL], progress=silent)[0]
    mixed = compare([PROMPTS], [through.view(i) for i in (*NORMAL[:2], EXTRA)], progress=silent)[0]
    assert "auroc" not in steady.figures
    assert steady.figures["foreground"] < mixed.figures["foreground"]
    assert steady.figures["histogram"] < mixed.figures["histogram"]
    assert steady.figures["margin"] > 0
    alone = compare([PROMPTS], [through.view(NORMAL[0])], progress=silent)[0]
    assert "foreground" not in alone.figures


def test_controls_change_what_the_profile_reads() -> None:
    rng = np.random.default_rng(0)
    words = PromptSet.from_text(
        "coarse: {background: [background]}\n"
        "fine: {screw: [long dark screw], nut: [small golden nut]}\n"
    )
    wrong = wrong_nouns(words, True, rng).phrases()[0]
    assert wrong[0].startswith("long dark ")
    assert not {"screw", "nut"} & {phrase.split()[-1] for phrase in wrong}
    shuffled = {p.split()[-1] for p in shuffled_nouns(words, True, rng).phrases()[0]}
    assert shuffled == {"screw", "nut"}
    blind = wrong_nouns(words, False, rng)
    assert [phrase.split()[-1] for phrase in blind.phrases()[0]] == ["screw", "nut"]
    assert not {"long", "dark", "small", "golden"} & set(" ".join(blind.phrases()[0]).split())
    assert blind.foreground == blind.phrases()[0]
    dealt = " ".join(shuffled_nouns(words, False, rng).phrases()[0]).split()
    assert sorted(dealt) == sorted(["long", "dark", "screw", "small", "golden", "nut"])
    assert not only_names(words, shuffled_nouns(words, False, rng), False)
    # One attribute a part: whatever is dealt, the same two things are looked for.
    assert only_names(PROMPTS, shuffled_nouns(PROMPTS, False, rng), False)


def test_bad_input() -> None:
    view = backbone_set(True).view(NORMAL[0])
    with pytest.raises(OptionError, match="at least 4"):
        compare([PROMPTS], [view], seeds=3, progress=silent)
    with pytest.raises(OptionError, match="nothing to compare"):
        compare([], [view], progress=silent)
    with pytest.raises(OptionError, match="none at all"):
        compare([PROMPTS], [view], [view], [], progress=silent)


@pytest.mark.slow
def test_the_command_line(tmp_path: Path) -> None:
    for folder, images in (("shots", NORMAL[:3]), ("test/good", [GOOD]), ("test/bad", [MISSING])):
        home = tmp_path / folder
        home.mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(home / f"{number}.png")
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "coarse: {background: [background]}\n"
        "fine: {red disc: {words: [red disc], expect: 2}, blue disc: [blue disc]}\n"
    )
    common = ("--shots", tmp_path / "shots", "--profile", "builtin", "--out", tmp_path / "r.html")
    done = fmlad_cli("prompts", "compare", mine, *common, "--test", tmp_path / "test", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [row["title"] for row in rows][:2] == ["mine", NO_TEXT]
    assert all(0 <= row["auroc"] <= 1 for row in rows)
    assert (tmp_path / "r.html").exists()
    wrong = fmlad_cli("prompts", "compare", mine, *common, "--test", tmp_path / "shots")
    assert wrong.returncode == 1
    assert "no folder good/" in wrong.stderr

    # The same set through fit and predict: with shots, with none, with nothing.
    for shots, target in (([tmp_path / "shots"], "with"), ([], "without")):
        fit = fmlad_cli(
            "fit", *shots, "--prompts", mine, "--profile", "builtin", "--no-check",
            "--out", tmp_path / target,
        )  # fmt: skip
        assert fit.returncode == 0, fit.stderr
        told = fmlad_cli(
            "predict", tmp_path / target, tmp_path / "test" / "bad", "--fail-on-anomaly"
        )
        assert told.returncode == 3
        assert ": the rule says 2, found 1" in told.stdout
    nothing = fmlad_cli("fit", "--out", tmp_path / "x")
    assert nothing.returncode == 1
    assert "nothing to fit to" in nothing.stderr
    blind = fmlad_cli(
        "fit", "--prompts", "scenes/pushpins", "--profile", "builtin", "--out", tmp_path / "x"
    )
    assert blind.returncode == 1
    assert "declares nothing" in blind.stderr
