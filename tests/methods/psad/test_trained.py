"""PSAD whole, with its own segmenter: what it finds, saves, and resumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fmlad
from fmlad.backbones.cnn.cnn import CNN
from fmlad.datasets import PartLabels
from fmlad.errors import CheckpointError, UnknownNameError
from tests.methods.psad.drawn import NAMES, product

SHOTS = [product(seed) for seed in range(3)]
OTHERS = [product(seed)[0] for seed in range(10, 15)]
MAPS = tuple(labels.astype(np.uint8) for _, labels in SHOTS)
STAGES = ("segmenter: loss", "remembering training images", "judging each shot")

LEARNS = {"side": 128, "supervised": 90, "joint": 10, "copies": 7}


class Killed(BaseException):
    """Nothing catches it."""


def fitted(**arguments: Any) -> fmlad.Detector:
    settings: dict[str, Any] = {
        "method": "psad",
        "profile": "builtin",
        "labels": PartLabels(("background", *NAMES), MAPS, "drawn"),
        "unlabeled": OTHERS,
        "banks": ("histogram",),
        "segmenter": {"side": 64, "supervised": 4, "joint": 4, "copies": 1},
    }
    return fmlad.Detector.from_shots([p for p, _ in SHOTS], **{**settings, **arguments})


@pytest.fixture(scope="module")
def detector() -> fmlad.Detector:
    return fitted()


@pytest.mark.slow
def test_it_learns_parts_and_misses_one() -> None:
    detector = fitted(segmenter=LEARNS)
    good, bad = detector.predict(product(50)[0]), detector.predict(product(50, label="none")[0])
    assert bad.score > 3 * good.score
    assert bad.is_anomalous
    assert bad.findings[0].text.startswith("label missing, upper left")
    assert good.segmentation is not None
    truth = product(50)[1]
    assert (good.segmentation.labels == truth).mean() > 0.95


def test_saved_and_loaded_it_scores_the_same(detector: fmlad.Detector, tmp_path: Path) -> None:
    loaded = fmlad.Detector.load(detector.save(tmp_path / "saved"))
    query = product(51, pins=1)[0]
    assert loaded.predict(query).score == detector.predict(query).score


@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_at_any_stage_is_resumed_to_the_same_detector(
    detector: fmlad.Detector, tmp_path: Path, stage: str
) -> None:
    def kill(done: int, total: int, what: str) -> None:
        if what.startswith(stage) and (done > 1 or total == 1):
            raise Killed

    run = tmp_path / "run"
    with pytest.raises(Killed):
        fitted(checkpoint=run, progress=kill)
    resumed = fitted(checkpoint=run, resume=True)
    query = product(52, cable=84)[0]
    assert resumed.predict(query).score == detector.predict(query).score
    assert resumed.threshold == detector.threshold


def test_queries_together_run_the_encoder_for_their_segments_alone(
    detector: fmlad.Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = product(60)[0]
    alone = detector.predict(query).score
    passes: list[int] = []
    monkeypatch.setattr(CNN, "encode", lambda self, images: passes.append(len(images)))
    together = [one.score for one in detector.predict_many([query, product(61)[0]])]
    assert passes == []
    assert together[0] == pytest.approx(alone, rel=1e-5)


def test_a_checkpoint_of_other_labels_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fitted(checkpoint=run)
    assert (run / "segmenter.safetensors").is_file()
    others = tuple(np.where(one == 3, 0, one).astype(np.uint8) for one in MAPS)
    with pytest.raises(CheckpointError, match="labels"):
        fitted(checkpoint=run, resume=True, labels=PartLabels(("background", *NAMES), others, "x"))


def test_options_of_the_training_are_checked_first() -> None:
    with pytest.raises(UnknownNameError, match="degrees"):
        fitted(segmenter={"degree": 180})
