"""PSAD's segmenter: what it learns, and that it can be stopped, saved and refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fmlad.errors import (
    BackboneMismatchError,
    CheckpointError,
    CorruptDetectorError,
    OptionError,
    ShotsError,
)
from fmlad.methods.psad import segmenter
from fmlad.methods.psad.fitted_segmenter import FittedSegmenter
from fmlad.methods.psad.segmenter import fit_segmenter
from fmlad.methods.psad.segmenter_config import SegmenterConfig
from tests.methods.psad.blobs import HEIGHT, WIDTH, TinyEncoder, TinyModule, blobs, iou, quick

LABELLED = [blobs(seed) for seed in range(3)]
UNLABELED = [blobs(seed)[0] for seed in range(8)]


def fit(config: SegmenterConfig | None = None, **more: Any) -> FittedSegmenter:
    return fit_segmenter(LABELLED, UNLABELED, 3, TinyEncoder(), config or quick(), **more)


def same(one: FittedSegmenter, other: FittedSegmenter) -> bool:
    pairs = one.tensors(), other.tensors()
    assert pairs[0].keys() == pairs[1].keys()
    return all(torch.equal(tensor, pairs[1][name]) for name, tensor in pairs[0].items())


@pytest.fixture(scope="module")
def fitted() -> FittedSegmenter:
    return fit()


# --- what it learns ------------------------------------------------------------------------------


def test_parts_that_differ_by_place_alone_are_told_apart(fitted: FittedSegmenter) -> None:
    for seed in range(20, 24):
        pixels, labels = blobs(seed)
        said = fitted.predict(pixels, own_size=True)
        assert min(iou(said, labels, part) for part in (1, 2)) > 0.8


def test_many_labelled_images_have_fewer_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmenter, "MOST_SQUARES", 2 * len(LABELLED))
    found = fit(quick(copies=9))
    pixels, labels = blobs(20)
    assert min(iou(found.predict(pixels, own_size=True), labels, part) for part in (1, 2)) > 0.7


def test_with_context_shifts_and_loose_parts_it_learns_as_well() -> None:
    found = fit(quick(context=8, shift=0.02, laid=2, rate=0.01))
    pixels, labels = blobs(20)
    assert min(iou(found.predict(pixels, own_size=True), labels, part) for part in (1, 2)) > 0.8


@pytest.mark.parametrize("losses_at", ["input", pytest.param("grid", marks=pytest.mark.slow)])
def test_a_trainable_encoder_learns_as_well(losses_at: str) -> None:
    config = quick(frozen=False, copies=0, losses_at=losses_at, supervised=60, joint=10, rate=0.01)
    found = fit(config)
    pixels, labels = blobs(20)
    assert min(iou(found.predict(pixels, own_size=True), labels, part) for part in (1, 2)) > 0.8
    plain = dict(TinyEncoder().build().named_parameters())
    saved = {n.removeprefix("encoder."): t for n, t in found.tensors().items()}
    assert not any(torch.equal(saved[name], weights) for name, weights in plain.items())


def test_a_frozen_encoder_stays_and_is_not_saved(fitted: FittedSegmenter) -> None:
    assert all(name.startswith("classifier.") for name in fitted.tensors())
    found = fit(quick(copies=0, supervised=3, joint=3))  # altered anew in every step
    assert found.tensors().keys() == fitted.tensors().keys()


@pytest.mark.parametrize("over", ["sum", "mean"])
def test_histogram_matching_draws_class_areas_to_those_of_the_label(over: str) -> None:
    """Unlabelled images without noise or labels of their own: only the areas can teach."""
    rng = np.random.default_rng(0)
    grey = [rng.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(4)]
    labels = np.zeros((64, 64), np.int32)
    labels[:, :16], labels[:, 16:48] = 1, 2
    true = np.array([0.25, 0.25, 0.5])

    def off(weight: float) -> float:
        config = quick(
            supervised=0, joint=60, cross_entropy=0.0, dice=0.0, entropy=0.0, histogram=weight,
            histogram_over=over,
        )  # fmt: skip
        found = fit_segmenter([(grey[0], labels)], grey[1:], 3, TinyEncoder(), config)
        areas = np.mean([found.probabilities(one).mean((1, 2)) for one in grey[1:]], axis=0)
        return float(np.abs(areas - true).sum())

    assert off(10.0) < 0.1 < off(0.0)


def test_entropy_makes_predictions_on_unlabelled_images_certain() -> None:
    def unsure(weight: float) -> float:
        config = quick(supervised=20, joint=60, rate=0.01, entropy=weight)
        found = fit(config)
        return float(np.mean([1 - found.probabilities(one).max(0) for one in UNLABELED]))

    assert unsure(30.0) < 0.8 * unsure(0.0)


def test_the_first_stage_hangs_on_labelled_images_alone() -> None:
    config = quick(supervised=10, joint=0, standardise=False)
    other = [255 - one for one in UNLABELED]
    found = fit_segmenter(LABELLED, other, 3, TinyEncoder(), config)
    assert same(found, fit(config))
    assert not same(found, fit_segmenter(LABELLED[::-1], other, 3, TinyEncoder(), config))
    longer = replace(config, joint=5)
    later = fit_segmenter(LABELLED, other, 3, TinyEncoder(), longer)
    assert not same(later, fit(longer))


@pytest.mark.parametrize("by", ["encoder", "areas"])
def test_each_unlabelled_image_has_the_labelled_one_of_its_type(by: str) -> None:
    """Blue discs are of other classes than red ones."""
    pixels, labels = blobs(2)
    kinds = [blobs(1), (pixels[..., ::-1].copy(), np.where(labels > 0, labels + 2, 0))]
    others = [blobs(5)[0], blobs(6)[0][..., ::-1], kinds[1][0]]
    # Types by areas are settled by what the first stage has learned.
    steps = {"supervised": 1, "joint": 1} if by == "encoder" else {"joint": 1}
    found = fit_segmenter(kinds, others, 5, TinyEncoder(), quick(types=by, **steps))
    assert found.types == (0, 1, 1)


def test_images_of_other_sizes_and_none_unlabelled() -> None:
    pixels, labels = blobs(3)
    tall = np.ascontiguousarray(np.pad(pixels, ((0, 61), (0, 0), (0, 0))))
    both = [LABELLED[0], (tall, np.pad(labels, ((0, 61), (0, 0))))]
    found = fit_segmenter(both, [], 3, TinyEncoder(), quick(supervised=5, joint=5))
    assert found.predict(tall).shape == (128, 116)  # the longer side at 64 px, the aspect kept
    assert found.predict(tall, own_size=True).shape == (141, 128)
    probabilities = found.probabilities(pixels)
    assert probabilities.shape == (3, HEIGHT, WIDTH)
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)


def test_epochs_are_passes_over_the_unlabelled_images() -> None:
    told: list[tuple[int, int, str]] = []
    config = quick(unit="epochs", supervised=2, joint=1)
    fit(config, progress=lambda *facts: told.append(facts))
    assert told[-1][:2] == (6, 6)  # three times 8 images, 4 at a time


# --- stopping, saving ----------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_weights() -> None:
    config = quick(supervised=6, joint=6)
    once = fit(config)
    assert same(fit(config), once)
    assert not same(fit(config, seed=1), once)


class Killed(Exception):
    pass


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("at", [4, pytest.param(11, marks=pytest.mark.slow)])  # in either stage
def test_a_killed_training_resumes_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frozen: bool, at: int
) -> None:
    config = quick(supervised=8, joint=8, frozen=frozen, copies=3 if frozen else 0, recolour=0.3)
    whole = fit(config)
    monkeypatch.setattr("fmlad.methods.psad.segmenter.SAVE_SECONDS", 0.0)
    original, count = torch.optim.AdamW.step, 0

    def step(self: Any, *given: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        if count > at:
            raise Killed
        return original(self, *given, **more)

    file = tmp_path / "segmenter.safetensors"
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(Killed):
        fit(config, checkpoint=file)
    monkeypatch.setattr(torch.optim.AdamW, "step", original)
    assert file.exists()
    assert same(fit(config, checkpoint=file, resume=True), whole)
    with pytest.raises(CheckpointError, match="segmenter"):
        fit(replace(config, entropy=3.0), checkpoint=file, resume=True)


@pytest.mark.parametrize("frozen", [True, False])
def test_tensors_and_json_bring_it_back(frozen: bool) -> None:
    found = fit(quick(supervised=5, joint=5, frozen=frozen))
    meta = json.loads(json.dumps(found.meta()))
    back = FittedSegmenter.restore(found.tensors(), meta, "cpu")
    assert back.config == found.config
    assert not back.attached
    with pytest.raises(OptionError, match="attach"):
        back.predict(UNLABELED[0])
    assert same(back, found)
    back.attach(TinyEncoder())
    assert same(back, found)
    expected = found.probabilities(UNLABELED[0])
    np.testing.assert_array_equal(back.probabilities(UNLABELED[0]), expected)


def test_what_does_not_fit_is_not_restored(fitted: FittedSegmenter) -> None:
    tensors, meta = fitted.tensors(), fitted.meta()
    short = {n: t for n, t in tensors.items() if n != "classifier.first.bias"}
    for bad, facts in (
        (short, meta),
        ({**tensors, "more": torch.zeros(1)}, meta),
        (tensors, {**meta, "classes": 4}),
        (tensors, {"classes": 3}),
        (tensors, {**meta, "config": {**meta["config"], "side": 63}}),
    ):
        with pytest.raises(CorruptDetectorError):
            FittedSegmenter.restore(bad, facts, "cpu")
    trained = fit(quick(supervised=1, joint=0, frozen=False))
    some = {n: t for n, t in trained.tensors().items() if n != "encoder.stem.0.weight"}
    with pytest.raises(CorruptDetectorError, match=r"encoder\.stem"):
        FittedSegmenter.restore(some, trained.meta(), "cpu", TinyEncoder())


def test_another_encoder_is_refused(
    fitted: FittedSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = FittedSegmenter.restore(fitted.tensors(), fitted.meta(), "cpu")
    monkeypatch.setattr(TinyModule, "channels", (6, 5, 3))
    with pytest.raises(BackboneMismatchError, match="tiny"):
        back.attach(TinyEncoder())


# --- wrong inputs --------------------------------------------------------------------------------


def test_wrong_inputs_are_told() -> None:
    pixels, labels = LABELLED[0]

    def refused(labelled: list[Any], classes: int = 3) -> None:
        fit_segmenter(labelled, UNLABELED, classes, TinyEncoder(), quick())

    with pytest.raises(ShotsError, match="no labelled image"):
        refused([])
    with pytest.raises(OptionError, match="labelled image 1 contain 2; with 2 classes"):
        refused([(pixels, np.minimum(labels, 1)), (pixels, labels)], classes=2)
    with pytest.raises(OptionError, match="contain -1"):
        refused([(pixels, labels - 1)])
    with pytest.raises(OptionError, match=r"expected integers \(80, 128\)"):
        refused([(pixels, labels[:30])])
    with pytest.raises(OptionError, match="float"):
        refused([(pixels, labels.astype(np.float32))])
    with pytest.raises(OptionError, match="classes=1"):
        refused([(pixels, labels * 0)], classes=1)
    with pytest.raises(OptionError, match="train nothing"):
        fit(quick(supervised=0, joint=0))


def test_a_second_classifier_learns_from_the_predictions_on_all_images(tmp_path: Path) -> None:
    file = tmp_path / "one.safetensors"
    first = fit()
    second = fit(quick(second=60), checkpoint=file)
    assert not same(first, second)
    for number in range(len(UNLABELED)):
        said, again = (one.predict(UNLABELED[number]) for one in (first, second))
        assert (said == again).mean() > 0.9
    assert (tmp_path / "one-second.safetensors").exists()
    resumed = fit(quick(second=60), checkpoint=file, resume=True)
    assert same(second, resumed)
