"""CSAD whole, with its own segmenter on given labels: what it saves, and resumes after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fmlad
from fmlad.datasets import PartLabels
from fmlad.errors import CheckpointError
from tests.methods.csad.stand_in import QUICK
from tests.methods.psad.drawn import NAMES, product

SHOTS = [product(seed) for seed in range(5)]
VALIDATION = [product(seed)[0] for seed in range(10, 13)]
MAPS = tuple(labels.astype(np.uint8) for _, labels in SHOTS)
STAGES = (
    "segmenter: features of copies", "segmenter: loss", "parts of training images",
    "students: features", "students: loss", "judging validation images",
)  # fmt: skip


class Killed(BaseException):
    """Nothing catches it."""


def fitted(**arguments: Any) -> fmlad.Detector:
    settings: dict[str, Any] = {
        "method": "csad",
        "profile": "builtin",
        "backbones": {"encoder": "builtin:squeezenet@1"},
        "labels": PartLabels(("background", *NAMES), MAPS, "drawn"),
        "validation": VALIDATION,
        "side": 64,
        "segmenter": {"supervised": 3, "joint": 2, "copies": 4, "width": 8, "shallow": 4},
        "students": {**QUICK, "channels": 12},
    }
    return fmlad.Detector.from_shots([p for p, _ in SHOTS], **{**settings, **arguments})


@pytest.fixture(scope="module")
def detector() -> fmlad.Detector:
    return fitted()


def test_saved_and_loaded_it_scores_the_same(detector: fmlad.Detector, tmp_path: Path) -> None:
    loaded = fmlad.Detector.load(detector.save(tmp_path / "saved"))
    query = product(51, pins=1)[0]
    one, other = detector.predict(query), loaded.predict(query)
    assert one.branch_scores == other.branch_scores
    assert np.array_equal(one.anomaly_map, other.anomaly_map)
    assert one.segmentation is not None
    assert one.segmentation.names == ["background", *NAMES]


@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_at_any_stage_is_resumed_to_the_same_detector(
    detector: fmlad.Detector, tmp_path: Path, stage: str
) -> None:
    killed = []

    def kill(done: int, total: int, what: str) -> None:
        if what.startswith(stage):
            killed.append(what)
            raise Killed

    run = tmp_path / "run"
    with pytest.raises(Killed):
        fitted(checkpoint=run, progress=kill)
    assert killed
    resumed = fitted(checkpoint=run, resume=True)
    query = product(52, cable=84)[0]
    assert resumed.predict(query).score == detector.predict(query).score
    assert resumed.threshold == detector.threshold


def test_what_was_finished_is_not_trained_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fitted(checkpoint=run)
    told: list[str] = []
    fitted(checkpoint=run, resume=True, progress=lambda done, total, what: told.append(what))
    assert not any("loss" in one for one in told)


def test_a_checkpoint_of_other_labels_or_options_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fitted(checkpoint=run)
    others = tuple(np.where(one == 3, 0, one).astype(np.uint8) for one in MAPS)
    with pytest.raises(CheckpointError):
        fitted(checkpoint=run, resume=True, labels=PartLabels(("background", *NAMES), others, "x"))
    with pytest.raises(CheckpointError):
        fitted(checkpoint=run, resume=True, students={**QUICK, "channels": 12, "steps": 9})


def test_the_encoder_runs_once_a_query(detector: fmlad.Detector) -> None:
    state: Any = detector._fitted.state
    encoder = state.encoder
    calls = []
    handle = encoder._module.register_forward_hook(lambda *_: calls.append(1))
    try:
        detector.predict(product(53)[0])
        next(iter(detector.predict_many([product(54)[0]])))
    finally:
        handle.remove()
    assert len(calls) == 2
    same = state.histograms.segmenter.predict_maps(encoder.encode(torch.zeros(1, 3, 64, 64)))
    assert same.shape == (64, 64)
