"""DINOv2 through its real on-disk format, with tiny random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import fmlad
from fmlad.backbones import dino
from fmlad.backbones.common import IMAGENET
from fmlad.backbones.roles import FeatureExtractor
from fmlad.errors import BackboneMismatchError, OptionError, WeightsUnavailableError
from tests.conftest import picture

transformers = pytest.importorskip("transformers")


REGIONS = "builtin:regions@2"


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
    backbone = dino.load(f"dinov2:{folder}")
    assert isinstance(backbone, FeatureExtractor)
    image = torch.from_numpy(picture(0, size=(448, 448))).permute(2, 0, 1)[None]
    pyramid = backbone.encode(image)
    assert pyramid.levels[14].shape == (1, 32, 32, 32)

    model = transformers.AutoModel.from_pretrained(folder).eval()
    mean, std = torch.tensor(IMAGENET[0]), torch.tensor(IMAGENET[1])
    pixels = (image.float() / 255 - mean[:, None, None]) / std[:, None, None]
    with torch.inference_mode():
        tokens = model(pixel_values=pixels).last_hidden_state
    torch.testing.assert_close(pyramid.pooled, tokens[:, 0])
    # Cell (3, 5) is token 3 * 32 + 5 behind the class token and the registers.
    torch.testing.assert_close(pyramid.levels[14][0, :, 3, 5], tokens[0, 1 + registers + 101])


def test_the_aspect_ratio_is_kept_to_within_a_patch(tmp_path: Path) -> None:
    backbone = dino.load(f"dinov2:{save_tiny(tmp_path / 'm')}")
    assert backbone.input_size(1000, 1600) == (280, 448)
    assert backbone.input_size(16, 800) == (14, 448)
    assert backbone.encode(torch.zeros(2, 3, 100, 160, dtype=torch.uint8)).levels[14].shape == (
        2, 32, 20, 32,
    )  # fmt: skip


def save_timm(folder: Path, registers: bool = False, seed: int = 0) -> Path:
    """A model folder as timm saves it, 2 layers of width 32."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(seed)
    kind = "vit_small_patch14_reg4_dinov2" if registers else "vit_small_patch14_dinov2"
    model = timm.create_model(kind, embed_dim=32, depth=2, num_heads=2, img_size=56, num_classes=0)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and scales start as constants
            parameter.add_(0.1 * torch.randn(parameter.shape))
    timm.models.save_for_hf(model, str(folder), safe_serialization=True)
    return folder


def as_transformers(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """timm's tensors under transformers' names (no registers)."""
    names = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "blocks.": "encoder.layer.",
        "attn.proj": "attention.output.dense",
        "ls1.gamma": "layer_scale1.lambda1",
        "ls2.gamma": "layer_scale2.lambda1",
    }
    result = {"embeddings.mask_token": torch.zeros(1, 32)}
    for name, tensor in state.items():
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        if ".attn.qkv." in name:
            parts = zip(("query", "key", "value"), tensor.chunk(3), strict=True)
            result |= {name.replace("attn.qkv", f"attention.attention.{p}"): t for p, t in parts}
        else:
            result["layernorm" + name[4:] if name.startswith("norm.") else name] = tensor
    return result


def test_timm_and_transformers_say_the_same(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    timm_folder = save_timm(tmp_path / "timm")
    folder = save_tiny(tmp_path / "m")
    config = transformers.Dinov2Config.from_pretrained(folder)
    config.mlp_ratio = 4
    config.save_pretrained(folder)
    tensors = as_transformers(load_file(timm_folder / "model.safetensors"))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    image = torch.from_numpy(picture(0, size=(100, 160))).permute(2, 0, 1)[None]
    # At the trained size; at another the two interpolate the positions differently.
    for options, most in (("#side=56,fit=squash", 1e-4), ("", 0.05)):
        one = dino.load(f"dinov2:{timm_folder}{options}").encode(image)
        other = dino.load(f"dinov2:{folder}{options}").encode(image)
        torch.testing.assert_close(one.levels[14], other.levels[14], atol=most, rtol=1e-4)
        torch.testing.assert_close(one.pooled, other.pooled, atol=most, rtol=1e-4)


def test_registers_of_timm_are_left_out(tmp_path: Path) -> None:
    import timm

    folder = save_timm(tmp_path / "m", registers=True)
    pyramid = dino.load(f"dinov2:{folder}#side=56,fit=squash").encode(
        torch.from_numpy(picture(0, size=(56, 56))).permute(2, 0, 1)[None]
    )
    assert pyramid.levels[14].shape == (1, 32, 4, 4)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    assert model.num_prefix_tokens == 5
    mean, std = torch.tensor(IMAGENET[0]), torch.tensor(IMAGENET[1])
    pixels = torch.from_numpy(picture(0, size=(56, 56))).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        found = model.forward_intermediates(
            (pixels - mean[:, None, None]) / std[:, None, None], indices=1, norm=True
        )[1][-1]
    torch.testing.assert_close(pyramid.levels[14], found, atol=1e-5, rtol=1e-4)


def test_a_name_of_timms_alone_stands_for_its_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMLAD_WEIGHTS", str(tmp_path))
    save_timm(tmp_path / "timm" / "vit_small_patch14_dinov2.lvd142m")
    short = dino.load("dinov2:vit_small_patch14_dinov2.lvd142m")
    assert (
        short.fingerprint == dino.load("dinov2:timm/vit_small_patch14_dinov2.lvd142m").fingerprint
    )


def test_side_and_fit_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "m")
    options = ("", "#side=224", "#fit=squash", "#side=224,fit=squash")
    backbones = [dino.load(f"dinov2:{folder}{option}") for option in options]
    assert len({backbone.fingerprint for backbone in backbones}) == 4
    assert [b.input_size(500, 1000) for b in backbones] == [
        (224, 448), (112, 224), (448, 448), (224, 224),
    ]  # fmt: skip
    for option in ("size=3", "side=x", "fit=shorter", "side=7"):
        with pytest.raises(OptionError, match=r"its options are side, fit|less than a patch"):
            dino.load(f"dinov2:{folder}#{option}")


