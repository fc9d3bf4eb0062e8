"""Training of the segmenter, on pseudo-labels and on given ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fmlad.errors import (
    BackboneMismatchError,
    CorruptDetectorError,
    OptionError,
    ShotsError,
    UnknownNameError,
)
from fmlad.methods.csad.segmenter import FittedSegmenter, fit_segmenter
from fmlad.methods.csad.segmenter_config import segmenter_config
from fmlad.methods.csad.segmenter_data import labelled_square, squashed
from fmlad.methods.csad.segmenter_source import TrainedSegmenters
from fmlad.methods.shared_encoder import SharedEncoder
from fmlad.prompts import PromptSet
from fmlad.views import ImageView
from tests.methods.csad.drawn import QUICK, Options, product, views_of
from tests.methods.psad.blobs import TinyEncoder

SIDE = 64


def encoder(seed: int = 0) -> SharedEncoder:
    return SharedEncoder(TinyEncoder(seed), SIDE)  # type: ignore[arg-type]


def fitted(
    views: list[ImageView],
    labels: list[Any] | None = None,
    options: Options | None = None,
    **changes: Any,
) -> FittedSegmenter:
    given: dict[str, Any] = {
        "seed": 0, "device": "cpu", "progress": lambda *_: None, "checkpoint": None,
        "resume": False, "settings": {},
    }  # fmt: skip
    return TrainedSegmenters().fit(
        views, labels, encoder(), options or Options(segmenter=QUICK), **{**given, **changes}
    )


def right(segmenter: FittedSegmenter, seeds: range) -> float:
    """Share of pixels that have their class."""
    found = []
    for seed in seeds:
        pixels, labels = product(seed)
        found.append((segmenter.predict(pixels) == squashed(labels, SIDE)).mean())
    return float(np.mean(found))


@pytest.fixture(scope="module")
def learned() -> FittedSegmenter:
    """From pseudo-labels, by the preset for CPUs."""
    return fitted(views_of(10))


def test_parts_are_learned_without_labels(learned: FittedSegmenter) -> None:
    assert learned.names == ("part A", "part B")
    assert learned.classes == 3
    assert right(learned, range(100, 105)) > 0.93  # 0.82 is background
    assert "2 classes of components" in learned.notes[-1]


def test_a_displaced_part_has_its_class_still(learned: FittedSegmenter) -> None:
    """What the logical anomalies are pasted for: classes by looks, not by place."""
    pixels, labels = product(100)
    turned = learned.predict(np.ascontiguousarray(pixels[::-1]))
    assert (turned == squashed(labels[::-1], SIDE)).mean() > 0.9


def test_maps_that_were_computed_give_the_same(learned: FittedSegmenter) -> None:
    shared = encoder()
    view = views_of(1, first=50)[0]
    np.testing.assert_array_equal(
        learned.predict_maps(shared.levels(view)), learned.predict(view.pixels)
    )
    assert learned.predict(view.pixels).shape == (SIDE, SIDE)
    assert learned.predict(view.pixels).dtype == np.int32


def test_it_comes_back_from_tensors_and_json(learned: FittedSegmenter) -> None:
    meta = json.loads(json.dumps(learned.meta()))
    again = TrainedSegmenters().restore(learned.tensors(), meta, "cpu", encoder())
    pixels = product(7)[0]
    np.testing.assert_array_equal(again.predict(pixels), learned.predict(pixels))
    assert again.names == learned.names
    assert again.notes == learned.notes
    assert again.config == learned.config


@pytest.mark.parametrize(
    "damage",
    [
        lambda tensors, meta: tensors.popitem(),
        lambda tensors, meta: tensors.update(more=torch.zeros(1)),
        lambda tensors, meta: meta.pop("names"),
        lambda tensors, meta: meta["config"].pop("rates"),
        lambda tensors, meta: meta.update(names=["one"]),
    ],
)
def test_what_was_damaged_is_told(learned: FittedSegmenter, damage: Callable[..., Any]) -> None:
    tensors, meta = learned.tensors(), json.loads(json.dumps(learned.meta()))
    damage(tensors, meta)
    with pytest.raises(CorruptDetectorError):
        FittedSegmenter.restore(tensors, meta, "cpu", encoder())


def test_another_encoder_is_refused(learned: FittedSegmenter) -> None:
    other = encoder()
    other.channels = (6, 5, 9)
    with pytest.raises(BackboneMismatchError, match=r"\(6, 5, 4\)"):
        FittedSegmenter.restore(learned.tensors(), learned.meta(), "cpu", other)


def test_given_labels_take_the_place_of_pseudo_labels() -> None:
    views = views_of(6)
    labels = [product(seed)[1] if seed < 3 else None for seed in range(6)]
    found = fitted(views, labels, names=("disc", "bar"))
    assert found.names == ("disc", "bar")
    assert found.notes == (
        "parts were learned from labels of 3 of 6 normal images; no pseudo-labels were made",
    )
    assert right(found, range(100, 103)) > 0.9
    assert not any("mask" in key for view in views for key in view.memo)


def test_bad_labels_are_told() -> None:
    views = views_of(2)
    with pytest.raises(OptionError, match="none for any image"):
        fitted(views, [None, None])
    with pytest.raises(OptionError, match="these are -1 to 2"):
        fitted(views, [product(0)[1] - (product(0)[1] == 0), None])
    with pytest.raises(OptionError, match="1 names for labels up to 2"):
        fitted(views, [product(0)[1], None], names=("disc",))
    with pytest.raises(ShotsError):
        fit_segmenter([], views, ("disc",), encoder(), segmenter_config("cpu"))
    one = labelled_square(views[0], product(0)[1], encoder())
    with pytest.raises(OptionError, match="Labels are 0 to 2"):
        fit_segmenter([one], views, ("disc",), encoder(), segmenter_config("cpu", **QUICK))


class Killed(Exception):
    """Somebody pulled the plug."""


@pytest.mark.parametrize("stage", ["components", "training"])
def test_a_killed_training_ends_with_the_very_weights(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(segmenter={**QUICK, "supervised": 6, "joint": 6, "copies": 4})
    whole = fitted(views_of(6), options=options).tensors()

    def progress(done: int, total: int, what: str) -> None:
        if stage == "components" and "components" in what and done == 3:
            raise Killed

    monkeypatch.setattr("fmlad.methods.csad.segmenter.SAVE_SECONDS", 0.0)
    forward = torch.nn.functional.cross_entropy
    steps = 0

    def dies(*args: Any, **options: Any) -> Any:
        nonlocal steps
        steps += 1
        if stage == "training" and steps == 9:
            raise Killed
        return forward(*args, **options)

    with monkeypatch.context() as now:
        now.setattr("torch.nn.functional.cross_entropy", dies)
        with pytest.raises(Killed):
            fitted(views_of(6), options=options, checkpoint=tmp_path, progress=progress)
    again = fitted(views_of(6), options=options, checkpoint=tmp_path, resume=True).tensors()
    assert again.keys() == whole.keys()
    for name, tensor in whole.items():
        assert torch.equal(again[name], tensor), name
    assert (tmp_path / "pseudo-labels" / "stages.html").is_file()


@pytest.mark.parametrize("preset", ["paper", "code"])
def test_the_published_presets_train(preset: Any) -> None:
    small = {"supervised": 2, "joint": 2, "width": 8, "shallow": 4}
    pseudo = {"rotations": 1, "size": 1.5}
    found = fitted(views_of(6), options=Options(preset, SIDE, small, pseudo))
    assert found.predict(product(0)[0]).shape == (SIDE, SIDE)
    changed = segmenter_config(preset)
    assert (changed.cross_entropy, changed.histogram, changed.entropy) == (0.5, 10, 1)
    assert (changed.dice, changed.focal) == ((10, 1) if preset == "paper" else (1, 10))


@pytest.mark.parametrize("paste", ["lsa", "cutpaste", "none"])
def test_each_augmentation_of_table_3_trains(paste: str) -> None:
    options = Options(segmenter={**QUICK, "supervised": 2, "joint": 1, "paste": paste})
    labels = [product(seed)[1] for seed in range(3)]
    assert fitted(views_of(3), labels, options).classes == 3


def test_settings_of_a_prompt_set_are_taken_and_the_users_come_first() -> None:
    prompts = PromptSet.from_text(
        "coarse: {background: [table]}\nfine: {disc: [disc]}\n"
        "pseudo_labels: {tags: [disc], distance: 0.3, bandwidth: 3.5}\n"
    )
    options = Options(segmenter={**QUICK, "supervised": 1, "joint": 1})
    found = fitted(views_of(6), prompts=prompts, options=options)
    assert found.config.distance == 0.3
    assert "no backbone grounds tags" in found.notes[0]
    again = Options(segmenter={**QUICK, "supervised": 1, "joint": 1, "distance": 0.2})
    assert fitted(views_of(6), prompts=prompts, options=again).config.distance == 0.2


def test_options_that_do_not_exist_are_told() -> None:
    with pytest.raises(UnknownNameError, match="option of the segmenter"):
        segmenter_config("cpu", widht=3)
    labels = [product(0)[1]]
    with pytest.raises(OptionError, match="nothing"):
        fitted(views_of(1), labels, Options(segmenter={"supervised": 0, "joint": 0}))
