"""Method sam-lad through real formats of SAM, DINOv2 and FeatUp, with tiny random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import fmlad
from fmlad.backbones.catalogue import describe
from fmlad.backbones.hub import place_of
from fmlad.commands.main import cli
from fmlad.methods.sam_lad.config import SamLadConfig
from fmlad.methods.sam_lad.method import SamLad
from tests.backbones import test_dino, test_featup, tiny_sam_models
from tests.conftest import picture

CHANNELS = 32  # of the tiny DINOv2


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights with everything that foundation asks for, in tiny."""
    own = tmp_path / "weights"
    test_dino.save_tiny(own / "facebook" / "dinov2-small")
    sam = tiny_sam_models.save_transformers(own / "facebook" / "sam-vit-huge", "sam")
    (sam / "preprocessor_config.json").write_text("{}")
    monkeypatch.setenv("FMLAD_WEIGHTS", str(own))
    checkpoint = own / place_of(describe("featup:dinov2_jbu_stack_cocostuff").source)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    test_featup.saved(checkpoint, test_featup.tensors(CHANNELS, norm=True))
    return own


def test_foundation_is_what_the_paper_uses(weights: Path, tmp_path: Path) -> None:
    shots = [picture(seed) for seed in range(2)]
    detector = fmlad.Detector.from_shots(shots, method="sam-lad", profile="foundation")
    view = detector._backbones.view(picture(3))
    assert view.pyramid().levels[14].shape == (1, CHANNELS, 16, 16)
    template = detector._fitted.state.templates[0]
    assert template.level.shape == (1, CHANNELS, 128, 128)  # x8
    assert any("FeatUp's stack, run by fmlad's own code" in note for note in detector.notes)
    query = picture(4, defect=True)
    verdict = detector.predict(query)
    assert np.isfinite(verdict.score)
    detector.save(tmp_path / "detector")
    again = fmlad.Detector.load(tmp_path / "detector")
    assert again.predict(query).score == pytest.approx(verdict.score, abs=1e-6)
    recorded = json.loads((tmp_path / "detector" / "detector.json").read_text())["backbones"]
    assert set(recorded) == {"feature_extractor", "mask_proposer", "upsampler"}


def test_each_declared_name_is_of_the_catalogue() -> None:
    for role, name in SamLad.declared["foundation"].items():
        known = describe(name)
        assert known.role == role
        assert "foundation" in known.profiles
        assert not known.optional


def test_the_factor_comes_near_the_paper_s_grid_where_there_is_an_upsampler() -> None:
    backbones = {"upsampler": "builtin:bilateral@1"}
    wide = [picture(seed, size=(120, 320)) for seed in range(2)]
    detector = fmlad.Detector.from_shots(
        wide, method="sam-lad", profile="builtin", backbones=backbones
    )
    level = detector._fitted.state.templates[0].level
    assert level.shape[-2:] == (2 * 16, 2 * 40)  # 320 px are 40 cells; x4 would be 160
    plain = fmlad.Detector.from_shots(wide, method="sam-lad", profile="builtin")
    assert max(plain._fitted.state.templates[0].level.shape) == 40
    fixed = fmlad.Detector.from_shots(wide, method="sam-lad", profile="builtin", upsample=1)
    assert fixed._fitted.state.templates[0].level.shape == (
        plain._fitted.state.templates[0].level.shape
    )


def test_only_an_open_factor_asks_for_an_upsampler() -> None:
    assert "upsampler" in SamLad().optional
    assert "upsampler" not in SamLad().needs
    assert "upsampler" not in SamLad(SamLadConfig(upsample=1)).optional
    assert "upsampler" in SamLad(SamLadConfig(upsample=4)).needs


@pytest.mark.slow
def test_the_command_line_with_local_folders(weights: Path, tmp_path: Path) -> None:
    from PIL import Image

    for seed in range(3):
        Image.fromarray(picture(seed)).save(tmp_path / f"{seed}.png")
    original = tiny_sam_models.save_original(tmp_path / "sam.pth")
    dinov2 = weights / "facebook" / "dinov2-small"
    for sam in (f"sam:{weights / 'facebook' / 'sam-vit-huge'}", f"sam:{original}#points=8"):
        run = CliRunner().invoke(
            cli,
            ["fit", *(str(tmp_path / f"{seed}.png") for seed in range(2)), "--method", "sam-lad",
             "--profile", "builtin", "--backbone", f"mask_proposer={sam}",
             "--backbone", f"feature_extractor=dinov2:{dinov2}",
             "--no-check", "--out", str(tmp_path / "detector")],
        )  # fmt: skip
        assert run.exit_code == 0, run.output
        run = CliRunner().invoke(
            cli, ["predict", str(tmp_path / "detector"), str(tmp_path / "2.png")]
        )
        assert run.exit_code == 0, run.output
