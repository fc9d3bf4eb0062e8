"""CSAD on small drawn products, with a stand-in that segments them by colour."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fmlad
from fmlad import pipeline
from fmlad.errors import CorruptDetectorError, OptionError
from fmlad.methods import registry
from fmlad.methods.csad.method import Csad
from fmlad.methods.protocol import FitContext
from fmlad.scoring.trimmed import TrimmedMoments, TrimmedZ
from fmlad.views import BackboneSet
from tests.methods.csad.stand_in import METHOD, NAMES, QUICK, ColourCsad, CsadConfig, ShrunkEncoder
from tests.methods.psad.drawn import product

SHOTS = [product(seed)[0] for seed in range(20)]
OPTIONS: dict[str, Any] = {"side": 128, "students": QUICK}


@pytest.fixture(autouse=True, scope="module")
def _plugged() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._METHODS, "csad", METHOD)
        registry._homes.cache_clear()
        yield
    registry._homes.cache_clear()


def fitted(**arguments: Any) -> fmlad.Detector:
    settings: dict[str, Any] = {
        "method": "csad", "profile": "builtin", "backbones": {"encoder": ShrunkEncoder()},
        **OPTIONS,
    }  # fmt: skip
    return fmlad.Detector.from_shots(SHOTS, **{**settings, **arguments})


@pytest.fixture(scope="module")
def detector() -> fmlad.Detector:
    # Enough further images for a threshold that normal ones keep below.
    return fitted(branches=("histogram",), validation=[product(seed)[0] for seed in range(20, 40)])


@pytest.fixture(scope="module")
def both() -> tuple[pipeline.Fitted, ShrunkEncoder, Any]:
    """A fitted method with both branches, its encoder, and a view of a new product."""
    encoder = ShrunkEncoder()
    through = BackboneSet({"encoder": encoder})
    views = [through.view(pixels, str(n)) for n, pixels in enumerate(SHOTS)]
    method = ColourCsad(CsadConfig(**OPTIONS))
    whole = pipeline.fit(method, views, FitContext(encoder=encoder))
    return whole, encoder, lambda **change: through.view(product(50, **change)[0], "query")


CHANGES: list[tuple[dict[str, Any], str, str, str]] = [
    ({"label": "none"}, "missing", "part A", "part A missing, upper left: expected 1, found 0"),
    ({"pins": 1}, "missing", "part C", "part C missing, upper right: expected 2, found 1"),
    ({"pins": 3}, "extra", "part C", "part C too many, upper right: expected 2, found 3"),
    ({"also": True}, "extra", "part A", "part A too many, lower right: expected 1, found 2"),
    ({"cable": 90}, "resized", "part B", "times the usual area"),
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


def test_a_part_in_another_place_is_misplaced(detector: fmlad.Detector) -> None:
    pixels, labels = product(50)
    label = np.argwhere(labels == 1)
    top, left = label.min(0)
    moved = pixels.copy()
    moved[labels == 1] = pixels[90, 60]
    moved[64:88, 80:116] = pixels[top : top + 24, left : left + 36]
    verdict = detector.predict(moved)
    assert verdict.is_anomalous
    assert (verdict.findings[0].kind, verdict.findings[0].part) == ("misplaced", "part A")
    box = verdict.findings[0].box
    assert box is not None
    assert box[0] > 70
    assert box[1] > 55


@pytest.mark.parametrize("seed", range(50, 54))
def test_a_normal_image_has_no_findings(detector: fmlad.Detector, seed: int) -> None:
    verdict = detector.predict(product(seed)[0])
    assert not verdict.is_anomalous
    assert verdict.findings == []
    assert verdict.segmentation is not None
    assert verdict.segmentation.counts() == {"part A": 1, "part B": 1, "part C": 2}
    assert verdict.segmentation.labels.shape == (96, 128)


def test_a_fifth_of_the_shots_calibrates_and_is_not_trained_on() -> None:
    detector = fitted(branches=("histogram",))
    assert detector.calibration.source == "held-out"
    assert len(detector.calibration.scores) == 4
    call = ColourCsad.source.calls[-1]
    assert len(call["views"]) == 16
    given = fitted(branches=("histogram",), validation=[product(s)[0] for s in range(30, 36)])
    assert len(ColourCsad.source.calls[-1]["views"]) == 20
    assert given.calibration.source == "validation"
    assert len(given.calibration.scores) == 6


def test_scores_are_in_trimmed_deviations_of_those_images(both: Any) -> None:
    whole, encoder, _ = both
    fusion = whole.fusion
    assert isinstance(fusion, TrimmedZ)
    through = BackboneSet({"encoder": encoder})
    held_out = [i for i, score in enumerate(whole.shot_scores) if score is not None]
    evidence = [whole.method.evidence(through.view(SHOTS[i]), whole.state) for i in held_out]
    for branch in ("histogram", "students"):
        scores = [one.scores[branch] for one in evidence]
        assert fusion.moments[branch] == TrimmedMoments.fit(scores)


def test_a_query_costs_one_pass_of_the_one_encoder(both: Any) -> None:
    whole, encoder, query = both
    assert len(encoder.modules) == 1  # segmenter and teacher share it
    before = encoder.modules[0].images
    pipeline.judge(query(), whole)
    assert encoder.modules[0].images == before + 1


def test_maps_reach_their_scores_and_are_of_one_size(both: Any) -> None:
    whole, _, query = both
    found = whole.method.evidence(query(pins=1), whole.state)
    assert {one.shape for one in found.maps.values()} == {(128, 128)}
    for branch, score in found.scores.items():
        assert found.maps[branch].max() == pytest.approx(score, rel=1e-5)


@pytest.mark.parametrize("branch", ["histogram", "students"])
def test_a_branch_alone_scores_as_it_does_beside_the_other(both: Any, branch: str) -> None:
    whole, encoder, query = both
    through = BackboneSet({"encoder": encoder})
    views = [through.view(pixels, str(n)) for n, pixels in enumerate(SHOTS)]
    method = ColourCsad(CsadConfig(**OPTIONS, branches=(branch,)))  # type: ignore[arg-type]
    alone = pipeline.fit(method, views, FitContext(encoder=encoder))
    found = method.evidence(query(pins=3), alone.state)
    wanted = whole.method.evidence(query(pins=3), whole.state)
    assert found.scores == {branch: pytest.approx(wanted.scores[branch])}
    assert (found.segmentation is None) == (branch == "students")


def test_a_saved_detector_scores_the_same(tmp_path: Path) -> None:
    names = {"encoder": "builtin:squeezenet@1"}  # a saved detector names its backbones
    detector = fitted(backbones=names)
    loaded = fmlad.Detector.load(detector.save(tmp_path / "saved"))
    for change in ({}, {"pins": 3}):
        query = product(50, **change)[0]
        one, other = detector.predict(query), loaded.predict(query)
        assert other.score == one.score
        assert [f.text for f in other.findings] == [f.text for f in one.findings]
        assert np.array_equal(other.anomaly_map, one.anomaly_map)
    assert loaded.notes == detector.notes
    assert loaded.parts == detector.parts
    assert not list((tmp_path / "saved").rglob("*.pkl"))


BROKEN = [
    "segmenter.means",
    "maps",
    "shares",
    "1.mean",
    "2.precision",
    "students.local.heads.0.bias",
]


@pytest.mark.parametrize("name", BROKEN)
def test_a_missing_tensor_is_named(both: Any, name: str) -> None:
    whole, encoder, _ = both
    tensors = {key: one for key, one in whole.state.tensors().items() if key != name}
    meta = {**whole.state.meta(), "encoder": encoder}
    with pytest.raises(CorruptDetectorError, match=name.split(".", 1)[-1]):
        whole.method.restore(tensors, meta, "cpu")


@pytest.mark.parametrize(
    "change",
    [
        {"shots": 0}, {"shots": 99}, {"grids": []}, {"grids": [[1, 0.0]]}, {"grids": [[3, 1.0]]},
        {"segmenter": None}, {"students": None}, {"sizes": 3}, {"sizes": []},
    ],
)  # fmt: skip
def test_a_description_that_does_not_fit_is_refused(both: Any, change: dict[str, Any]) -> None:
    whole, encoder, _ = both
    meta = {**whole.state.meta(), "encoder": encoder, **change}
    with pytest.raises(CorruptDetectorError):
        whole.method.restore(whole.state.tensors(), meta, "cpu")


def test_tensors_that_do_not_fit_are_refused(both: Any) -> None:
    whole, encoder, _ = both
    tensors, meta = whole.state.tensors(), {**whole.state.meta(), "encoder": encoder}
    for change in (
        {"maps": tensors["maps"] + 9}, {"1.mean": torch.zeros(2)},
        {"shares": tensors["shares"] * torch.nan}, {"4.mean": torch.zeros(2)},
    ):  # fmt: skip
        with pytest.raises(CorruptDetectorError):
            whole.method.restore({**tensors, **change}, meta, "cpu")


def test_labels_are_handed_on_with_their_names() -> None:
    from fmlad.datasets import PartLabels

    maps = [product(seed)[1].astype(np.uint8) if seed < 15 else None for seed in range(20)]
    labels = PartLabels(("background", *NAMES), tuple(maps), "drawn")  # type: ignore[arg-type]
    detector = fitted(branches=("histogram",), labels=labels)
    call = ColourCsad.source.calls[-1]
    assert call["names"] == NAMES
    assert [one is None for one in call["labels"]] == [False] * 12 + [True] * 5
    text = detector.predict(product(50, label="none")[0]).findings[0].text
    assert text.startswith("label missing")


def test_the_training_knows_what_it_belongs_to(tmp_path: Path) -> None:
    fitted(checkpoint=tmp_path / "run", unlabeled=[product(40)[0]])
    call = ColourCsad.source.calls[-1]
    assert call["checkpoint"] == tmp_path / "run" / "segmenter"
    assert len(call["settings"]["unlabeled"]) == 1
    assert call["settings"]["method"] == "csad"
    assert (tmp_path / "run" / "students.safetensors").is_file()


def test_notes_say_what_was_learned_from(tmp_path: Path) -> None:
    from PIL import Image

    detector = fitted(grids="spread")
    assert "parts were told by their colours" in detector.notes
    assert any("cells, each part in those it keeps to" in one for one in detector.notes)
    assert any("penalty=FOLDER" in one for one in detector.notes)
    Image.fromarray(SHOTS[0]).save(tmp_path / "other.png")
    with_penalty = fitted(branches=("students",), penalty=str(tmp_path))
    assert not any("penalty" in one for one in with_penalty.notes)


def test_aims() -> None:
    assert fitted(looks_for="damage").predict(SHOTS[0]).branch_scores.keys() == {"students"}
    found = fitted(looks_for="composition").predict(SHOTS[0])
    assert found.branch_scores.keys() == {"histogram"}


def test_one_shot_is_enough() -> None:
    encoder = ShrunkEncoder()
    view = BackboneSet({"encoder": encoder}).view(SHOTS[0])
    method = ColourCsad(CsadConfig(**OPTIONS))
    whole = pipeline.fit(method, [view], FitContext(encoder=encoder))
    assert whole.calibration.source == "augmentations"
    found = pipeline.judge(view.again(product(50, label="none")[0], "query"), whole)
    assert found.score > pipeline.judge(view.again(product(51)[0], "normal"), whole).score


def test_wrong_options_are_told_of_before_anything_is_loaded() -> None:
    for wrong in ({"students": {"steps": 0}}, {"students": {"step": 1}}, {"side": 100},
                  {"grids": ()}, {"branches": ()}):  # fmt: skip
        with pytest.raises(fmlad.errors.FmladError):
            registry.create_method("csad", wrong)
    with pytest.raises(OptionError, match="encoder"):
        Csad().restore({}, {"encoder": None}, "cpu")
