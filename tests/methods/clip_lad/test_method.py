"""CLIP-LAD from end to end: rendered scenes offline, tiny CLIP models in real layouts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load as from_bytes

import fmlad
from fmlad import Detector, storage
from fmlad.datasets import make_scenes
from fmlad.errors import CorruptDetectorError, OptionError, PromptError
from fmlad.methods.registry import create_method
from fmlad.prompts import PromptSet
from tests.backbones import tiny_clip_models as tiny
from tests.methods.clip_lad.test_coarse_to_fine import discs

RULES = """
name: discs
coarse: {background: [background]}
fine:
  red disc: %s
  blue disc: [blue disc]
"""
PROMPTS = PromptSet.from_text(RULES % "[red disc]")
DECLARED = PromptSet.from_text(RULES % "{words: [red disc], expect: [2, above blue disc]}")
NORMAL = [
    discs(("red", 50 + i, 50), ("red", 180, 60 - i), ("blue", 60, 180 + i), seed=i)
    for i in range(4)
]
MISSING = discs(("red", 50, 50), ("blue", 60, 180), seed=9)
EXTRA = discs(("red", 50, 50), ("red", 180, 60), ("red", 180, 180), ("blue", 60, 180), seed=9)
SWAPPED = discs(("red", 50, 50), ("blue", 180, 60), ("blue", 60, 180), seed=9)
BELOW = discs(("red", 50, 50), ("red", 180, 220), ("blue", 60, 180), seed=9)
GOOD = discs(("red", 52, 51), ("red", 181, 59), ("blue", 61, 181), seed=8)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.from_shots(NORMAL, prompts=PROMPTS, profile="builtin")


def test_prompts_mean_clip_lad(detector: Detector) -> None:
    assert detector.method == "clip-lad"
    assert "clip-lad" in fmlad.list_methods()


def test_what_is_missing_or_too_much_is_found_named_placed_and_painted(detector: Detector) -> None:
    good = detector.predict(GOOD)
    # Four shots are few: another normal image may be a little odder. No part of it is wrong.
    assert [finding.part for finding in good.findings if finding.part] == []
    assert good.score < 0.5 * detector.predict(MISSING).score
    assert good.segmentation is not None
    assert good.segmentation.counts() == {"red disc": 2, "blue disc": 1}
    assert good.segmentation.labels.shape == (240, 240)

    missing = detector.predict(MISSING)
    assert missing.is_anomalous
    first = missing.findings[0]
    assert (first.kind, first.part, first.expected, first.observed) == ("missing", "red disc", 2, 1)
    assert first.text == "red disc missing, upper right: expected 2, found 1"
    assert missing.anomaly_map.shape == (240, 240)
    # The nearest shot has a red disc there, the query none.
    assert missing.anomaly_map[60, 180] > missing.anomaly_map[120, 120]

    extra = detector.predict(EXTRA)
    assert extra.is_anomalous
    assert (extra.findings[0].kind, extra.findings[0].part) == ("extra", "red disc")
    assert extra.anomaly_map[180, 180] > extra.anomaly_map[120, 120]


def test_one_in_the_place_of_another_is_recoloured(detector: Detector) -> None:
    found = detector.predict(SWAPPED)
    assert found.is_anomalous
    assert "recoloured" in [finding.kind for finding in found.findings]


def test_a_loaded_detector_predicts_the_same(detector: Detector, tmp_path: Path) -> None:
    loaded = Detector.load(detector.save(tmp_path / "saved"), device="cpu")
    for image in (GOOD, SWAPPED):
        before, after = detector.predict(image), loaded.predict(image)
        assert after.score == pytest.approx(before.score, abs=1e-6)
        assert after.explain() == before.explain()
        np.testing.assert_allclose(after.anomaly_map, before.anomaly_map, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"fusion": "maximum", "branches": ["histogram", "patch"]},
        {"distance": "ratio"},
        {"stage": "coarse"},
        {"stage": "fine", "branches": "count"},
    ],
)
def test_options_change_the_score_and_survive_saving(
    options: dict[str, Any], tmp_path: Path
) -> None:
    fitted = Detector.from_shots(NORMAL[:3], prompts=PROMPTS, profile="builtin", **options)
    prediction = fitted.predict(MISSING)
    assert prediction.score > fitted.predict(GOOD).score
    loaded = Detector.load(fitted.save(tmp_path / "saved"))
    assert loaded.predict(MISSING).score == pytest.approx(prediction.score, abs=1e-6)


@pytest.mark.parametrize("count", [1, 2])
def test_few_shots(count: int) -> None:
    fitted = Detector.from_shots(NORMAL[:count], prompts=PROMPTS, profile="builtin")
    assert fitted.predict(MISSING).score > fitted.predict(GOOD).score
    assert (fitted.shots[0].score is None) == (count == 1)


def test_leave_one_out_leaves_out() -> None:
    odd = [*NORMAL[:3], MISSING]
    fitted = Detector.from_shots(odd, prompts=PROMPTS, profile="builtin")
    assert fitted.predict(MISSING).score < fitted.shots[3].score  # it is a shot now


def test_validation_images_scale_the_branches_too() -> None:
    fitted = Detector.from_shots(NORMAL[:2], prompts=PROMPTS, profile="builtin")
    held = Detector.from_shots(
        NORMAL[:2], prompts=PROMPTS, profile="builtin", validation=[MISSING, *NORMAL[2:]] * 5
    )
    assert held.calibration.source == "validation"
    # Where a third of the normal images lack an object, a wrong count weighs less.
    before, after = (d.predict(EXTRA).branch_scores["count"] for d in (fitted, held))
    assert after < before


def test_one_shot_alone_adds_its_branches_up() -> None:
    alone = Detector.from_shots(NORMAL[:1], prompts=PROMPTS, profile="builtin")
    prediction = alone.predict(MISSING)
    assert prediction.score == pytest.approx(sum(prediction.branch_scores.values()))


def test_a_broken_rule_is_named_as_one() -> None:
    fitted = Detector.from_shots(NORMAL, prompts=DECLARED, profile="builtin")
    texts = [finding.text for finding in fitted.predict(MISSING).findings]
    assert any("the rule says 2, found 1" in text for text in texts)
    found = fitted.predict(BELOW)
    assert ("misplaced", "red disc") in [(f.kind, f.part) for f in found.findings]
    assert all("the rule says" in f.text for f in found.findings if f.kind == "misplaced")


def test_without_shots_the_declared_rules_judge(tmp_path: Path) -> None:
    fitted = Detector.from_prompts(DECLARED, profile="builtin")
    assert fitted.shots == []
    good = fitted.predict(GOOD)
    assert good.is_anomalous is False
    assert good.score == 0
    assert good.notes == []
    assert any("declared composition" in note for note in fitted.notes)
    missing = fitted.predict(MISSING)
    assert missing.is_anomalous
    first = missing.findings[0]
    assert (first.kind, first.part) == ("missing", "red disc")
    assert first.text.endswith(": the rule says 2, found 1")
    assert missing.anomaly_map.max() == pytest.approx(missing.score)
    assert fitted.predict(BELOW).is_anomalous
    loaded = Detector.load(fitted.save(tmp_path / "saved"))
    assert loaded.predict(MISSING).explain() == missing.explain()
    assert loaded.threshold == fitted.threshold
    with pytest.raises(OptionError, match="from prompts alone"):
        fitted.add_shots(NORMAL)


def test_without_shots_and_rules_there_is_nothing_to_judge_by() -> None:
    with pytest.raises(PromptError, match="expect: 6"):
        Detector.from_prompts(PROMPTS, profile="builtin")


@pytest.mark.parametrize("options", [{"branches": ["histogram", "count"]}, {"stage": "coarse"}])
def test_without_shots_options_must_leave_something_to_judge_by(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="without shots"):
        Detector.from_prompts(DECLARED, profile="builtin", **options)


def test_shots_can_be_added_and_removed(detector: Detector) -> None:
    fitted = Detector.from_shots(NORMAL[:2], prompts=PROMPTS, profile="builtin")
    fitted.add_shots(NORMAL[2:])
    assert fitted.predict(MISSING).score == pytest.approx(detector.predict(MISSING).score)
    fitted.remove_shot(3)
    assert len(fitted.shots) == 3


def test_damaged_states_are_refused(detector: Detector, tmp_path: Path) -> None:
    saved = storage.read(detector.save(tmp_path / "saved"))
    tensors = from_bytes(saved.state)
    meta = {**saved.manifest.state, "prompts": saved.manifest.prompts}
    with pytest.raises(CorruptDetectorError, match="other parts"):
        saved.method.restore(tensors, {**meta, "parts": ["blue disc", "red disc"]}, "cpu")
    for name in ("classes.labels", "classes.objects"):
        with pytest.raises(CorruptDetectorError, match="do not exist"):
            saved.method.restore({**tensors, name: tensors[name] + 9}, meta, "cpu")


@pytest.mark.parametrize(
    "options",
    [
        {"clusters": 1},
        {"clusters": "many"},
        {"distance": "cosine"},
        {"fusion": "mean"},
        {"stage": "middle"},
        {"branches": ["areas"]},
        {"branches": []},
        {"branches": 5},
        {"two_sided": 1},
        {"levels": 0},
        {"smoothing": -1},
    ],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        create_method("clip-lad", options)


def test_without_prompts_it_says_what_to_do() -> None:
    with pytest.raises(OptionError, match="needs a prompt set"):
        Detector.from_shots(NORMAL[0], method="clip-lad", profile="builtin")


@pytest.mark.parametrize("layout", ["open_clip", "transformers"])
def test_clip_in_its_real_layouts(layout: str, tmp_path: Path) -> None:
    if layout == "open_clip":
        name = f"clip:local-dir:{tiny.save_open_clip(tmp_path / 'clip')}"
    else:
        name = f"clip:{tiny.save_transformers(tmp_path / 'clip')}"
    words = PromptSet.from_text(
        "coarse: {background: [background], foreground: [screw, bottle]}\n"
        "templates: ['a photo of {}']\n"
        "states: {normal: ['red {}'], abnormal: ['long {}']}\n"
        "fine:\n  screw: [red screw, long screw]\n"
        "  bottle: {words: [orange bottle], decide: region, expect: 0..9}\n"
    )
    through = {"text_aligner": name}
    fitted = Detector.from_shots(
        NORMAL[:2], prompts=words, profile="light", backbones=through, device="cpu"
    )
    prediction = fitted.predict(MISSING)
    assert np.isfinite(prediction.score)
    noise = np.random.default_rng(0).integers(0, 256, (240, 240, 3), dtype=np.uint8)
    assert fitted.predict(NORMAL[0]).branch_scores["patch"] == 0
    assert fitted.predict(noise).branch_scores["patch"] > 1
    loaded = Detector.load(fitted.save(tmp_path / "saved"), device="cpu")
    assert loaded.predict(MISSING).score == pytest.approx(prediction.score, abs=1e-6)

    # Without shots the states are compared as well.
    alone = Detector.from_prompts(words, profile="light", backbones=through, device="cpu")
    judged = alone.predict(MISSING)
    assert 0 <= judged.branch_scores["patch"] <= 1
    assert any("damage only by words" in note for note in alone.notes)


def test_one_shot_of_each_type_and_the_nearest_decides() -> None:
    # Two products: two red discs and a blue one, or two blue discs and a red one.
    other = [
        discs(("blue", 50 + i, 50), ("blue", 180, 60), ("red", 60, 180 - i), seed=i)
        for i in range(3)
    ]
    fitted = Detector.from_shots([NORMAL[1], other[1]], prompts=PROMPTS, profile="builtin")
    normal = max(
        fitted.predict(image).branch_scores["histogram"]
        for image in (GOOD, discs(("blue", 51, 52), ("blue", 181, 61), ("red", 61, 181), seed=7))
    )
    for wrong in (MISSING, EXTRA):
        assert fitted.predict(wrong).branch_scores["histogram"] > normal


@pytest.mark.slow
def test_scenes_offline(tmp_path: Path) -> None:
    counts = {"train": 4, "validation": 0, "test_good": 3, "test_logical": 3, "test_structural": 0}
    root = make_scenes(tmp_path / "bag", "screw_bag", 1, counts)
    fitted = Detector.from_shots(
        root / "train" / "good", prompts="scenes/screw_bag", profile="builtin"
    )
    scores = {
        group: [fitted.predict(path).score for path in sorted((root / "test" / group).iterdir())]
        for group in ("good", "logical_anomalies")
    }
    truth = [0] * 3 + [1] * 3
    assert fmlad.metrics.auroc(truth, scores["good"] + scores["logical_anomalies"]) > 0.5


@pytest.mark.soak
def test_the_whole_method_at_true_size_fits_into_memory() -> None:
    command = [sys.executable, "-m", "benchmarks.clip_lad_cost", "--rounds", "1", "--no-keep"]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    figures = dict(line.rsplit(": ", 1) for line in done.stdout.strip().splitlines())
    assert 1000 < float(figures["peak memory, MB"]) < 12_000
    assert float(figures["predict over bare forward"]) > 0.5  # it did look at the query


def test_a_picture_from_a_file_with_the_bundled_dice(tmp_path: Path) -> None:
    Image.fromarray(GOOD).save(tmp_path / "a.png")
    fitted = Detector.from_prompts("dice_six", profile="builtin")
    assert fitted.predict(tmp_path / "a.png").findings
