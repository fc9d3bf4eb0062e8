"""PSAD on small drawn products, with a stand-in that segments them by colour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import fmlad
from fmlad import pipeline
from fmlad.datasets import PartLabels
from fmlad.errors import CorruptDetectorError, OptionError
from fmlad.methods import registry
from fmlad.methods.protocol import FitContext
from fmlad.methods.psad.config import PsadConfig
from fmlad.methods.psad.state import PsadState
from fmlad.views import BackboneSet
from tests.conftest import CountingFeatures
from tests.methods.psad.drawn import METHOD, NAMES, ColourPsad, product

BACKBONES = {"encoder": "builtin:squeezenet@1", "feature_extractor": "builtin:handmade@1"}
SHOTS = [product(seed) for seed in range(3)]
OTHERS = [product(seed)[0] for seed in range(10, 19)]


@pytest.fixture(autouse=True, scope="module")
def _plugged() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._METHODS, "psad", METHOD)
        registry._homes.cache_clear()
        yield
    registry._homes.cache_clear()


def named(shots: Sequence[tuple[Any, Any]]) -> PartLabels:
    maps = tuple(labels.astype(np.uint8) for _, labels in shots)
    return PartLabels(("background", *NAMES), maps, "drawn")


def fitted(**arguments: Any) -> fmlad.Detector:
    settings: dict[str, Any] = {
        "method": "psad", "profile": "builtin", "backbones": BACKBONES,
        "labels": named(SHOTS), "unlabeled": OTHERS, "patch_cells": 16,
    }  # fmt: skip
    return fmlad.Detector.from_shots([p for p, _ in SHOTS], **{**settings, **arguments})


def of_histograms(**arguments: Any) -> fmlad.Detector:
    backbones = {"encoder": BACKBONES["encoder"]}
    return fitted(banks=("histogram",), backbones=backbones, **arguments)


@pytest.fixture(scope="module")
def detector() -> fmlad.Detector:
    return fitted()


def encoder() -> Any:
    from fmlad import profiles

    return profiles.load_backbones({"encoder": BACKBONES["encoder"]}, "cpu")["encoder"]


@pytest.fixture
def counted() -> tuple[ColourPsad, list[Any], CountingFeatures, FitContext]:
    """A method, views of its shots through an extractor that counts, and the context."""
    features = CountingFeatures()
    through = BackboneSet({"feature_extractor": features, "encoder": encoder()})
    views = [through.view(pixels, str(n)) for n, (pixels, _) in enumerate(SHOTS)]
    others = [through.view(pixels) for pixels in OTHERS]
    labels = [label for _, label in SHOTS]
    context = FitContext(labels=labels, unlabeled=others, encoder=encoder())
    return ColourPsad(PsadConfig(patch_cells=16)), views, features, context


CHANGES: list[tuple[dict[str, Any], str, str, str]] = [
    ({"label": "none"}, "missing", "label", "label missing, upper left: expected 1, found 0"),
    ({"pins": 1}, "missing", "pin", "pin missing, upper right: expected 2, found 1"),
    ({"pins": 3}, "extra", "pin", "pin too many, upper right: expected 2, found 3"),
    ({"also": True}, "extra", "label", "label too many, lower right: expected 1, found 2"),
    ({"cable": 84}, "resized", "cable", "times the usual length"),
    ({"cable": 40}, "resized", "cable", "cable too short"),
    ({"label": "dark"}, "recoloured", "label", "label of another colour, upper left"),
    ({"label": "striped"}, "defect", "label", "label looks wrong, upper left"),
]


@pytest.mark.parametrize(("change", "kind", "part", "text"), CHANGES, ids=lambda one: str(one)[:20])
def test_a_change_is_found_named_and_painted(
    detector: fmlad.Detector, change: dict[str, Any], kind: str, part: str, text: str
) -> None:
    verdict = detector.predict(product(50, **change)[0])
    assert verdict.is_anomalous
    first = verdict.findings[0]
    assert (first.kind, first.part) == (kind, part)
    assert text in first.text
    assert first.box is not None
    x1, y1, x2, y2 = map(round, first.box)
    inside = verdict.anomaly_map[y1:y2, x1:x2]
    assert inside.max() == verdict.anomaly_map.max() > (detector.threshold or 0)


@pytest.mark.parametrize("seed", range(50, 54))
def test_a_normal_image_has_no_findings(detector: fmlad.Detector, seed: int) -> None:
    verdict = detector.predict(product(seed)[0])
    assert not verdict.is_anomalous
    assert verdict.findings == []
    assert verdict.segmentation is not None
    assert verdict.segmentation.counts() == {"label": 1, "cable": 1, "pin": 2}
    assert verdict.segmentation.labels.shape == (96, 128)


def test_a_missing_part_is_painted_where_the_nearest_training_image_has_it(
    detector: fmlad.Detector,
) -> None:
    verdict = detector.predict(product(50, label="none")[0])
    top = np.argwhere(verdict.anomaly_map > 0.9 * verdict.anomaly_map.max())
    assert (top.min(0) >= (3, 3)).all()
    assert (top.max(0) <= (36, 50)).all()


def test_the_length_is_that_of_the_cable(detector: fmlad.Detector) -> None:
    text = detector.predict(product(50, cable=84)[0]).findings[0].text
    ratio = float(text.split(": ")[1].split()[0])
    assert ratio == pytest.approx(84 / 60, abs=0.1)


def test_every_training_image_sets_scales_and_threshold(detector: fmlad.Detector) -> None:
    assert len(detector.calibration.scores) == len(SHOTS) + len(OTHERS)
    assert detector.calibration.source == "training"
    assert "12 training images" in detector.calibration.describe()
    assert len(detector.shots) == len(SHOTS)
    assert all(report.score is not None for report in detector.shots)


def test_more_than_32_training_images_count_all() -> None:
    others = [product(seed)[0] for seed in range(100, 140)]
    assert len(of_histograms(unlabeled=others).calibration.scores) == 43


def test_the_scale_of_a_bank_is_its_largest_leave_one_out_distance(
    counted: tuple[ColourPsad, list[Any], CountingFeatures, FitContext],
) -> None:
    _, views, _, context = counted
    method = ColourPsad(PsadConfig(patch_cells=16, coreset=1))
    whole = pipeline.fit(method, views, context)
    state = whole.state
    assert isinstance(state, PsadState)
    scales = whole.fusion.scales
    assert scales["composition"] == pytest.approx(state.compositions.left_out().max())
    patches = [one.patches.flatten(0, 1) for one in state.seen if one.patches is not None]
    worst = []
    for number, own in enumerate(patches):
        others = torch.cat([one for n, one in enumerate(patches) if n != number])
        worst.append(float(torch.cdist(own, others).min(1).values.max()))
    assert scales["patch"] == pytest.approx(max(worst), rel=1e-3)


def test_a_query_costs_one_pass_of_each_encoder_and_leaving_out_costs_none(
    counted: tuple[ColourPsad, list[Any], CountingFeatures, FitContext],
) -> None:
    method, views, features, context = counted
    whole = pipeline.fit(method, views, context)
    segmenter = method.source.latest  # type: ignore[attr-defined]
    assert features.images == segmenter.images == len(SHOTS) + len(OTHERS)
    view = views[0].again(product(50)[0], "query")
    pipeline.judge(view, whole)
    assert features.images == segmenter.images == len(SHOTS) + len(OTHERS) + 1


def test_an_image_that_is_given_twice_is_not_judged_by_itself() -> None:
    alone = of_histograms()
    twice = of_histograms(unlabeled=[*OTHERS, SHOTS[0][0]])
    assert twice.shots[0].score == pytest.approx(alone.shots[0].score)


def test_the_map_of_each_bank_reaches_its_score(
    counted: tuple[ColourPsad, list[Any], CountingFeatures, FitContext],
) -> None:
    _, views, _, context = counted
    for preset in ("paper", "code", "cpu"):
        method = ColourPsad(PsadConfig(preset=preset))
        state = method.fit(views, context)
        for change in ({"label": "striped"}, {"pins": 1}):
            query = views[0].again(product(50, **change)[0], "query")
            found = method.evidence(query, state)
            for bank, score in found.scores.items():
                assert found.maps[bank].max() == pytest.approx(score, rel=1e-5), (preset, bank)
            assert len({one.shape for one in found.maps.values()}) == 1


def test_presets_differ_in_what_they_say_they_do(
    counted: tuple[ColourPsad, list[Any], CountingFeatures, FitContext],
) -> None:
    _, views, _, context = counted
    query = views[0].again(product(50, also=True)[0], "query")
    scores = {}
    for preset in ("paper", "code", "cpu"):
        method = ColourPsad(PsadConfig(preset=preset))
        scores[preset] = method.evidence(query, method.fit(views, context)).scores
    paper, code, cpu = (scores[name] for name in ("paper", "code", "cpu"))
    assert 0 < code["patch"] < paper["patch"]  # reweighted
    assert paper["patch"] <= cpu["patch"]  # compared with some of the patches
    assert paper["histogram"] == code["histogram"]
    assert cpu["histogram"] < 1e4 < paper["histogram"]  # the label's area never varies here
    assert paper["composition"] != code["composition"]  # aligned corners


def test_a_few_stray_pixels_of_a_class_are_no_composition_of_their_own(
    counted: tuple[ColourPsad, list[Any], CountingFeatures, FitContext],
) -> None:
    _, views, _, context = counted
    shares = {}
    for preset in ("paper", "cpu"):
        method = ColourPsad(PsadConfig(preset=preset))
        state = method.fit(views, context)
        usual = state.seen[0]
        areas = usual.histogram.copy()
        areas[1] /= 50
        stray = replace(usual, histogram=areas)
        first = slice(0, usual.composition.shape[1])
        before, after = (np.linalg.norm(state.composition(one)[first]) for one in (usual, stray))
        shares[preset] = after / before
    assert shares["paper"] == 1
    assert shares["cpu"] < 0.06


@pytest.mark.parametrize("banks", [("histogram",), ("composition",), ("patch",)])
def test_a_bank_alone_scores_as_it_does_among_all(
    detector: fmlad.Detector, banks: tuple[str, ...]
) -> None:
    query = product(50, pins=1)[0]
    alone = fitted(banks=banks) if banks != ("histogram",) else of_histograms()
    found, wanted = alone.predict(query), detector.predict(query)
    assert found.branch_scores == {banks[0]: pytest.approx(wanted.branch_scores[banks[0]])}
    assert found.score == pytest.approx(wanted.branch_scores[banks[0]])


def test_scaling_is_a_switch(detector: fmlad.Detector) -> None:
    query = product(50, pins=1)[0]
    plain, spread = fitted(scaling="none"), fitted(scaling="std")
    scales = detector._fitted.fusion.scales
    scaled, raw = detector.predict(query).branch_scores, plain.predict(query).branch_scores
    for bank in raw:
        assert raw[bank] == pytest.approx(scaled[bank] * scales[bank])
    assert plain.predict(query).score == pytest.approx(sum(raw.values()))
    by_spread = spread._fitted.fusion.scales
    assert 0 < by_spread["patch"] < scales["patch"]


def test_the_order_of_the_unlabeled_images_does_not_matter(detector: fmlad.Detector) -> None:
    query = product(50, cable=84)[0]
    other = fitted(unlabeled=OTHERS[::-1])
    assert other.predict(query).score == pytest.approx(detector.predict(query).score, rel=1e-4)
    assert other.threshold == pytest.approx(detector.threshold, rel=1e-4)


def test_a_saved_detector_scores_the_same(detector: fmlad.Detector, tmp_path: Path) -> None:
    loaded = fmlad.Detector.load(detector.save(tmp_path / "saved"))
    for change in ({}, {"label": "dark"}, {"pins": 3}):
        query = product(50, **change)[0]
        one, other = detector.predict(query), loaded.predict(query)
        assert other.score == one.score
        assert [f.text for f in other.findings] == [f.text for f in one.findings]
        assert np.array_equal(other.anomaly_map, one.anomaly_map)
    assert loaded.notes == detector.notes
    assert loaded.parts == detector.parts
    assert not list((tmp_path / "saved").rglob("*.pkl"))


@pytest.mark.parametrize("name", ["segmenter.means", "histogram", "3.labels", "2.patches"])
def test_a_missing_tensor_is_named(counted: Any, name: str) -> None:
    method, views, _, context = counted
    state = method.fit(views, context)
    tensors = {key: one for key, one in state.tensors().items() if key != name}
    meta = {**state.meta(), "encoder": encoder()}
    with pytest.raises(CorruptDetectorError, match=name.removeprefix("segmenter.")):
        method.restore(tensors, meta, "cpu")


@pytest.mark.parametrize(
    "change",
    [{"keys": ["a"]}, {"names": []}, {"shots": 0}, {"shots": 99}, {"patches": False}, {"sizes": 3}],
)
def test_a_description_that_does_not_fit_is_refused(counted: Any, change: dict[str, Any]) -> None:
    method, views, _, context = counted
    state = method.fit(views, context)
    with pytest.raises(CorruptDetectorError):
        method.restore(state.tensors(), {**state.meta(), "encoder": encoder(), **change}, "cpu")


def test_saved_banks_must_be_those_of_the_options(counted: Any) -> None:
    method, views, _, context = counted
    state = method.fit(views, context)
    for bank in ("patch", "composition"):
        others = [one for one in ("histogram", "composition", "patch") if one != bank]
        other = ColourPsad(PsadConfig(banks=tuple(others)))  # type: ignore[arg-type]
        with pytest.raises(CorruptDetectorError):
            other.restore(state.tensors(), {**state.meta(), "encoder": encoder()}, "cpu")


def test_a_damaged_file_is_refused(detector: fmlad.Detector, tmp_path: Path) -> None:
    saved = detector.save(tmp_path / "saved")
    state = saved / "state.safetensors"
    tensors = load_file(state)
    tensors["histogram"] = tensors["histogram"] + 1
    save_file(tensors, state)
    with pytest.raises(CorruptDetectorError):
        fmlad.Detector.load(saved)


def test_the_training_knows_what_it_belongs_to(tmp_path: Path) -> None:
    of_histograms(checkpoint=tmp_path / "run", resume=True)
    call = ColourPsad.source.calls[-1]
    assert call["checkpoint"] == tmp_path / "run" / "segmenter.safetensors"
    assert call["resume"]
    settings = call["settings"]
    assert len(set(settings["labels"])) == 3
    assert len(set(settings["unlabeled"])) == len(OTHERS)
    changed = [labels for _, labels in SHOTS]
    changed[0] = np.where(changed[0] == 1, 0, changed[0])
    of_histograms(labels=changed)
    assert ColourPsad.source.calls[-1]["settings"]["labels"] != settings["labels"]


def test_names_of_the_classes_are_told(counted: Any) -> None:
    method, views, _, context = counted
    whole = pipeline.fit(method, views, replace(context, label_names=("background", *NAMES)))
    query = views[0].again(product(50, cable=84)[0], "query")
    verdict = pipeline.judge(query, whole)
    assert verdict.findings[0].text.startswith("cable too long")
    assert [part.name for part in method.parts(whole.state)] == list(NAMES)


def test_one_labelled_image_alone_is_enough() -> None:
    alone = fitted(unlabeled=(), labels=named(SHOTS[:1] * 3))
    single = fmlad.Detector.from_shots(
        SHOTS[0][0], method="psad", profile="builtin", backbones=BACKBONES, labels=named(SHOTS[:1])
    )
    assert alone.calibration.source == "leave-one-out"
    assert single.calibration.source == "augmentations"
    assert single.predict(product(50, label="none")[0]).findings[0].kind == "missing"


def test_a_shot_more_is_trained_with(caplog: pytest.LogCaptureFixture) -> None:
    changing = of_histograms()
    pixels, labels = product(7)
    changing.add_shots([pixels], labels=named([(pixels, labels)]))
    assert "trained again" in caplog.text
    assert len(ColourPsad.source.calls[-1]["labelled"]) == 4
    assert len(changing.calibration.scores) == 13


def test_labels_that_are_none_are_refused(counted: Any) -> None:
    method, views, _, context = counted
    with pytest.raises(OptionError, match="labels="):
        of_histograms(labels=None)
    for bad, said in ((-1, "these are -1 to -1"), (256, "256"), (0, "at least one part")):
        labels = [np.full((96, 128), bad)] * 3
        with pytest.raises(OptionError, match=said):
            method.fit(views, replace(context, labels=labels))
    with pytest.raises(OptionError, match="2 names for labels up to 3"):
        method.fit(views, replace(context, label_names=("background", "label", "cable")))
    with pytest.raises(OptionError, match="encoder"):
        method.fit(views, replace(context, encoder=None))


def test_what_it_looks_for_can_be_chosen() -> None:
    assert fitted(looks_for="damage").predict(OTHERS[0]).branch_scores.keys() == {"patch"}
    composition = fitted(looks_for="composition").predict(OTHERS[0])
    assert composition.branch_scores.keys() == {"histogram", "composition"}
