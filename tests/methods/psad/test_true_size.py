"""PSAD with the paper's network, a Wide ResNet-101 of random weights at 512 px, on a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import fmlad
from fmlad.methods.psad.method import DECLARED
from tests.methods.psad.drawn import product
from tools import random_weights


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMLAD_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("FMLAD_CACHE_LIMIT_MB", "0")
    random_weights.fill(tmp_path, [DECLARED["foundation"]["encoder"]], "true")


@pytest.mark.gpu
@pytest.mark.parametrize("preset", ["paper", "code"])
def test_it_trains_and_predicts_at_512_px(published: None, preset: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    shots = [product(seed) for seed in range(5)]
    torch.cuda.reset_peak_memory_stats()
    detector = fmlad.Detector.from_shots(
        [pixels for pixels, _ in shots],
        method="psad",
        profile="foundation",
        device="cuda",
        labels=[labels for _, labels in shots],
        unlabeled=[product(seed)[0] for seed in range(5, 12)],
        preset=preset,
        segmenter={"unit": "steps", "supervised": 3, "joint": 3, "second": 2},
    )
    found = detector.predict(product(50)[0])
    assert np.isfinite(found.score)
    assert found.segmentation is not None
    assert torch.cuda.max_memory_allocated() < 40e9


@pytest.mark.gpu
def test_a_gpu_scores_as_the_cpu_does(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    shots = [product(seed) for seed in range(4)]
    detector = fmlad.Detector.from_shots(
        [pixels for pixels, _ in shots],
        method="psad",
        profile="builtin",
        device="cuda",
        labels=[labels for _, labels in shots],
        segmenter={"supervised": 30, "joint": 10, "copies": 3},
    )
    home = detector.save(tmp_path / "saved")
    query = product(50)[0]
    scores = [
        fmlad.Detector.load(home, device=device).predict(query).score for device in ("cuda", "cpu")
    ]
    assert scores[0] == pytest.approx(scores[1], rel=1e-2)
