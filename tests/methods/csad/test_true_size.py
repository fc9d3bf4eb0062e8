"""CSAD with the paper's network, a Wide ResNet-50 of random weights at 256 px, on a GPU."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

import fmlad
from fmlad.methods.csad.method import DECLARED
from tests.methods.psad.drawn import product
from tools import random_weights

RUNS = 50


@pytest.mark.gpu
@pytest.mark.parametrize("preset", ["paper", "code"])
def test_it_trains_and_predicts_at_256_px(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    monkeypatch.setenv("FMLAD_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("FMLAD_CACHE_LIMIT_MB", "0")
    random_weights.fill(tmp_path, [DECLARED["foundation"]["encoder"]], "true")
    shots = [product(seed) for seed in range(12)]
    torch.cuda.reset_peak_memory_stats()
    detector = fmlad.Detector.from_shots(
        [pixels for pixels, _ in shots],
        method="csad",
        profile="foundation",
        device="cuda",
        labels=[labels for _, labels in shots],
        validation=[product(seed)[0] for seed in range(20, 26)],
        preset=preset,
        segmenter={"unit": "steps", "supervised": 3, "joint": 3},
        students={"steps": 5},
    )
    found = detector.predict(product(50)[0])
    assert np.isfinite(found.score)
    assert found.segmentation is not None
    assert torch.cuda.max_memory_allocated() < 40e9
    queries = [product(100 + seed)[0] for seed in range(RUNS)]
    begun = time.perf_counter()
    for query in queries:
        detector.predict(query)
    each = 1000 * (time.perf_counter() - begun) / RUNS
    print(f"{preset}: {each:.1f} ms a verdict; the paper says 8.9 ms for its networks alone")


@pytest.mark.gpu
def test_a_gpu_scores_as_the_cpu_does(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    shots = [product(seed) for seed in range(8)]
    detector = fmlad.Detector.from_shots(
        [pixels for pixels, _ in shots],
        method="csad",
        profile="builtin",
        device="cuda",
        labels=[labels for _, labels in shots],
        validation=[product(seed)[0] for seed in range(20, 26)],
        segmenter={"supervised": 30, "joint": 10, "copies": 8},
        students={"steps": 30},
    )
    home = detector.save(tmp_path / "saved")
    query = product(50)[0]
    scores = [
        fmlad.Detector.load(home, device=device).predict(query).score for device in ("cuda", "cpu")
    ]
    assert scores[0] == pytest.approx(scores[1], rel=1e-2)
