"""What each backbone sees: every step drawn, and one that fails stops no other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import fmlad
from fmlad.backbone_outputs import STEPS, Step, look
from fmlad.backbones.roles import Tag
from fmlad.commands.main import cli
from fmlad.errors import InvalidImageError, OptionError, UnknownNameError
from tests.chain_models import COLOURS, Counted, Grounder, asked, blobs, chain


def by_role(steps: list[Step]) -> dict[str, Step]:
    return {step.role: step for step in steps}


def test_the_chain_is_drawn_step_by_step() -> None:
    backbones = chain()
    roles = ("tagger", "grounder", "mask_proposer")
    steps = by_role(fmlad.look(blobs(0), backbones=backbones, roles=roles))
    assert list(steps) == ["tagger", "grounder", "mask_proposer", "grounded masks"]
    assert asked(backbones) == ["find", "prompt", "propose", "tags"]
    assert steps["tagger"].lines[0] == "table: 0.90"
    assert steps["grounder"].lines == ("table: 1", "red disc: 3", "blue square: 2")
    assert steps["mask_proposer"].lines == ("5 masks, quality 0.95 to 0.95",)
    assert steps["grounded masks"].lines[0].startswith("6 masks, one a box")
    for role in ("grounder", "mask_proposer", "grounded masks"):
        (_, picture), = steps[role].pictures  # fmt: skip
        assert picture.size == (128, 96)
        assert np.abs(np.asarray(picture).astype(int) - blobs(0)).sum() > 0


def test_given_words_come_before_tags() -> None:
    backbones = chain()
    steps = by_role(look(blobs(0), "blue square", backbones=backbones, roles=("grounder",)))
    assert list(steps) == ["grounder"]
    assert steps["grounder"].lines == ("blue square: 2",)
    assert backbones["grounder"].phrases == ("blue square",)


def test_the_embedded_profile_shows_all_it_has() -> None:
    steps = by_role(look(blobs(0), "red, blue, large"))
    assert set(steps) <= {*STEPS, "grounded masks"}
    assert {"tagger", "mask_proposer", "text_aligner", "feature_extractor"} <= set(steps)
    assert not [step for step in steps.values() if step.problem]
    similar = dict(steps["text_aligner"].pictures)
    assert [caption.partition(":")[0] for caption in similar] == ["red", "blue", "large"]
    changed = [np.abs(np.asarray(p).astype(int) - blobs(0)).sum(2) for p in similar.values()]
    red, blue = (np.array(c) > 60 for c in changed[:2])
    near_red = np.abs(blobs(0).astype(int) - (200, 40, 40)).sum(2) < 60
    assert red[near_red].mean() > 0.8
    assert blue[near_red].mean() < 0.2


def test_a_backbone_that_is_not_here_stops_no_other(tmp_path: Path) -> None:
    missing = {"mask_proposer": f"sam:{tmp_path / 'nowhere'}"}
    steps = by_role(look(blobs(0), "red", backbones=missing))
    assert "not available" in (steps["mask_proposer"].problem or "")
    assert steps["mask_proposer"].pictures == ()
    assert steps["text_aligner"].pictures
    assert steps["feature_extractor"].pictures


def test_words_that_cannot_be_grounded_are_said() -> None:
    steps = by_role(look(blobs(0), "gizmo", roles=("text_aligner",)))
    assert "gizmo" in (steps["text_aligner"].problem or "")


def test_without_words_or_tags_there_is_nothing_to_find() -> None:
    steps = by_role(look(blobs(0), backbones=chain(), roles=("grounder", "text_aligner")))
    assert "no words" in (steps["grounder"].problem or "")
    assert "no words" in (steps["text_aligner"].problem or "")


def test_wrong_roles_and_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="mask_proposer"):
        look(blobs(0), roles=("mask_propose",))
    with pytest.raises(InvalidImageError):
        look(tmp_path / "none.png")


def test_the_command_writes_pictures_and_a_page(tmp_path: Path) -> None:
    Image.fromarray(blobs(0)).save(tmp_path / "table.png")
    out = tmp_path / "out"
    words = ["look", str(tmp_path / "table.png"), "--words", "red, blue", "--out", str(out)]
    result = CliRunner().invoke(cli, [*words, "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["page"] == str(out / "look.html")
    page = (out / "look.html").read_text()
    for step in told["steps"]:
        assert step["problem"] is None
        assert step["backbone"] in page
        for path in step["pictures"]:
            assert Image.open(path).size == (128, 96)
    failed = CliRunner().invoke(cli, [*words, "--backbone", "tagger=ram:nowhere/none"])
    assert failed.exit_code == 1
    assert "error: tagger (ram:nowhere/none) could not be asked" in failed.stderr
    assert "tagger" not in failed.stdout
    assert "feature_extractor" in failed.stdout


def test_tags_that_a_backbone_cannot_read_are_no_failure() -> None:
    class Noun(Counted):
        def tags(self, image):  # type: ignore[no-untyped-def]
            return [Tag("gizmo", 0.9)]

    found = by_role(look(blobs(0), backbones={"tagger": Noun()}, roles=("tagger", "text_aligner")))
    assert found["text_aligner"].problem is None
    assert "name attributes" in found["text_aligner"].lines[0]


def test_words_that_nothing_answers_are_named_together_and_empty_ones_dropped() -> None:
    words = ["red disc", "", *(f"thing {number}" for number in range(40))]
    steps = by_role(look(blobs(0), words, backbones={"grounder": Picky()}, roles=("grounder",)))
    assert steps["grounder"].lines[0] == "red disc: 3"
    assert steps["grounder"].lines[1].startswith("nothing: thing 0, thing 1")
    assert steps["grounder"].lines[1].endswith("and 28 more")
    with pytest.raises(OptionError, match="has no word"):
        look(blobs(0), " , ,")


class Picky(Grounder):
    """Finds nothing for a word that it does not know."""

    def find(self, image, phrases):  # type: ignore[no-untyped-def]
        found = super().find(image, phrases)
        return found.rows(np.array([phrases[number] in COLOURS for number in found.phrases]))


def test_pictures_of_an_earlier_call_go(tmp_path: Path) -> None:
    Image.fromarray(blobs(0)).save(tmp_path / "table.png")
    words = ["look", str(tmp_path / "table.png"), "--out", str(tmp_path / "out"), "--words", "red"]
    assert CliRunner().invoke(cli, words).exit_code == 0
    (tmp_path / "out" / "mine.png").write_bytes(b"kept")
    assert CliRunner().invoke(cli, [*words, "--role", "text_aligner"]).exit_code == 0
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == ["look.html", "mine.png", "text_aligner.png"]
