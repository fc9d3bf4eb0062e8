"""ULSAD whole: evidence, findings, notes, saving, resumption; on small drawn products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fmlad
from fmlad import pipeline
from fmlad.errors import CheckpointError, CorruptDetectorError, FmladError, OptionError
from fmlad.methods import registry
from fmlad.methods.protocol import FitContext
from fmlad.methods.ulsad.config import UlsadConfig
from fmlad.methods.ulsad.localisation import differences, positive
from fmlad.methods.ulsad.method import Ulsad
from fmlad.scoring.leading import Leading
from fmlad.views import BackboneSet
from tests.methods.ulsad.stand_in import QUICK, ShrunkEncoder, product

SHOTS = [product(seed)[0] for seed in range(25)]
VALIDATION = [product(seed)[0] for seed in range(60, 80)]
# Enough to tell a colour that no product has.
LEARNED = {**QUICK, "steps": 150, "width": 16, "rate": 0.005}


def fitted(shots: Any = None, **arguments: Any) -> fmlad.Detector:
    settings: dict[str, Any] = {
        "method": "ulsad", "profile": "builtin", "side": 64, "training": QUICK,
        "backbones": {"encoder": ShrunkEncoder()},
    }  # fmt: skip
    return fmlad.Detector.from_shots(SHOTS[:6] if shots is None else shots,
                                     **{**settings, **arguments})  # fmt: skip


@pytest.fixture(scope="module")
def detector() -> fmlad.Detector:
    return fitted(SHOTS, training=LEARNED, validation=VALIDATION)


@pytest.fixture(scope="module")
def whole() -> tuple[pipeline.Fitted, ShrunkEncoder, Any]:
    """A fitted method, its encoder, and a view of a new product."""
    encoder = ShrunkEncoder()
    through = BackboneSet({"encoder": encoder})
    views = [through.view(pixels, str(n)) for n, pixels in enumerate(SHOTS[:6])]
    method = Ulsad(UlsadConfig(side=64, training=QUICK))
    own = pipeline.fit(method, views, FitContext(encoder=encoder))
    return own, encoder, lambda **change: through.view(product(50, **change)[0], "query")


def scratched(seed: int = 50) -> Any:
    pixels = product(seed)[0].copy()
    pixels[60:80, 90:110] = (20, 220, 60)  # a colour that no product has, lower right
    return pixels


def test_a_scratch_is_found_in_its_place(detector: fmlad.Detector) -> None:
    verdict = detector.predict(scratched())
    assert verdict.is_anomalous
    first = verdict.findings[0]
    assert first.kind == "defect"
    assert "lower right" in first.text
    assert first.text.endswith(("(local branch)", "(global branch)"))
    assert first.box is not None
    x1, y1, x2, y2 = first.box
    assert x1 < 100 < x2
    assert y1 < 70 < y2
    inside = verdict.anomaly_map[int(y1) : int(y2), int(x1) : int(x2)]
    assert inside.max() == verdict.anomaly_map.max()


def test_normal_images_stay_below_the_threshold(detector: fmlad.Detector) -> None:
    verdicts = [detector.predict(product(seed)[0]) for seed in range(50, 54)]
    assert sum(bool(one.is_anomalous) for one in verdicts) <= 1
    assert all(not one.findings for one in verdicts if not one.is_anomalous)
    assert max(one.score for one in verdicts) < detector.predict(scratched()).score


def test_the_score_is_the_maximum_of_the_mean_of_both_maps(whole: Any) -> None:
    own, _, query = whole
    view, state = query(pins=1), own.state
    found = own.method.evidence(view, state)
    levels = state.encoder.levels(view)
    maps = state.reconstruction.maps(state.encoder.square(view.pixels)[None], levels)
    mean = ((maps["local"] + maps["global"]) / 2)[0].numpy()
    assert found.maps.keys() == found.scores.keys() == {"local", "global", "combined"}
    assert {one.shape for one in found.maps.values()} == {(64, 64)}
    assert np.allclose(found.maps["combined"], positive(mean), atol=1e-6)
    for branch, score in found.scores.items():
        assert found.maps[branch].max() == pytest.approx(score)
    verdict = pipeline.judge(view, own)
    assert verdict.score == pytest.approx(found.scores["combined"])
    assert verdict.branch_scores == found.scores


def test_positive_values_keep_their_order() -> None:
    values = np.linspace(-3, 3, 301)
    found = positive(values)
    assert (np.diff(found) > 0).all()
    assert (found > 0).all()
    assert found[-1] == pytest.approx(30.0, abs=1e-3)  # tenfold where it is large


def blob(*places: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    found = np.full((32, 32), 0.1, np.float32)
    for row, column in places:
        found[row : row + 4, column : column + 4] = 8.0
    return found


def test_findings_say_which_branch_speaks() -> None:
    local, whole = blob((4, 4)), blob((20, 20))
    maps = {"local": local, "global": whole, "combined": (local + whole) / 2}
    found = differences(maps, "combined", (64, 128))
    assert sorted(one.branch for one in found) == ["global", "local"]
    by_branch = {one.branch: one for one in found}
    for branch, centre in (("local", (24, 12)), ("global", (88, 44))):
        x1, y1, x2, y2 = by_branch[branch].boxes[0]
        assert x1 < centre[0] < x2
        assert y1 < centre[1] < y2
        assert branch in by_branch[branch].reason
        assert by_branch[branch].score == pytest.approx(4.05, rel=0.01)


def test_places_far_below_the_greatest_are_not_told() -> None:
    values = blob((4, 4)) + 0.3 * blob((20, 20))
    assert len(differences({"local": values}, "local", (64, 64))) == 1
    flat = np.full((32, 32), 1.0, np.float32)  # below what the quantile of normal images becomes
    assert differences({"local": flat}, "local", (64, 64)) == []


@pytest.mark.parametrize("branch", ["local", "global"])
def test_a_branch_alone(whole: Any, branch: str) -> None:
    _, encoder, query = whole
    through = BackboneSet({"encoder": encoder})
    views = [through.view(pixels, str(n)) for n, pixels in enumerate(SHOTS[:6])]
    method = Ulsad(UlsadConfig(side=64, training=QUICK, branches=(branch,)))  # type: ignore[arg-type]
    alone = pipeline.fit(method, views, FitContext(encoder=encoder))
    assert alone.fusion == Leading(branch, (branch,))
    verdict = pipeline.judge(query(), alone)
    assert verdict.branch_scores == {branch: verdict.score}


def test_aims() -> None:
    for aim, branch in (("damage", "local"), ("composition", "global")):
        assert fitted(looks_for=aim).predict(SHOTS[0]).branch_scores.keys() == {branch}


def test_a_fifth_of_the_shots_calibrates_and_is_not_trained_on() -> None:
    detector = fitted(SHOTS[:10])
    assert detector.calibration.source == "held-out"
    assert len(detector.calibration.scores) == 2
    assert "learned from 8 normal images" in detector.notes[0]
    given = fitted(SHOTS[:10], validation=VALIDATION[:3])
    assert given.calibration.source == "validation"
    assert "learned from 10 normal images" in given.notes[0]


def test_it_says_that_it_wants_many(detector: fmlad.Detector) -> None:
    assert any("wants many" in one for one in fitted(SHOTS[:1]).notes)
    assert not any("wants many" in one for one in detector.notes)


def test_one_shot_is_enough() -> None:
    detector = fitted(SHOTS[:1])
    assert detector.calibration.source == "augmentations"
    assert np.isfinite(detector.predict(product(50)[0]).score)


def test_a_query_costs_one_pass_of_the_encoder(whole: Any) -> None:
    own, encoder, query = whole
    before = encoder.modules[0].images
    pipeline.judge(query(), own)
    assert encoder.modules[0].images == before + 1


@pytest.mark.parametrize("preset", ["paper", "code", "cpu"])
def test_every_preset_trains_and_survives_saving(tmp_path: Path, preset: str) -> None:
    names = {"encoder": "builtin:squeezenet@1"}  # a saved detector names its backbones
    small = {"width": 8, "bottleneck": 8, "steps": 2, "batch": 2, "channels": 12}
    detector = fitted(SHOTS[:6], preset=preset, training=small, backbones=names)
    loaded = fmlad.Detector.load(detector.save(tmp_path / "saved"))
    for pixels in (product(50)[0], scratched()):
        one, other = detector.predict(pixels), loaded.predict(pixels)
        assert other.branch_scores == one.branch_scores
        assert (other.score, other.threshold) == (one.score, one.threshold)
        assert [f.text for f in other.findings] == [f.text for f in one.findings]
        assert np.array_equal(other.anomaly_map, one.anomaly_map)
    assert loaded.notes == detector.notes
    assert not list((tmp_path / "saved").rglob("*.pkl"))


class Killed(BaseException):
    """Nothing catches it."""


@pytest.mark.parametrize(
    "stage",
    ["reconstruction: features", "reconstruction: loss", "judging validation images"],
)
def test_a_kill_at_any_stage_is_resumed_to_the_same_detector(tmp_path: Path, stage: str) -> None:
    def kill(done: int, total: int, what: str) -> None:
        if what.startswith(stage):
            raise Killed

    shots, others = SHOTS[:6], VALIDATION[:3]
    with pytest.raises(Killed):
        fitted(shots, validation=others, checkpoint=tmp_path / "run", progress=kill)
    resumed = fitted(shots, validation=others, checkpoint=tmp_path / "run", resume=True)
    straight = fitted(shots, validation=others)
    assert resumed.predict(scratched()).score == straight.predict(scratched()).score
    assert resumed.threshold == straight.threshold


def test_what_was_finished_is_not_trained_again(tmp_path: Path) -> None:
    fitted(checkpoint=tmp_path / "run")
    told: list[str] = []
    fitted(checkpoint=tmp_path / "run", resume=True,
           progress=lambda done, total, what: told.append(what))  # fmt: skip
    assert told
    assert not any("loss" in one for one in told)
    for change in ({"training": {**QUICK, "steps": 9}}, {"branches": "local"}):
        with pytest.raises(CheckpointError):
            fitted(checkpoint=tmp_path / "run", resume=True, **change)
    with pytest.raises(CheckpointError):
        fitted(SHOTS[1:7], checkpoint=tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    "change",
    [
        {"shots": 0}, {"shots": None}, {"shots": "six"}, {"quantiles": {}}, {"config": {}},
        {"quantiles": {"local": [0.0, 1.0]}},
        {"quantiles": {"local": [1.0, 0.0], "global": [0.0, 1.0]}},
    ],
)  # fmt: skip
def test_a_description_that_does_not_fit_is_refused(whole: Any, change: dict[str, Any]) -> None:
    own, encoder, _ = whole
    meta = {**own.state.meta(), "encoder": encoder, **change}
    with pytest.raises(CorruptDetectorError):
        own.method.restore(own.state.tensors(), meta, "cpu")


def test_another_method_s_branches_are_refused(whole: Any) -> None:
    own, encoder, _ = whole
    local = Ulsad(UlsadConfig(side=64, training=QUICK, branches=("local",)))
    with pytest.raises(CorruptDetectorError, match="branches"):
        local.restore(own.state.tensors(), {**own.state.meta(), "encoder": encoder}, "cpu")


@pytest.mark.parametrize("name", ["frn.0.weight", "autoencoder.1.bias", "aggregator.standard.mean"])
def test_a_missing_tensor_is_named(whole: Any, name: str) -> None:
    own, encoder, _ = whole
    tensors = {key: one for key, one in own.state.tensors().items() if key != name}
    assert len(tensors) < len(own.state.tensors())
    with pytest.raises(CorruptDetectorError, match=name):
        own.method.restore(tensors, {**own.state.meta(), "encoder": encoder}, "cpu")
    with pytest.raises(CorruptDetectorError, match="more"):
        own.method.restore(
            {**own.state.tensors(), "more": torch.zeros(1)},
            {**own.state.meta(), "encoder": encoder}, "cpu",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"side": 100}, "multiple of 64"), ({"branches": ()}, "branches"),
        ({"branches": ("third",)}, "branches"), ({"preset": "gpu"}, "preset"),
        ({"training": {"step": 1}}, "step"), ({"training": {"steps": 0}}, "steps=0"),
        ({"steps": 3}, "no option 'steps'"),
    ],
)  # fmt: skip
def test_wrong_options_are_told_of_before_anything_is_loaded(
    wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(FmladError, match=message):
        registry.create_method("ulsad", wrong)


def test_it_needs_an_encoder() -> None:
    with pytest.raises(OptionError, match="encoder"):
        Ulsad().restore({}, {"encoder": None}, "cpu")


def test_arguments_that_it_has_no_use_for_are_refused() -> None:
    with pytest.raises(OptionError, match="unlabeled"):
        fitted(unlabeled=[SHOTS[7]])
