"""The whole of ``foundation`` with tiny random weights: methods, command line, page, look."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fmlad import Detector, profiles
from fmlad.app.service import DetectorCache, judge
from fmlad.loading import load_backbones
from fmlad.methods.sam_lad.method import SamLad
from tests.commands.test_main import fmlad_cli
from tests.conftest import picture
from tests.foundation_cases import (
    NAMES,
    QUERY,
    RAM,
    SAM,
    SAM_HQ,
    SHOTS,
    Case,
    cases,
    fill_tiny,
    judged_elsewhere,
    save_pictures,
)
from tools.passes import counted

NOT_KEPT = {"FeatUp"}  # its maps are too large for the disk cache


@dataclass(frozen=True)
class Weights:
    """The folder for ``$FMLAD_WEIGHTS``, and what is made of it."""

    root: Path
    cases: dict[str, Case]


@dataclass(frozen=True)
class Run:
    """A detector and what came of it."""

    detector: Detector
    saved: Path
    scores: tuple[float, float]  # of the same picture, twice
    fit: Counter[str]
    predict: Counter[str]
    again: Counter[str]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    root = tmp_path_factory.mktemp("weights")
    return Weights(root, fill_tiny(root))


@pytest.fixture(autouse=True)
def _named(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMLAD_WEIGHTS", str(weights.root))


@pytest.fixture(scope="module")
def runs(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    found = {}
    for name, case in weights.cases.items():
        home = tmp_path_factory.mktemp(name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FMLAD_WEIGHTS", str(weights.root))
            patch.setenv("FMLAD_CACHE_DIR", str(home / "cache"))
            with counted() as fit:
                detector = case.fit(SHOTS)
            with counted() as predict:
                first = detector.predict(QUERY).score
            with counted() as again:
                second = detector.predict(QUERY).score
            saved = detector.save(home / "detector")
        found[name] = Run(detector, saved, (first, second), fit, predict, again)
    return found


@pytest.fixture(scope="module")
def elsewhere(
    weights: Weights, runs: dict[str, Run], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[float, dict[str, int]]]:
    home = tmp_path_factory.mktemp("elsewhere")
    (query,) = save_pictures(home, [QUERY])
    found = judged_elsewhere(
        [run.saved for run in runs.values()], query, weights.root, home / "cache"
    )
    return dict(zip(runs, found, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_every_network_sees_an_image_once(
    name: str, weights: Weights, runs: dict[str, Run]
) -> None:
    assert dict(runs[name].fit) == weights.cases[name].at_fit(len(SHOTS))
    assert dict(runs[name].predict) == weights.cases[name].at_predict(1)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_same_picture_has_the_same_score_here_and_in_a_new_process(
    name: str,
    weights: Weights,
    runs: dict[str, Run],
    elsewhere: dict[str, tuple[float, dict[str, int]]],
) -> None:
    score, again = runs[name].scores
    assert np.isfinite(score)
    assert score > 0
    assert again == score
    assert set(runs[name].again) <= NOT_KEPT
    found, passes = elsewhere[name]
    assert found == score
    assert passes == weights.cases[name].at_predict(1)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "clip-lad"])
def test_there_is_something_to_pass_on(name: str, weights: Weights, runs: dict[str, Run]) -> None:
    case = weights.cases[name]
    for pixels in (SHOTS[0], QUERY):
        view = load_backbones(case.backbones, "cpu").view(pixels)
        assert len(view.masks()) >= 10
        if "tagger" in case.backbones:
            words = [tag.word for tag in view.tags()]
            assert len(words) >= 4
            boxes = view.boxes(words)
            assert len(boxes) >= 2
            masks = view.prompted(boxes.boxes)
            assert len(masks) == len(boxes)
            assert masks.masks.any((1, 2)).sum() >= 2
    assert runs[name].detector.parts


# --- from one command -----------------------------------------------------------------------------


@pytest.mark.parametrize("tags", ["ram", pytest.param("clip", marks=pytest.mark.slow)])
def test_one_command_fits_and_one_predicts(tags: str, weights: Weights, tmp_path: Path) -> None:
    """Tags, boxes, masks, parts, verdict, from local folders: RAM++ and SAM-HQ, or CLIP and SAM."""
    case = weights.cases["banks-clip-tags" if tags == "clip" else "banks-ram-sam-hq"]
    save_pictures(tmp_path / "shots", SHOTS)
    (query,) = save_pictures(tmp_path / "queries", [QUERY])
    named = [f"--backbone={role}={name}" for role, name in case.backbones.items()]
    with counted() as passes:
        done = fmlad_cli(
            "fit", tmp_path / "shots", "--profile", "foundation", "--option", "proposals=grounded",
            "--option", "registration=false", *named, "--out", tmp_path / "detector", "--no-check",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert dict(passes) == case.at_fit(len(SHOTS))
    with counted() as passes:
        done = fmlad_cli("predict", tmp_path / "detector", query, "--json")
    assert done.returncode == 0, done.stderr
    assert dict(passes) == case.at_predict(1)
    score = json.loads(done.stdout)["score"]
    detector = case.fit(SHOTS, proposals="grounded", registration=False)
    assert score == detector.predict(QUERY).score
    with counted() as passes:  # what was done is on disk
        assert fmlad_cli("predict", tmp_path / "detector", query).returncode == 0
    assert not passes


def test_look_draws_every_step(weights: Weights, tmp_path: Path) -> None:
    # No other picture of this file: SAM keeps what it said of the last one.
    (image,) = save_pictures(tmp_path / "one", [picture(20, (110, 150))])
    tagger = weights.cases["banks-clip-tags"].backbones["tagger"]
    aligner = weights.cases["clip-lad"].backbones["text_aligner"]
    with counted() as passes:
        done = fmlad_cli(
            "look", image, "--profile", "foundation", "--out", tmp_path / "look", "--json",
            "--backbone", f"text_aligner={aligner}", "--backbone", f"tagger={tagger}",
            "--backbone", f"mask_proposer={SAM}",
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    steps = json.loads(done.stdout)["steps"]
    assert [step["role"] for step in steps] == [
        "tagger", "grounder", "mask_proposer", "grounded masks", "text_aligner",
        "feature_extractor", "upsampler",
    ]  # fmt: skip
    for step in steps:
        assert step["problem"] is None
        assert step["lines"]
        assert all(Path(place).is_file() for place in step["pictures"])
        assert step["pictures"] or step["role"] == "tagger"
    networks = ("CLIP", "DINOv2", "FeatUp", "Grounding DINO", "SAM")
    assert dict(passes) == dict.fromkeys(networks, 1)


# --- the page -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["banks", pytest.param("sam-lad", marks=pytest.mark.slow)])
def test_the_page_says_what_the_library_says(
    name: str,
    weights: Weights,
    runs: dict[str, Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = weights.cases[name]
    # The page offers profiles, no options: those of the backbones' names go there.
    monkeypatch.setitem(profiles.PROFILES, "foundation", case.backbones)  # type: ignore[arg-type]
    monkeypatch.setattr(SamLad, "declared", {})
    shots = save_pictures(tmp_path / "shots", SHOTS)
    queries = save_pictures(tmp_path / "queries", [QUERY, SHOTS[0]])
    kept = DetectorCache()
    with counted() as passes:
        result = judge(shots, queries, method=name, profile="foundation", detectors=kept)
    assert (result.error, result.problems, result.refitted) == (None, [], True)
    # The second query is the first shot: all that is kept on disk is known of it.
    again = {name: 1 for name in case.once if name in NOT_KEPT}
    assert passes == Counter(case.at_fit(len(SHOTS) + 1)) + Counter(again)
    detector = runs[name].detector
    expected = [detector.predict(pixels).score for pixels in (QUERY, SHOTS[0])]
    assert [verdict.score for verdict in result.verdicts] == expected
    assert expected[0] > expected[1]
    with counted() as passes:
        repeated = judge(shots, queries[:1], method=name, profile="foundation", detectors=kept)
    assert not repeated.refitted
    assert repeated.verdicts[0].score == expected[0]
    assert passes == Counter(again)


def test_names_of_the_cases_are_those_of_the_profile() -> None:
    used = {
        name.partition("#")[0]
        for case in cases("", Path()).values()
        for name in case.backbones.values()
    }
    beside = {SAM_HQ.partition("#")[0], RAM.partition("#")[0], "clip:", "clip-tags:"}
    assert used - beside <= set(profiles.PROFILES["foundation"].values())
