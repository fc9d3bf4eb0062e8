"""Declared rules tried on the shots: at fit, and by `fmlad prompts lint --shots`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmlad import Detector
from fmlad.prompts import PromptSet
from tests.commands.test_main import fmlad_cli
from tests.methods.clip_lad.test_method import NORMAL, RULES

KEPT, BROKEN = RULES % "{words: [red disc], expect: 2}", RULES % "{words: [red disc], expect: 6}"
BUILTIN = ("--profile", "builtin")


@pytest.fixture
def discs(tmp_path: Path) -> Path:
    home = tmp_path / "discs"
    home.mkdir()
    for number, pixels in enumerate(NORMAL):
        Image.fromarray(pixels).save(home / f"{number}.png")
    for name, text in (("kept", KEPT), ("broken", BROKEN)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return home


def test_a_detector_knows_its_rules_and_saves_what_it_knows(tmp_path: Path) -> None:
    fitted = Detector.from_shots(
        NORMAL, prompts=PromptSet.from_text(BROKEN), profile="builtin", branches=("declared",)
    )
    (check,) = fitted.rule_checks
    assert (check.part, check.rule, check.of) == ("red disc", "6 x 'red disc'", 4)
    assert check.counted == (2, 2, 2, 2)
    assert check.broken_by == tuple(shot.name for shot in fitted.shots)
    assert check.suspect
    assert Detector.load(fitted.save(tmp_path / "saved"), device="cpu").rule_checks == (check,)
    fitted.remove_shot(3)
    assert fitted.rule_checks[0].of == 3


def test_no_rules_no_checks() -> None:
    prompts = PromptSet.from_text(RULES % "[red disc]")
    asked = {"profile": "builtin", "branches": ("histogram",)}
    assert Detector.from_shots(NORMAL[:1], prompts=prompts, **asked).rule_checks == ()
    # Nor where nobody asks for the rules, nor with a method that knows none.
    wanted = PromptSet.from_text(BROKEN)
    assert Detector.from_shots(NORMAL[:1], prompts=wanted, **asked).rule_checks == ()
    plain = Detector.from_shots(NORMAL[:1], profile="builtin", banks="patch")
    assert plain.rule_checks == ()


def test_fit_names_a_rule_that_the_shots_break(discs: Path, tmp_path: Path) -> None:
    rest = ("--out", tmp_path / "d", "--no-check", "--option", 'branches=["declared"]', *BUILTIN)
    done = fmlad_cli("fit", discs, "--prompts", tmp_path / "broken.yaml", *rest)
    assert done.returncode == 0
    assert (
        "expected 6 x 'red disc'; 4 of 4 normal images have another count (2, 2, 2, 2): the rule, "
        "the words or the masks are wrong" in done.stdout
    )
    assert f"--shots {discs} --out pictures" in done.stdout
    quiet = fmlad_cli("fit", discs, "--prompts", tmp_path / "kept.yaml", *rest)
    assert "expected" not in quiet.stdout
    told = fmlad_cli("fit", discs, "--prompts", tmp_path / "kept.yaml", *rest, "--json").stdout
    assert json.loads(told)["rules"][0]["counted"] == [2, 2, 2, 2]


def test_lint_counts_on_shots_and_draws_what_it_counted(discs: Path, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    done = fmlad_cli(
        "prompts", "lint", tmp_path / "broken.yaml", "--shots", discs, "--out", out, *BUILTIN
    )
    assert done.returncode == 1
    assert f"{discs / '0.png'}: 2 x 'red disc', 1 x 'blue disc'" in done.stdout
    assert "4 of 4 normal images have another count (2, 2, 2, 2)" in done.stdout
    assert [path.name for path in sorted(out.iterdir())] == [
        f"000{i + 1}-{i}.png" for i in range(4)
    ]
    drawn = np.asarray(Image.open(out / "0001-0.png"))
    assert drawn.shape == NORMAL[0].shape
    assert not np.array_equal(drawn, NORMAL[0])

    both = ("lint", tmp_path / "kept.yaml", tmp_path / "broken.yaml", "--shots", discs, *BUILTIN)
    done = fmlad_cli("prompts", *both, "--out", tmp_path / "two", "--json")
    assert done.returncode == 1
    first, second = json.loads(done.stdout)
    assert (first["rules"][0]["suspect"], second["rules"][0]["suspect"]) == (False, True)
    assert first["counts"][0]["parts"] == {"red disc": 2, "blue disc": 1}
    assert len(list((tmp_path / "two").iterdir())) == 2
    assert all(Path(path).exists() for path in first["pictures"] + second["pictures"])

    done = fmlad_cli("prompts", "lint", tmp_path / "kept.yaml", "--shots", discs, *BUILTIN)
    assert done.returncode == 0
    assert "4 of 4 normal images agree (2, 2, 2, 2)" in done.stdout


def test_lint_counts_as_a_detector_does(discs: Path, tmp_path: Path) -> None:
    done = fmlad_cli(
        "prompts", "lint", tmp_path / "broken.yaml", "--shots", discs, *BUILTIN, "--json"
    )
    (rule,) = json.loads(done.stdout)[0]["rules"]
    fitted = Detector.from_shots(discs, prompts=str(tmp_path / "broken.yaml"), profile="builtin")
    assert tuple(rule["counted"]) == fitted.rule_checks[0].counted
    assert rule["broken_by"] == [str(path) for path in sorted(discs.iterdir())]


def test_wrong_input_is_one_clear_line(discs: Path, tmp_path: Path) -> None:
    for rest, said in (
        (("--out", tmp_path / "x"), "--out and --backbone go with --shots"),
        (("--shots", tmp_path / "none"), "does not exist"),
        (("--shots", discs, "--out", tmp_path / "kept.yaml", *BUILTIN), "cannot be written"),
    ):
        done = fmlad_cli("prompts", "lint", tmp_path / "kept.yaml", *rest)
        assert done.returncode == 1
        assert said in done.stderr
