"""Detectors from shots: fit, predict, add, remove, save and load, and their errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fmlad
from fmlad import Detector, Failure, Prediction
from fmlad.errors import (
    InvalidImageError,
    OptionError,
    PromptError,
    ShotsError,
    UnknownNameError,
    WeightsUnavailableError,
)
from tests.conftest import picture

# Where a test is about neither parts nor their findings, it does without a mask proposer.
PATCH = {"profile": "builtin", "banks": "patch"}
# Features that know nothing of a patch's surroundings, and distances as they are.
PLAIN = {
    **PATCH, "backbones": {"feature_extractor": "builtin:handmade@1"}, "variation": 0,
    "background": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def fitted() -> Detector:
    return Detector.from_shots([picture(i) for i in range(4)], profile="builtin")


def test_a_defect_scores_higher_than_normal_pictures_and_is_found_where_it_is(
    fitted: Detector,
) -> None:
    normal = [fitted.predict(picture(i)).score for i in range(20, 26)]
    bad = fitted.predict(picture(30, defect=True))
    assert bad.score > 1.5 * max(normal)
    assert bad.is_anomalous
    first = bad.findings[0]
    assert first.kind == "defect"
    x0, y0, x1, y1 = first.box
    # The scratch runs from (0.3, 0.38) to (0.7, 0.62) of a 160 x 120 picture.
    assert x0 < 80 < x1
    assert y0 < 60 < y1
    assert bad.anomaly_map[60, 80] > 3 * np.median(bad.anomaly_map)


def test_the_prediction_keeps_its_promises(fitted: Detector) -> None:
    prediction = fitted.predict(picture(30, defect=True))
    assert prediction.anomaly_map.shape == (120, 160)
    assert prediction.anomaly_map.dtype == np.float32
    assert prediction.score == pytest.approx(np.linalg.norm([*prediction.branch_scores.values()]))
    assert prediction.anomaly_map.max() <= prediction.score + 1e-6
    assert prediction.p_value == pytest.approx(1 / 5)
    assert json.loads(json.dumps(prediction.to_dict()))["score"] == prediction.score
    assert prediction.overlay().size == (160, 120)
    assert prediction.notes == []  # it registers, as the shots do


def test_the_scores_of_the_shots_are_what_the_threshold_is_read_off(fitted: Detector) -> None:
    scores = sorted(report.score for report in fitted.shots)
    assert list(fitted.calibration.scores) == scores
    assert fitted.calibration.modelled  # so few promise nothing
    assert min(scores) < fitted.threshold
    assert fitted.calibration.source == "leave-one-out"


def test_a_folder_paths_arrays_and_pil_images_give_the_same_detector(folder: Path) -> None:
    paths = sorted(folder.iterdir())
    query = picture(30, defect=True)
    scores = [
        Detector.from_shots(shots, **PATCH, registration=False).predict(query).score
        for shots in (
            folder,
            str(folder),
            paths,
            (p for p in paths),
            [Image.open(p) for p in paths],
            [np.asarray(Image.open(p)) for p in paths],
            np.stack([np.asarray(Image.open(p)) for p in paths]),
            [p.read_bytes() for p in paths],
        )
    ]
    assert len(set(scores)) == 1


def test_shots_of_mixed_sizes_and_shapes_are_normal_use() -> None:
    shots = [picture(0, size=(60, 80)), picture(1), picture(2, size=(48, 150))]
    fitted = Detector.from_shots(shots, profile="builtin")
    for size in ((60, 80), (8, 8), (30, 300)):
        prediction = fitted.predict(picture(5, size=size))
        assert prediction.anomaly_map.shape == size
        assert np.isfinite(prediction.anomaly_map).all()


def test_one_shot_is_enough_and_noted() -> None:
    fitted = Detector.from_shots(picture(0), **PATCH)
    assert fitted.calibration.source == "augmentations"
    assert fitted.shots[0].score is None
    prediction = fitted.predict(picture(30, defect=True))
    assert prediction.is_anomalous
    assert prediction.notes == []
    assert any("one normal image only" in note for note in fitted.notes)


def test_blank_pictures_do_not_divide_by_zero() -> None:
    black = np.zeros((32, 32, 3), np.uint8)
    for shots in ([black], [black, black], [black] * 4):
        fitted = Detector.from_shots(shots, profile="builtin")
        assert fitted.predict(black).score <= (fitted.threshold or 0) + 1e-6
        assert np.isfinite(fitted.predict(picture(0, size=(32, 48))).score)


def test_predict_many_reports_a_bad_file_by_name_and_goes_on(
    fitted: Detector, folder: Path
) -> None:
    (folder / "1b.png").write_bytes(b"not a picture")
    outcomes = list(fitted.predict_many(folder, batch_size=2))
    assert [type(o) for o in outcomes] == [Prediction, Prediction, Failure, Prediction, Prediction]
    assert "1b.png" in outcomes[2].source
    assert "1b.png" in str(outcomes[2].error)


def test_predict_many_and_predict_agree_to_the_last_bit(fitted: Detector, folder: Path) -> None:
    many = [p.score for p in fitted.predict_many(folder, batch_size=3)]
    assert many == [fitted.predict(path).score for path in sorted(folder.iterdir())]


def test_predict_many_is_lazy(fitted: Detector) -> None:
    taken = []

    def endless():
        seed = 0
        while True:
            taken.append(seed)
            yield picture(seed)
            seed += 1

    outcomes = fitted.predict_many(endless(), batch_size=2)
    next(outcomes)
    assert len(taken) == 2


def test_adding_and_removing_shots_equals_giving_them_at_first() -> None:
    size = (60, 80)
    query, shots = picture(30, size, defect=True), [picture(i, size) for i in range(4)]
    grown = Detector.from_shots(shots[:3], profile="builtin")
    first = grown.predict(query).score
    grown.add_shots(shots[3])
    both = Detector.from_shots(shots, profile="builtin")
    assert grown.predict(query).score == pytest.approx(both.predict(query).score, rel=1e-6)
    grown.remove_shot(3)
    assert grown.predict(query).score == pytest.approx(first, rel=1e-6)


def test_an_anomalous_or_duplicate_shot_is_reported() -> None:
    shots = [*(picture(i) for i in range(4)), picture(9, defect=True), picture(2)]
    reports = Detector.from_shots(shots, **PATCH).shots
    assert [r.suspicious for r in reports] == [False, False, False, False, True, False]
    assert [r.duplicate_of for r in reports] == [None, None, None, None, None, 2]


def test_a_threshold_by_hand_is_recorded_and_survives_refitting() -> None:
    fitted = Detector.from_shots([picture(i) for i in range(3)], **PATCH)
    fitted.threshold = 50
    assert fitted.calibration.source == "user"
    assert fitted.predict(picture(30, defect=True)).is_anomalous is False
    fitted.add_shots(picture(7))
    assert fitted.threshold == 50
    fitted.threshold = None
    prediction = fitted.predict(picture(30, defect=True))
    assert prediction.is_anomalous is None
    assert "not decided" in prediction.explain()


def test_validation_images_set_the_threshold_and_nothing_else() -> None:
    shots, held_out = [picture(i) for i in range(3)], [picture(i) for i in range(40, 43)]
    plain = Detector.from_shots(shots, **PATCH)
    fitted = Detector.from_shots(shots, **PATCH, validation=held_out)
    query = picture(30, defect=True)
    assert fitted.predict(query).score == plain.predict(query).score
    assert fitted.calibration.source == "validation"
    assert list(fitted.calibration.scores) == sorted(plain.predict(i).score for i in held_out)


def test_a_rate_of_false_alarms_can_be_asked_for_and_tells_what_it_takes() -> None:
    shots = [picture(i) for i in range(3)]
    usual = Detector.from_shots(shots, **PATCH)
    strict = Detector.from_shots(shots, **PATCH, target_false_alarms=0.02)
    assert strict.threshold > usual.threshold
    assert strict.calibration.missing == 46
    with pytest.raises(OptionError, match="target_false_alarms"):
        Detector.from_shots(shots, **PATCH, target_false_alarms=5)
    with pytest.raises(OptionError, match="odd_shots"):
        Detector.from_shots(shots, **PATCH, odd_shots="hide")


def test_registration_and_its_absence_are_noted() -> None:
    rng = np.random.default_rng(0)
    unlike = [rng.integers(0, 255, (100, 100, 3), dtype=np.uint8) for _ in range(3)]
    free = Detector.from_shots(unlike, **PATCH)
    assert any("compared anywhere" in note for note in free.notes)
    assert free.predict(unlike[0]).notes == []  # as every image of this detector
    placed = Detector.from_shots([picture(i) for i in range(3)], **PATCH)
    assert any("at the same place" in note for note in placed.notes)
    assert placed.predict(picture(5)).notes == []
    assert any("did not register" in note for note in placed.predict(unlike[0]).notes)
    off = Detector.from_shots([picture(0), picture(1)], **PATCH, registration=False)
    assert any("compared anywhere" in note for note in off.notes)


def test_a_right_patch_in_a_wrong_place_is_seen_only_where_place_counts() -> None:
    def board(seed: int, where: int) -> np.ndarray:
        image = picture(seed)
        image[90:110, where : where + 20] = (0, 0, 255)
        return image

    shots = [board(i, 20) for i in range(4)]
    ratio = {}
    for registration in (True, False):
        fitted = Detector.from_shots(shots, **PLAIN, registration=registration)
        right, wrong = fitted.predict(board(9, 20)), fitted.predict(board(9, 120))
        ratio[registration] = wrong.score / right.score
    assert ratio[True] > 2 * ratio[False]


@pytest.mark.parametrize("registration", [True, False])
@pytest.mark.parametrize("more", [[0, 1, 2], [0, 1], [0, 1, 1, 2]])
def test_the_same_shot_twice_is_no_stranger_to_itself(registration: bool, more: list[int]) -> None:
    shots = [picture(seed) for seed in [0, *more]]
    fitted = Detector.from_shots(shots, **PATCH, registration=registration)
    scores = [shot.score for shot in fitted.shots]
    assert scores[0] == scores[1]  # left out together
    assert np.isfinite(scores).all()
    assert fitted.predict(picture(30, defect=True)).score > fitted.predict(picture(9)).score


def test_flipped_queries_are_normal_when_symmetry_says_so() -> None:
    shots = [picture(i) for i in range(3)]
    mirrored = picture(9)[:, ::-1]
    strict = Detector.from_shots(shots, **PATCH, registration=False)
    tolerant = Detector.from_shots(shots, **PATCH, registration=False, symmetry="flips")
    assert tolerant.predict(mirrored).score < strict.predict(mirrored).score


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"method": "bnaks"}, UnknownNameError, "Did you mean 'banks'"),
        ({"profile": "bultin"}, UnknownNameError, "Did you mean 'builtin'"),
        ({"smothing": 1}, OptionError, "Did you mean 'smoothing'"),
        ({"window": -1}, OptionError, "window="),
        ({"window": True}, OptionError, "window="),
        ({"banks": ("patch", "histo")}, OptionError, "should be 'patch'"),
        ({"symmetry": "some"}, OptionError, "symmetry"),
        ({"method": "banks", "prompts": "dice"}, OptionError, "makes no use of prompts"),
        ({"prompts": "pushpins"}, PromptError, "Did you mean 'scenes/pushpins'"),
        ({"labels": []}, OptionError, "makes no use of labels"),
        ({"unlabeled": "folder"}, OptionError, "makes no use of unlabeled"),
        ({"device": "cuda:99"}, OptionError, "not usable here"),
        ({"backbones": {"eyes": "x"}}, UnknownNameError, "role"),
        ({"backbones": {"feature_extractor": "builtin:hand"}}, UnknownNameError, "handmade"),
        ({"backbones": {"feature_extractor": "builtin:regions@2"}}, OptionError, "does not fill"),
        ({"backbones": {"feature_extractor": object()}}, OptionError, "does not fill"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Detector.from_shots([picture(0)], **{"profile": "builtin", **arguments})


@pytest.mark.parametrize(
    ("shots", "error"),
    [([], ShotsError), ("nowhere/at/all", InvalidImageError), (None, ShotsError), (3, ShotsError)],
)
def test_no_shots_is_an_error(shots: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        Detector.from_shots(shots, profile="builtin")


def test_shots_are_called_by_their_path_if_they_have_one(folder: Path) -> None:
    paths = sorted(folder.iterdir())
    shots = [paths[0], picture(1), str(paths[2])]
    names = [report.name for report in Detector.from_shots(shots, **PATCH).shots]
    assert names == [str(paths[0]), "image 1: array (120, 160, 3) uint8", str(paths[2])]


def test_a_bad_shot_is_named(folder: Path) -> None:
    (folder / "2.png").write_text("hello")
    with pytest.raises(InvalidImageError, match=r"2\.png"):
        Detector.from_shots(folder, profile="builtin")


def test_the_plain_call_works_offline() -> None:
    assert Detector.from_shots([picture(0)]).profile == "builtin"


def test_a_profile_without_its_weights_says_what_to_do() -> None:
    with pytest.raises(WeightsUnavailableError, match="profile='builtin'"):
        Detector.from_shots([picture(0)], profile="foundation")


def test_the_profile_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMLAD_PROFILE", "light")
    with pytest.raises(WeightsUnavailableError):
        Detector.from_shots([picture(0)])


def test_batch_sizes_are_checked_at_once(fitted: Detector) -> None:
    for wrong in (0, -1, 1.5, True, "8"):
        with pytest.raises(OptionError, match="batch_size"):
            fitted.predict_many([], batch_size=wrong)


def test_a_shot_that_is_not_there_cannot_be_removed(fitted: Detector) -> None:
    for wrong in (4, -1, 1.0, True):
        with pytest.raises(ShotsError):
            fitted.remove_shot(wrong)
    single = Detector.from_shots(picture(0), **PATCH)
    with pytest.raises(ShotsError, match="last shot"):
        single.remove_shot(0)


def test_a_loaded_detector_scores_alike_and_refuses_new_shots(
    fitted: Detector, tmp_path: Path
) -> None:
    query = picture(30, defect=True)
    loaded = Detector.load(fitted.save(tmp_path / "saved"))
    assert loaded.predict(query).score == pytest.approx(fitted.predict(query).score, abs=1e-6)
    assert loaded.shots == fitted.shots
    assert loaded.calibration == fitted.calibration
    with pytest.raises(OptionError, match="loaded from disk"):
        loaded.add_shots(picture(8))
    again = Detector.load(loaded.save(tmp_path / "again"))
    assert again.predict(query).score == loaded.predict(query).score


def test_progress_is_called_in_every_stage() -> None:
    calls: list[tuple[int, int, str]] = []
    shots = [picture(i) for i in range(3)]
    Detector.from_shots(shots, **PATCH, progress=lambda *a: calls.append(a))
    stages = {what for _, _, what in calls}
    assert "looking at shots" in stages
    assert "judging each shot by the others" in stages
    for stage in stages:
        steps = [(done, total) for done, total, what in calls if what == stage]
        assert [done for done, _ in steps] == list(range(1, len(steps) + 1))
        assert steps[-1][0] == steps[-1][1]


def test_the_top_level_is_lazy_and_complete() -> None:
    for name in fmlad.__all__:
        assert getattr(fmlad, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fmlad.nothing  # noqa: B018


def test_copies_of_one_picture_count_as_one(caplog: pytest.LogCaptureFixture) -> None:
    alone = Detector.from_shots(picture(0), **PATCH)
    copies = Detector.from_shots([picture(0)] * 4, **PATCH)
    assert "all 4 shots are the same picture" in caplog.text
    query = picture(5)
    assert copies.threshold == pytest.approx(alone.threshold, rel=1e-5)
    assert copies.predict(query).score == pytest.approx(alone.predict(query).score, rel=1e-5)
    assert len(copies.shots) == 1
