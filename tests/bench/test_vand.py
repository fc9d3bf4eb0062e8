"""The VAND challenge's protocol, played with tiny tensors."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fmlad
from fmlad.bench.peers import vand
from fmlad.errors import (
    InvalidImageError,
    MissingDependencyError,
    OptionError,
    PromptError,
    ShotsError,
)
from tests.conftest import picture

HERE = importlib.util.find_spec("anomalib") is not None
PICTURES = [picture(seed, (64, 64), defect=seed == 3) for seed in range(4)]


def quick() -> vand.Model:
    """Of one bank and no registration."""
    return vand.Model("banks", "builtin", banks=("patch",), registration=False)


def tensors(*indices: int) -> Tensor:
    """As the harness hands them over: float ``(B, 3, H, W)`` in 0..1."""
    stack = np.stack([PICTURES[i] for i in indices])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255


def setup_data(*indices: int) -> dict[str, Any]:
    return {"few_shot_samples": tensors(*indices), "dataset_category": "pushpins"}


def test_scores_and_maps_are_those_of_a_detector_on_the_same_pixels() -> None:
    model = vand.Model(profile="builtin")
    model.setup(setup_data(0, 1))
    scores, maps = model.judge(tensors(2, 3))
    detector = fmlad.Detector.from_shots(PICTURES[:2], profile="builtin")
    for i, index in enumerate((2, 3)):
        expected = detector.predict(PICTURES[index])
        assert float(scores[i]) == pytest.approx(expected.score, rel=1e-6)
        np.testing.assert_allclose(maps[i].numpy(), expected.anomaly_map, rtol=1e-6)
    assert float(scores[1]) > float(scores[0])
    assert scores.dtype == maps.dtype == torch.float32


def test_every_setup_starts_anew() -> None:
    model = quick()
    model.setup(setup_data(0, 1))
    first = model.judge(tensors(3))[0]
    model.setup(setup_data(2))
    assert not torch.equal(model.judge(tensors(3))[0], first)
    model.setup(setup_data(0, 1))
    torch.testing.assert_close(model.judge(tensors(3))[0], first)


@pytest.mark.skipif(not HERE, reason='anomalib is missing: pip install ".[bench]"')
def test_the_harness_gets_what_it_reads() -> None:
    from anomalib.data import ImageBatch

    model = quick().eval().to("cpu")
    assert isinstance(model, nn.Module)
    assert model.weights_url("pushpins") is None
    model.setup(setup_data(0, 1))
    with torch.no_grad():
        said = model(tensors(3))
    assert isinstance(said, ImageBatch)
    assert said.pred_score.shape == (1,)
    assert said.anomaly_map.shape == (1, 64, 64)
    torch.testing.assert_close(said.pred_score, model.judge(tensors(3))[0])


def test_without_anomalib_only_the_batch_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def load(name: str, package: str | None = None) -> Any:
        if name.startswith("anomalib"):
            raise ModuleNotFoundError(name="anomalib")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", load)
    model = quick()
    model.setup(setup_data(0))
    assert model.judge(tensors(3))[0].shape == (1,)
    with pytest.raises(MissingDependencyError, match=r"fmlad\[bench\]"):
        model(tensors(3))


def test_prompts_by_category_are_those_of_loco(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def from_shots(shots: Any, **how: Any) -> str:
        seen.update(how, shots=len(shots))
        return "detector"

    monkeypatch.setattr(vand.Detector, "from_shots", from_shots)
    vand.Model("clip-lad", "builtin", prompts="category", clusters=9).setup(setup_data(0, 1))
    assert seen == {
        "method": "clip-lad", "profile": "builtin", "prompts": "mvtec_loco/pushpins",
        "device": "auto", "seed": 0, "clusters": 9, "shots": 2,
    }  # fmt: skip
    with pytest.raises(OptionError, match="dataset_category"):
        vand.Model(prompts="category").setup({"few_shot_samples": tensors(0)})


def test_an_unknown_category_has_no_prompts() -> None:
    model = vand.Model("clip-lad", "builtin", prompts="category")
    with pytest.raises(PromptError):
        model.setup({**setup_data(0), "dataset_category": "no_such"})


def test_what_is_wrong_is_said() -> None:
    model = quick()
    with pytest.raises(OptionError, match="before setup"):
        model.judge(tensors(0))
    with pytest.raises(ShotsError, match="few_shot_samples"):
        model.setup({"dataset_category": "pushpins"})
    with pytest.raises(ShotsError, match="few_shot_samples"):
        model.setup({"few_shot_samples": tensors(0)[:0]})
    with pytest.raises(InvalidImageError, match=r"expected 0\.\.1"):
        model.setup({"few_shot_samples": tensors(0) * 255})
    with pytest.raises(InvalidImageError, match=r"expected 0\.\.1"):
        model.setup({"few_shot_samples": tensors(0) * float("nan")})
    with pytest.raises(InvalidImageError, match=r"uint8; expected floats"):
        model.setup({"few_shot_samples": (tensors(0) * 255).to(torch.uint8)})
    model.setup(setup_data(0))
    with pytest.raises(ShotsError):
        model.setup({"few_shot_samples": tensors(0)[:0]})


def test_one_image_may_come_without_a_batch() -> None:
    model = quick()
    model.setup(setup_data(0))
    torch.testing.assert_close(model.judge(tensors(3)[0])[0], model.judge(tensors(3))[0])
