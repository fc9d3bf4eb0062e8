"""Detectors that keep originals: after loading they can be fitted again, as if never saved."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fmlad import Detector, PromptSet, storage
from fmlad.errors import CorruptDetectorError, OptionError, ShotsError
from fmlad.methods.protocol import FitContext
from fmlad.originals import LABELS, Originals, encode
from fmlad.views import BackboneSet
from tests.conftest import picture
from tests.test_storage import change_manifest, files_of, manifest_of, tree_of

SIZE = (60, 80)
PATCH: dict[str, Any] = {"profile": "builtin", "banks": "patch", "registration": False}
PROMPTS: dict[str, Any] = {
    "name": "board", "coarse": {"background": ["grey board"]},
    "fine": {"red": {"words": ["red disc"]}, "blue": {"words": ["blue disc"]}},
}  # fmt: skip


def pictures(*seeds: int, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    return [picture(seed, size) for seed in seeds]


def assert_equal(one: Detector, two: Detector) -> None:
    """The same scores, maps, threshold and reports, to 1e-5."""
    assert one.threshold == pytest.approx(two.threshold, rel=1e-5)
    assert one.calibration.scores == pytest.approx(two.calibration.scores, rel=1e-5)
    for query in (picture(30, SIZE, defect=True), picture(31, (48, 96))):
        a, b = one.predict(query), two.predict(query)
        assert a.score == pytest.approx(b.score, rel=1e-5)
        assert a.branch_scores == pytest.approx(dict(b.branch_scores), rel=1e-5)
        np.testing.assert_allclose(a.anomaly_map, b.anomaly_map, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(one.shots, two.shots, strict=True):
        assert ours.score == (theirs.score and pytest.approx(theirs.score, rel=1e-5))
        # Not the names: an array is called by its place in the argument.
        assert replace(ours, name="", score=None) == replace(theirs, name="", score=None)


def reload(detector: Detector, folder: Path, **kwargs: Any) -> Detector:
    return Detector.load(detector.save(folder, **kwargs), device="cpu")


@pytest.mark.parametrize(
    "options",
    [
        {"profile": "builtin", "banks": ("patch", "histogram")},
        {"method": "clip-lad", "prompts": PromptSet.from_dict(PROMPTS), "profile": "builtin"},
        {**PATCH, "validation": pictures(40, 41, 42), "target_false_alarms": 0.2, "seed": 5},
        {"profile": "builtin", "banks": "patch", "odd_shots": "drop"},
    ],
    ids=["banks", "clip-lad", "validation", "odd shots"],
)
def test_adding_and_removing_after_loading_equals_a_fresh_fit(
    options: dict[str, Any], tmp_path: Path
) -> None:
    first = Detector.from_shots(pictures(0, 1, 2), **options)
    loaded = reload(first, tmp_path / "d", originals=True)
    loaded.add_shots(pictures(3))
    both = Detector.from_shots(pictures(0, 1, 2, 3), **options)
    assert_equal(loaded, both)
    assert_equal(reload(loaded, tmp_path / "d"), both)
    loaded = reload(loaded, tmp_path / "again")
    loaded.remove_shot(1)
    assert_equal(loaded, Detector.from_shots(pictures(0, 2, 3), **options))
    loaded.add_shots(pictures(1))
    loaded.undo()
    assert_equal(loaded, Detector.from_shots(pictures(0, 2, 3), **options))


def test_exemplars_are_kept_with_their_pictures(tmp_path: Path) -> None:
    home = tmp_path / "prompts"
    home.mkdir()
    Image.fromarray(picture(50, SIZE)).save(home / "board.png")
    shown = {"exemplars": [{"image": "board.png", "box": [10, 10, 30, 30]}]}
    fine = {"corner": shown, "other": {"exemplars": [{"crop": "board.png"}]}}
    prompts = PromptSet.from_dict({**PROMPTS, "fine": fine}, home)
    options: dict[str, Any] = {"prompts": prompts, "profile": "builtin", "branches": ("histogram",)}
    both = Detector.from_shots(pictures(0, 1, 2), **options)
    first = Detector.from_shots(pictures(0, 1), **options)
    loaded = reload(first, tmp_path / "d", originals=True)
    shutil.rmtree(home)
    loaded.add_shots(pictures(2))
    assert_equal(loaded, both)
    loaded = reload(loaded, tmp_path / "d")
    loaded.remove_shot(2)
    assert_equal(loaded, first)


def test_the_power_check_of_a_loaded_detector_is_that_of_the_first(tmp_path: Path) -> None:
    first = Detector.from_shots(pictures(0, 1, size=(96, 128)), **PATCH)
    loaded = reload(first, tmp_path / "d", originals=True)
    assert loaded.power_check(copies=1) == first.power_check(copies=1)
    assert files_of(loaded.save(tmp_path / "again")) == files_of(tmp_path / "d")


def test_without_originals_the_error_says_how_to_get_them(tmp_path: Path) -> None:
    loaded = reload(Detector.from_shots(pictures(0, 1), **PATCH), tmp_path / "d")
    for change in (
        lambda: loaded.add_shots(pictures(2)),
        lambda: loaded.remove_shot(0),
        loaded.power_check,
        lambda: loaded.save(tmp_path / "again", originals=True),
    ):
        with pytest.raises(OptionError, match="originals=True"):
            change()
    assert not (tmp_path / "again").exists()
    rules = PromptSet.from_dict({**PROMPTS, "fine": {"red": {"words": ["red disc"], "expect": 2}}})
    with pytest.raises(OptionError, match="from prompts alone"):
        Detector.from_prompts(rules, profile="builtin").save(tmp_path / "r", originals=True)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fitted = Detector.from_shots(pictures(0, 1), **PATCH, validation=pictures(40, 41))
    return fitted.save(tmp_path_factory.mktemp("originals") / "d", originals=True)


@pytest.fixture
def saved(original: Path, tmp_path: Path) -> Path:
    """A copy to do harm to."""
    return Path(shutil.copytree(original, tmp_path / "saved"))


def test_what_is_kept_is_lossless(saved: Path) -> None:
    kept = [name for name in files_of(saved) if name.startswith("originals/")]
    assert kept == [
        "originals/shot-000.png", "originals/shot-001.png",
        "originals/validation-000.png", "originals/validation-001.png",
    ]  # fmt: skip
    for name, pixels in zip(kept, pictures(0, 1, 40, 41), strict=True):
        assert np.array_equal(np.asarray(Image.open(saved / name)), pixels)


def test_loading_and_saving_keeps_them_unless_told_otherwise(saved: Path, tmp_path: Path) -> None:
    loaded = Detector.load(saved)
    again = loaded.save(tmp_path / "again")
    before, after = tree_of(saved), tree_of(again)
    assert {k: v for k, v in before.items() if k != storage.MANIFEST} == {
        k: v for k, v in after.items() if k != storage.MANIFEST
    }
    assert not (loaded.save(tmp_path / "less", originals=False) / "originals").exists()
    loaded.save(saved)  # in its own place
    loaded.add_shots(pictures(2))
    assert len(Detector.load(loaded.save(saved)).shots) == 3
    assert (saved / "originals" / "shot-002.png").exists()
    given_up = Detector.load(saved)
    given_up.save(saved, originals=False)
    with pytest.raises(OptionError, match="no original shots"):
        given_up.add_shots(pictures(3))


def test_loading_does_not_read_them_and_refitting_refuses_what_was_changed(saved: Path) -> None:
    changed = saved / "originals" / "shot-001.png"
    Image.fromarray(picture(9, SIZE)).save(changed)
    loaded = Detector.load(saved)
    query = picture(30, SIZE, defect=True)
    assert loaded.predict(query).score > 0
    for change in (
        lambda: loaded.add_shots(pictures(2)),
        lambda: loaded.remove_shot(0),
        loaded.power_check,
        lambda: loaded.save(saved.parent / "again"),
    ):
        with pytest.raises(CorruptDetectorError, match=r"shot-001\.png is not what was saved"):
            change()
    # Behind its hash as well: the picture is not the shot that the detector remembers.
    data = changed.read_bytes()
    place = ("originals", "files", "originals/shot-001.png")
    change_manifest(saved, place, hashlib.sha256(data).hexdigest())
    with pytest.raises(CorruptDetectorError, match="not the shot it was fitted to"):
        Detector.load(saved).remove_shot(0)
    changed.write_bytes(b"rubbish")
    change_manifest(saved, place, hashlib.sha256(b"rubbish").hexdigest())
    with pytest.raises(CorruptDetectorError, match=r"shot-001\.png is no picture"):
        Detector.load(saved).remove_shot(0)
    changed.unlink()
    with pytest.raises(CorruptDetectorError, match=r"shot-001\.png cannot be read"):
        Detector.load(saved).remove_shot(0)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("originals", "files"), {}),
        (("originals", "files", "../secret.png"), "0" * 64),
        (("originals", "files", "originals/shot-002.png"), "0" * 64),
        (("originals", "validation"), []),
        (("originals", "validation"), ["a", "b", "c"]),
        (("originals", "exemplars"), ["a"]),
        (("originals", "rate"), 2.0),
        (("originals", "rate"), "0.1"),
        (("originals", "odd_shots"), "hide"),
        (("originals", "surprise"), 1),
        (("journal",), None),
        (("journal",), [{"time": "now"}]),
    ],
)
def test_a_manifest_that_cannot_be_is_damage(saved: Path, place: Any, value: Any) -> None:
    change_manifest(saved, place, value)
    with pytest.raises(CorruptDetectorError, match="damaged"):
        Detector.load(saved)


def test_files_of_the_users_own_among_them_are_not_lost(saved: Path) -> None:
    mine = saved / "originals" / "mine.png"
    mine.write_bytes(b"mine")
    with pytest.raises(OptionError, match=r"originals/mine\.png"):
        Detector.load(saved).save(saved)
    assert mine.read_bytes() == b"mine"


def test_labels_come_back_with_their_shots(tmp_path: Path) -> None:
    backbones = BackboneSet({})
    shots = [backbones.view(pixels, f"{i}") for i, pixels in enumerate(pictures(0, 1))]
    labels = [np.full(SIZE, i, kind) for i, kind in enumerate((np.uint8, np.int64))]
    more = [backbones.view(pixels, f"more {i}") for i, pixels in enumerate(pictures(7, 8))]
    context = FitContext(labels=labels, unlabeled=more, rate=0.1, odd_shots="drop", seed=3)
    kept, contents = encode(shots, context, None)
    for name, data in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    stored = Originals(tmp_path, kept, tuple((view.name, view.key) for view in shots))
    views, again = stored.restore(backbones, None, 3)
    assert [view.key for view in views] == [view.key for view in shots]
    assert [(v.name, v.key) for v in again.unlabeled] == [(v.name, v.key) for v in more]
    assert (again.rate, again.odd_shots, again.seed) == (0.1, "drop", 3)
    for one, two in zip(again.labels, labels, strict=True):
        assert one.dtype == two.dtype
        assert np.array_equal(one, two)
    smaller = [backbones.view(pixels, "x") for pixels in pictures(0, 1, size=(40, 40))]
    wrong, _ = encode(smaller, FitContext(), None)
    kept = kept.model_copy(update={"files": {**wrong.files, LABELS: kept.files[LABELS]}})
    with pytest.raises(CorruptDetectorError):
        Originals(tmp_path, kept, tuple((view.name, view.key) for view in smaller)).restore(
            backbones, None, 3
        )


def test_whatever_a_fit_takes_is_kept_or_known_not_to_matter() -> None:
    """A new argument must be saved as well, or a detector fitted again would differ: say which."""
    saved_with_it = {"labels", "label_names", "unlabeled", "rate", "odd_shots", "validation"}
    recorded_elsewhere = {"prompts", "seed"}
    of_the_moment = {"device", "progress", "encoder", "checkpoint", "resume", "settings"}
    fields = set(FitContext.__dataclass_fields__)
    assert fields == saved_with_it | recorded_elsewhere | of_the_moment
    arguments = set(inspect.signature(Detector.from_shots).parameters)
    assert arguments == {
        "shots", "method", "prompts", "labels", "unlabeled", "profile", "backbones", "validation",
        "device", "seed", "looks_for", "target_false_alarms", "odd_shots", "progress", "checkpoint",
        "resume", "roi", "ignore", "options",
    }  # fmt: skip  # regions are in the manifest


def test_regions_are_used_again(tmp_path: Path) -> None:
    shots, more = pictures(0, 1, 2), pictures(7)
    roi = [(10, 8, 70, 52)]
    fresh = Detector.from_shots([*shots, *more], **PATCH, roi=roi)
    loaded = Detector.load(
        Detector.from_shots(shots, **PATCH, roi=roi).save(tmp_path / "saved", originals=True)
    )
    loaded.add_shots(more)
    assert loaded.threshold == pytest.approx(fresh.threshold, rel=1e-5)
    query = pictures(9)[0]
    assert loaded.predict(query).score == pytest.approx(fresh.predict(query).score, rel=1e-5)
    assert np.array_equal(loaded.predict(query).region, fresh.predict(query).region)


# --- journal -------------------------------------------------------------------------------------


def test_every_change_is_in_the_journal_and_saved_with_it(saved: Path) -> None:
    loaded = Detector.load(saved)
    assert loaded.journal == ()
    start = datetime.now(UTC).replace(microsecond=0)
    before = loaded.threshold
    loaded.add_shots(pictures(2, 3))
    between = loaded.threshold
    loaded.remove_shot(0)
    undone = loaded.undo()
    assert undone == loaded.journal[-1]
    again = Detector.load(loaded.save(saved))
    assert again.journal == loaded.journal
    assert json.loads(json.dumps([one.to_dict() for one in again.journal]))
    accepted, removed, undone = again.journal
    assert [one.what for one in again.journal] == ["accept", "remove", "undo"]
    assert len(accepted.keys) == len(accepted.names) == 2
    assert undone.keys == accepted.keys
    assert removed.keys == (manifest_of_keys(saved, 0),)
    assert (accepted.threshold_before, accepted.threshold_after) == (before, between)
    assert undone.threshold_after == again.threshold
    for one in again.journal:
        assert start <= datetime.fromisoformat(one.time) <= datetime.now(UTC)


def manifest_of_keys(folder: Path, seed: int) -> str:
    """The hash of a picture, as manifests have it."""
    view = BackboneSet({}).view(picture(seed, SIZE))
    assert view.key not in [shot["key"] for shot in manifest_of(folder)["shots"]]
    return view.key


def test_undo_goes_back_one_accept_at_a_time_until_nothing_is_left(tmp_path: Path) -> None:
    first = Detector.from_shots(pictures(0, 1), **PATCH)
    detector = reload(first, tmp_path / "d", originals=True)
    detector.add_shots(pictures(2))
    one_more = Detector.from_shots(pictures(0, 1, 2), **PATCH)
    detector = reload(detector, tmp_path / "d")
    detector.add_shots(pictures(3, 4))
    detector.undo()
    assert_equal(detector, one_more)
    detector = reload(detector, tmp_path / "d")
    detector.undo()
    assert_equal(detector, first)
    with pytest.raises(ShotsError, match="nothing to take back"):
        detector.undo()
    assert len(detector.journal) == 4


def test_a_change_that_fails_changes_nothing(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = Detector.load(saved)
    score, shots = loaded.predict(picture(30, SIZE, defect=True)).score, loaded.shots

    def broken(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("fmlad.pipeline.fit", broken)
        with pytest.raises(RuntimeError):
            loaded.add_shots(pictures(2))
    assert loaded.predict(picture(30, SIZE, defect=True)).score == score
    assert (loaded.shots, loaded.journal) == (shots, ())
    loaded.add_shots(pictures(2))
    assert len(loaded.shots) == 3


def test_a_refit_starts_from_the_seed_again(tmp_path: Path) -> None:
    """Random choices made since must not reach it."""
    loaded = reload(Detector.from_shots(pictures(0, 1), **PATCH, seed=9), tmp_path / "d",
                    originals=True)  # fmt: skip
    torch.rand(7)
    np.random.default_rng(9).random(5)
    loaded.add_shots(pictures(2))
    loaded.remove_shot(2)
    loaded.add_shots(pictures(2))
    assert_equal(loaded, Detector.from_shots(pictures(0, 1, 2), **PATCH, seed=9))