def test_a_folder_of_timms_that_is_something_else_is_refused(tmp_path: Path) -> None:
    folder = save_timm(tmp_path / "m")
    (folder / "config.json").write_text('{"architecture": "resnet18"}')
    with pytest.raises(WeightsUnavailableError, match="'resnet18' of timm's, not a DINOv2"):
        dino.load(f"dinov2:{folder}")
    folder = save_timm(tmp_path / "n")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsUnavailableError, match="cannot be read"):
        dino.load(f"dinov2:{folder}")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsUnavailableError, match=r"no model\.safetensors"):
        dino.load(f"dinov2:{folder}")


def test_a_whole_detector_runs_saves_and_loads_on_it(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "m")
    backbones = {"feature_extractor": f"dinov2:{folder}", "mask_proposer": REGIONS}
    shots = [picture(i) for i in range(3)]
    detector = fmlad.Detector.from_shots(shots, profile="foundation", backbones=backbones)
    expected = detector.predict(picture(9, defect=True)).score
    loaded = fmlad.Detector.load(detector.save(tmp_path / "saved"))
    assert loaded.predict(picture(9, defect=True)).score == pytest.approx(expected, abs=1e-6)


def test_other_weights_under_the_same_name_are_refused(tmp_path: Path) -> None:
    from fmlad import profiles
    from fmlad.backbones import hub

    folder = save_tiny(tmp_path / "m")
    backbones = {"feature_extractor": f"dinov2:{folder}", "mask_proposer": REGIONS}
    detector = fmlad.Detector.from_shots(picture(0), profile="light", backbones=backbones)
    saved = detector.save(tmp_path / "saved")
    save_tiny(folder, seed=1)
    profiles._build.cache_clear()  # as a new process would start
    hub.folder_hash.cache_clear()
    with pytest.raises(BackboneMismatchError, match="fitted with"):
        fmlad.Detector.load(saved)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailableError, match=r"no config\.json"):
        dino.load(f"dinov2:{tmp_path}")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(WeightsUnavailableError, match="'bert' model"):
        dino.load(f"dinov2:{tmp_path}")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsUnavailableError, match="'unknown' model"):
        dino.load(f"dinov2:{tmp_path}")


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "m")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsUnavailableError, match="cannot be loaded"):
        dino.load(f"dinov2:{folder}")


def test_a_checkpoint_that_lacks_weights_is_not_filled_with_random_ones(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_tiny(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("encoder.layer.1.mlp.fc1.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsUnavailableError, match=r"lacks 'encoder\.layer\.1\.mlp"):
        dino.load(f"dinov2:{folder}")


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    backbones = {
        "feature_extractor": f"dinov2:{save_tiny(tmp_path / 'm')}",
        "mask_proposer": REGIONS,
    }
    scores = []
    for device in ("cpu", "cuda"):
        monkeypatch.setenv("FMLAD_CACHE_DIR", str(tmp_path / f"cache-{device}"))
        detector = fmlad.Detector.from_shots(
            [picture(i) for i in range(3)], profile="light", backbones=backbones, device=device
        )
        query = picture(9, defect=True)
        # Once with features that were computed and once with those read back from the cache.
        scores += [detector.predict(query).score for _ in range(2)]
    assert scores == pytest.approx([scores[0]] * 4, rel=1e-3)
