"""DINOv2 through its real on-disk format, with tiny random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import fmlad
from fmlad.backbones import dinov2
from fmlad.backbones.roles import FeatureExtractor
from fmlad.errors import BackboneMismatchError, WeightsUnavailableError
from tests.conftest import picture

transformers = pytest.importorskip("transformers")


def save_tiny(folder: Path, seed: int = 0, registers: int = 0) -> Path:
    """A model folder as transformers saves it, 2 layers of width 32."""
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "mlp_ratio": 2,
        "image_size": 56,
        "patch_size": 14,
    }
    if registers:
        config = transformers.Dinov2WithRegistersConfig(**sizes, num_register_tokens=registers)
        transformers.Dinov2WithRegistersModel(config).save_pretrained(folder)
    else:
        transformers.Dinov2Model(transformers.Dinov2Config(**sizes)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("registers", [0, 4])
def test_patch_tokens_are_those_of_the_model_itself(tmp_path: Path, registers: int) -> None:
    folder = save_tiny(tmp_path / "m", registers=registers)
    backbone = dinov2.load(f"dinov2:{folder}")
    assert isinstance(backbone, FeatureExtractor)
    image = torch.from_numpy(picture(0, size=(448, 448))).permute(2, 0, 1)[None]
    pyramid = backbone.encode(image)
    assert pyramid.levels[14].shape == (1, 32, 32, 32)

    model = transformers.AutoModel.from_pretrained(folder).eval()
    mean, std = torch.tensor(dinov2.MEAN), torch.tensor(dinov2.STD)
    pixels = (image.float() / 255 - mean[:, None, None]) / std[:, None, None]
    with torch.inference_mode():
        tokens = model(pixel_values=pixels).last_hidden_state
    torch.testing.assert_close(pyramid.pooled, tokens[:, 0])
    # Cell (3, 5) is token 3 * 32 + 5 behind the class token and the registers.
    torch.testing.assert_close(pyramid.levels[14][0, :, 3, 5], tokens[0, 1 + registers + 101])


def test_the_aspect_ratio_is_kept_to_within_a_patch(tmp_path: Path) -> None:
    backbone = dinov2.load(f"dinov2:{save_tiny(tmp_path / 'm')}")
    assert backbone.input_size(1000, 1600) == (280, 448)
    assert backbone.input_size(16, 800) == (14, 448)
    assert backbone.encode(torch.zeros(2, 3, 100, 160, dtype=torch.uint8)).levels[14].shape == (
        2, 32, 20, 32,
    )  # fmt: skip


def test_a_whole_detector_runs_saves_and_loads_on_it(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "m")
    backbones = {"feature_extractor": f"dinov2:{folder}"}
    shots = [picture(i) for i in range(3)]
    detector = fmlad.Detector.from_shots(shots, profile="foundation", backbones=backbones)
    expected = detector.predict(picture(9, defect=True)).score
    loaded = fmlad.Detector.load(detector.save(tmp_path / "saved"))
    assert loaded.predict(picture(9, defect=True)).score == pytest.approx(expected, abs=1e-6)


def test_other_weights_under_the_same_name_are_refused(tmp_path: Path) -> None:
    from fmlad import profiles
    from fmlad.backbones import weights

    folder = save_tiny(tmp_path / "m")
    backbones = {"feature_extractor": f"dinov2:{folder}"}
    detector = fmlad.Detector.from_shots(picture(0), profile="light", backbones=backbones)
    saved = detector.save(tmp_path / "saved")
    save_tiny(folder, seed=1)
    profiles._build.cache_clear()  # as a new process would start
    weights.folder_hash.cache_clear()
    with pytest.raises(BackboneMismatchError, match="fitted with"):
        fmlad.Detector.load(saved)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailableError, match=r"no config\.json"):
        dinov2.load(f"dinov2:{tmp_path}")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(WeightsUnavailableError, match="'bert' model"):
        dinov2.load(f"dinov2:{tmp_path}")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsUnavailableError, match="'unknown' model"):
        dinov2.load(f"dinov2:{tmp_path}")


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "m")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsUnavailableError, match="cannot be loaded"):
        dinov2.load(f"dinov2:{folder}")


def test_a_checkpoint_that_lacks_weights_is_not_filled_with_random_ones(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_tiny(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("encoder.layer.1.mlp.fc1.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsUnavailableError, match=r"lacks 'encoder\.layer\.1\.mlp"):
        dinov2.load(f"dinov2:{folder}")


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    backbones = {"feature_extractor": f"dinov2:{save_tiny(tmp_path / 'm')}"}
    scores = []
    for device in ("cpu", "cuda"):
        detector = fmlad.Detector.from_shots(
            [picture(i) for i in range(3)], profile="light", backbones=backbones, device=device
        )
        scores.append(detector.predict(picture(9, defect=True)).score)
    assert scores[0] == pytest.approx(scores[1], rel=1e-3)
