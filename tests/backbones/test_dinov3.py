"""DINOv3 through its real on-disk formats, with tiny random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import fmlad
from fmlad.backbones import dino
from fmlad.backbones.catalogue import catalogue
from fmlad.backbones.common import IMAGENET
from fmlad.backbones.roles import FeatureExtractor
from fmlad.errors import OptionError, WeightsUnavailableError
from tests.backbones import test_dino
from tests.conftest import picture

transformers = pytest.importorskip("transformers")
timm = pytest.importorskip("timm")

SATELLITE = ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143))  # timm's configuration of SAT-493M


def stirred(build: Callable[[], Any], seed: int) -> Any:
    """A model with random weights throughout: biases and scales start as constants."""
    torch.manual_seed(seed)
    model = build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


def save_vit(folder: Path, seed: int = 0, registers: int = 4) -> Path:
    """A vision transformer as transformers saves it, 2 layers of width 32."""
    config = transformers.DINOv3ViTConfig(
        hidden_size=32,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_register_tokens=registers,
    )
    stirred(lambda: transformers.DINOv3ViTModel(config), seed).save_pretrained(folder)
    return folder


def save_convnext(folder: Path, seed: int = 0) -> Path:
    """A ConvNeXt as transformers saves it, a layer a stage."""
    config = transformers.DINOv3ConvNextConfig(hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1])
    stirred(lambda: transformers.DINOv3ConvNextModel(config), seed).save_pretrained(folder)
    return folder


def save_timm_vit(folder: Path, seed: int = 0, name: str = "vit_small_patch16_dinov3") -> Path:
    """A vision transformer as timm saves it, 2 layers of width 32."""
    return save_timm(folder, seed, name, embed_dim=32, depth=2, num_heads=2)


def save_timm_convnext(folder: Path, seed: int = 0, tag: str = ".dinov3_lvd1689m") -> Path:
    """A ConvNeXt as timm saves it, a layer a stage."""
    sizes: Any = {"dims": (8, 12, 16, 20), "depths": (1, 1, 1, 1)}
    return save_timm(folder, seed, f"convnext_tiny{tag}", **sizes)


def save_timm(folder: Path, seed: int, name: str, classes: int = 0, **sizes: Any) -> Path:
    model = stirred(lambda: timm.create_model(name, num_classes=classes, **sizes), seed)
    timm.models.save_for_hf(model, str(folder), safe_serialization=True)
    return folder


FORMATS = [
    pytest.param(save_vit, (16,), id="transformers-vit"),
    pytest.param(save_timm_vit, (16,), id="timm-vit"),
    pytest.param(save_convnext, (8, 16, 32), id="transformers-convnext"),
    pytest.param(save_timm_convnext, (8, 16, 32), id="timm-convnext"),
]
every_format = pytest.mark.parametrize(("save", "strides"), FORMATS)
Save = Callable[..., Path]


def photo(seed: int = 0, size: tuple[int, int] = (64, 96)) -> torch.Tensor:
    """``uint8 (1, 3, H, W)``."""
    return torch.from_numpy(picture(seed, size=size)).permute(2, 0, 1)[None]


def normalised(image: torch.Tensor, colours: Any = IMAGENET) -> torch.Tensor:
    mean, std = (torch.tensor(values)[:, None, None] for values in colours)
    return (image.float() / 255 - mean) / std


# --- what comes out -------------------------------------------------------------------------------


@pytest.mark.parametrize("registers", [0, 4])
def test_patch_tokens_are_those_of_transformers(tmp_path: Path, registers: int) -> None:
    folder = save_vit(tmp_path / "m", registers=registers)
    backbone = dino.load(f"dinov3:{folder}#side=96")
    assert isinstance(backbone, FeatureExtractor)
    pyramid = backbone.encode(photo())
    assert pyramid.levels[16].shape == (1, 32, 4, 6)

    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        tokens = model(pixel_values=normalised(photo())).last_hidden_state
    torch.testing.assert_close(pyramid.pooled, tokens[:, 0])
    # Cell (2, 5) is token 2 * 6 + 5 behind the class token and the registers.
    torch.testing.assert_close(pyramid.levels[16][0, :, 2, 5], tokens[0, 1 + registers + 17])
    assert tokens.shape[1] == 1 + registers + 24


def test_patch_tokens_are_those_of_timm(tmp_path: Path) -> None:
    folder = save_timm_vit(tmp_path / "m")
    pyramid = dino.load(f"dinov3:{folder}#side=96").encode(photo())
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    assert model.num_prefix_tokens == 5
    with torch.inference_mode():
        found = model.forward_intermediates(normalised(photo()), indices=1, norm=True)[1][-1]
        tokens = model.forward_features(normalised(photo()))
    torch.testing.assert_close(pyramid.levels[16], found, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(pyramid.pooled, tokens[:, 0], atol=1e-5, rtol=1e-4)


def test_maps_are_those_of_transformers(tmp_path: Path) -> None:
    folder = save_convnext(tmp_path / "m")
    pyramid = dino.load(f"dinov3:{folder}#side=96").encode(photo())
    backbone = transformers.DINOv3ConvNextBackbone.from_pretrained(
        folder, out_features=["stage2", "stage3", "stage4"]
    ).eval()
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        maps = backbone(pixel_values=normalised(photo())).feature_maps
        pooled = model(pixel_values=normalised(photo())).pooler_output
    assert [tuple(level.shape[1:]) for level in maps] == [(12, 8, 12), (16, 4, 6), (20, 2, 3)]
    for level, expected in zip(pyramid.levels.values(), maps, strict=True):
        torch.testing.assert_close(level, expected)
    torch.testing.assert_close(pyramid.pooled, pooled)


def test_maps_are_those_of_timm(tmp_path: Path) -> None:
    folder = save_timm_convnext(tmp_path / "m")
    pyramid = dino.load(f"dinov3:{folder}#side=96").encode(photo())
    model = timm.create_model(
        f"local-dir:{folder}", pretrained=True, features_only=True, out_indices=(1, 2, 3)
    ).eval()
    whole = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    with torch.inference_mode():
        maps, pooled = model(normalised(photo())), whole(normalised(photo()))
    for level, expected in zip(pyramid.levels.values(), maps, strict=True):
        torch.testing.assert_close(level, expected)
    torch.testing.assert_close(pyramid.pooled, pooled)


def as_transformers(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """timm's tensors of a vision transformer under transformers' names."""
    names = {
        "cls_token": "embeddings.cls_token",
        "reg_token": "embeddings.register_tokens",
        "patch_embed.proj": "embeddings.patch_embeddings",
        "blocks.": "layer.",
        "attn.proj": "attention.o_proj",
        "gamma_1": "layer_scale1.lambda1",
        "gamma_2": "layer_scale2.lambda1",
        "fc1": "up_proj",
        "fc2": "down_proj",
    }
    result = {"embeddings.mask_token": torch.zeros(1, 1, 32)}
    for name, tensor in state.items():
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        if ".attn.qkv." in name:
            for part, its in zip("qkv", tensor.chunk(3), strict=True):
                result[name.replace("attn.qkv", f"attention.{part}_proj")] = its
                if part != "k":  # timm leaves out the biases, which are 0 in what was published
                    bias = name.replace("attn.qkv.weight", f"attention.{part}_proj.bias")
                    result[bias] = torch.zeros(32)
        else:
            result[name] = tensor
    return result


@pytest.mark.parametrize("options", ["#side=96", "#side=256,fit=squash", ""])
def test_timm_and_transformers_say_the_same(tmp_path: Path, options: str) -> None:
    from safetensors.torch import load_file, save_file

    of_timm, folder = save_timm_vit(tmp_path / "timm"), save_vit(tmp_path / "m")
    tensors = as_transformers(load_file(of_timm / "model.safetensors"))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    one = dino.load(f"dinov3:{of_timm}{options}").encode(photo())
    other = dino.load(f"dinov3:{folder}{options}").encode(photo())
    torch.testing.assert_close(one.levels[16], other.levels[16], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(one.pooled, other.pooled, atol=1e-4, rtol=1e-4)


# --- sizes and options ----------------------------------------------------------------------------


@every_format
def test_any_size_is_taken(tmp_path: Path, save: Save, strides: tuple[int, ...]) -> None:
    backbone = dino.load(f"dinov3:{save(tmp_path / 'm')}")
    coarsest = strides[-1]
    for height, width in ((101, 157), (33, 500), (512, 512), (7, 5)):
        rows, columns = backbone.input_size(height, width)
        assert max(rows, columns) == 512
        assert rows % coarsest == columns % coarsest == 0
        assert abs(rows / columns - height / width) <= max(coarsest / columns, coarsest / rows)
        pyramid = backbone.encode(photo(size=(height, width)))
        assert tuple(pyramid.levels) == strides
        for stride, level in pyramid.levels.items():
            assert level.shape[-2:] == (rows // stride, columns // stride)
            assert level.isfinite().all()
        assert pyramid.pooled.shape == (1, pyramid.levels[coarsest].shape[1])
    squashed = dino.load(f"dinov3:{tmp_path / 'm'}#fit=squash,side=224")
    assert squashed.input_size(101, 157) == (224, 224)


@every_format
def test_a_batch_is_its_images_one_by_one(
    tmp_path: Path, save: Save, strides: tuple[int, ...]
) -> None:
    backbone = dino.load(f"dinov3:{save(tmp_path / 'm')}#side=96")
    images = torch.cat([photo(seed) for seed in range(3)])
    batch = backbone.encode(images)
    for number in range(3):
        alone = backbone.encode(images[number : number + 1])
        for stride in strides:
            expected, found = alone.levels[stride], batch[number].levels[stride]
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(batch[number].pooled, alone.pooled, atol=1e-5, rtol=1e-4)


@every_format
def test_the_fingerprint_tells_weights_and_options(
    tmp_path: Path, save: Save, strides: tuple[int, ...]
) -> None:
    folders = [save(tmp_path / "a"), save(tmp_path / "b", seed=1)]
    options = ("", "#side=224", "#fit=squash")
    prints = {dino.load(f"dinov3:{f}{o}").fingerprint for f in folders for o in options}
    assert len(prints) == 6
    moved = folders[0].rename(tmp_path / "c")
    assert dino.load(f"dinov3:{moved}").fingerprint in prints
    for option in ("size=3", "fit=shorter", f"side={strides[-1] - 1}"):
        with pytest.raises(OptionError, match=r"its options are side, fit|less than a patch"):
            dino.load(f"dinov3:{moved}#{option}")


# --- normalisation --------------------------------------------------------------------------------


def satellite(folder: Path) -> None:
    """Says in a folder, where its library looks for it, that the model is of satellite images."""
    mean, std = SATELLITE
    config = json.loads((folder / "config.json").read_text())
    if "architecture" in config:
        config["pretrained_cfg"] |= {"mean": mean, "std": std}
        (folder / "config.json").write_text(json.dumps(config))
    else:
        said = json.dumps({"image_mean": mean, "image_std": std})
        (folder / "preprocessor_config.json").write_text(said)


@every_format
def test_pixels_are_normalised_as_the_folder_says(
    tmp_path: Path, save: Save, strides: tuple[int, ...]
) -> None:
    folders = [save(tmp_path / name) for name in ("a", "b")]
    satellite(folders[1])
    one, other = (dino.load(f"dinov3:{folder}#side=64,fit=squash") for folder in folders)
    assert one.fingerprint != other.fingerprint
    assert "imagenet" in one.fingerprint
    assert "imagenet" not in other.fingerprint
    image = photo(size=(64, 64))
    for backbone, colours in ((one, IMAGENET), (other, SATELLITE)):
        expected = pooled_by_the_library(folders[0])(normalised(image, colours))
        torch.testing.assert_close(backbone.encode(image).pooled, expected, atol=1e-5, rtol=1e-4)


def pooled_by_the_library(folder: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """Normalised pixels -> class token, or mean of the last stage behind its norm."""
    config = json.loads((folder / "config.json").read_text())
    if "architecture" not in config:
        model = transformers.AutoModel.from_pretrained(folder).eval()
        return torch.no_grad()(lambda pixels: model(pixel_values=pixels).pooler_output)
    pool = "avg" if config["architecture"].startswith("convnext") else "token"
    of_timm = timm.create_model(f"local-dir:{folder}", pretrained=True, global_pool=pool)
    return torch.no_grad()(of_timm.eval())


@pytest.mark.parametrize(
    "said", ["{", "[]", "{}", '{"image_mean": [0.5, 0.5], "image_std": [1, 1]}']
)
def test_a_preprocessor_that_says_nothing_is_refused(tmp_path: Path, said: str) -> None:
    folder = save_vit(tmp_path / "m")
    (folder / "preprocessor_config.json").write_text(said)
    with pytest.raises(WeightsUnavailableError, match=r"preprocessor_config\.json"):
        dino.load(f"dinov3:{folder}")


# --- what is refused ------------------------------------------------------------------------------


@every_format
def test_a_dinov3_given_as_a_dinov2_is_one_clear_error(
    tmp_path: Path, save: Save, strides: tuple[int, ...]
) -> None:
    folder = save(tmp_path / "m")
    with pytest.raises(WeightsUnavailableError, match=f"holds a DINOv3, .* dinov3:{folder}"):
        dino.load(f"dinov2:{folder}")


@pytest.mark.parametrize("save", [test_dino.save_tiny, test_dino.save_timm])
def test_a_dinov2_given_as_a_dinov3_is_one_clear_error(tmp_path: Path, save: Save) -> None:
    folder = save(tmp_path / "m")
    with pytest.raises(WeightsUnavailableError, match=f"holds a DINOv2, .* dinov2:{folder}"):
        dino.load(f"dinov3:{folder}")


def test_another_network_is_refused(tmp_path: Path) -> None:
    folder = save_timm_convnext(tmp_path / "m", tag=".fb_in1k")
    with pytest.raises(WeightsUnavailableError, match=r"'convnext_tiny\.fb_in1k' of timm's, not a"):
        dino.load(f"dinov3:{folder}")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(WeightsUnavailableError, match=r"'bert' model, and 'dinov3_vit' or 'dinov3"):
        dino.load(f"dinov3:{folder}")
    for wrong in ('{"architecture": 5, "pretrained_cfg": [1]}', '{"model_type": ["x"]}'):
        (folder / "config.json").write_text(wrong)
        with pytest.raises(WeightsUnavailableError):
            dino.load(f"dinov3:{folder}")


@pytest.mark.parametrize("save", [save_vit, save_timm_vit, save_convnext, save_timm_convnext])
def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path: Path, save: Save) -> None:
    from safetensors.torch import load_file, save_file

    folder = save(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(next(name for name in tensors if "norm" in name))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsUnavailableError, match="norm"):
        dino.load(f"dinov3:{folder}")


SIZES: dict[str, dict[str, Any]] = {
    "vit_small_patch16_dinov3": {"embed_dim": 32, "depth": 2, "num_heads": 2},
    "vit_small_patch14_dinov2": {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 56},
    "convnext_tiny.dinov3_lvd1689m": {"dims": (8, 12, 16, 20), "depths": (1, 1, 1, 1)},
}


@pytest.mark.parametrize("name", list(SIZES))
def test_a_classifier_of_timms_changes_nothing_and_hides_nothing(tmp_path: Path, name: str) -> None:
    from safetensors.torch import load_file, save_file

    family = "dinov2" if "dinov2" in name else "dinov3"
    folder = save_timm(tmp_path / "m", 0, name, classes=5, **SIZES[name])
    image = torch.from_numpy(picture(0, size=(112, 112))).permute(2, 0, 1)[None]
    expected = dino.load(f"{family}:{folder}").encode(image)
    tensors = load_file(folder / "model.safetensors")
    for headless in (False, True):  # as a classifier that was cut off a file leaves the config
        if headless:
            tensors = {k: v for k, v in tensors.items() if not k.startswith(("head.fc.", "head."))}
            if "convnext" in name:
                tensors |= {k: v for k, v in load_file(folder / "model.safetensors").items()
                            if k.startswith("head.norm")}  # fmt: skip
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        found = dino.load(f"{family}:{folder}").encode(image)
        assert torch.equal(found.pooled, expected.pooled)
        for stride, level in expected.levels.items():
            assert torch.equal(found.levels[stride], level)
    lacking = next(key for key in tensors if "norm" in key)
    tensors.pop(lacking)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsUnavailableError, match=lacking):
        dino.load(f"{family}:{folder}")


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("vit_small_patch16_dinov3.lvd1689m", save_timm_vit),
        ("vit_small_patch16_dinov3_qkvb.lvd1689m", save_timm_vit),
        ("convnext_tiny.dinov3_lvd1689m", save_timm_convnext),
    ],
)
def test_a_name_of_timms_alone_stands_for_its_repository(
    name: str, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert timm.is_model_pretrained(name)
    monkeypatch.setenv("FMLAD_WEIGHTS", str(tmp_path))
    save(tmp_path / "timm" / name)
    short, whole = dino.load(f"dinov3:{name}"), dino.load(f"dinov3:timm/{name}")
    assert short.fingerprint == whole.fingerprint


@pytest.mark.parametrize("weights", [w for w in catalogue() if w.family == "dinov3"], ids=str)
def test_of_missing_weights_the_gate_is_named(weights: Any) -> None:
    with pytest.raises(WeightsUnavailableError) as caught:
        dino.load(f"{weights.name}#side=224")
    text = str(caught.value)
    assert f"`fmlad weights pull {weights.name}`" in text
    assert "\n" not in text
    page = f"accept the licence on https://huggingface.co/{weights.source}, set HF_TOKEN"
    assert (page in text) == weights.gated == weights.source.startswith("facebook/")


def test_a_whole_detector_runs_saves_and_loads_on_it(tmp_path: Path) -> None:
    for save in (save_vit, save_timm_convnext):
        folder = save(tmp_path / save.__name__)
        backbones = {"feature_extractor": f"dinov3:{folder}", "mask_proposer": test_dino.REGIONS}
        shots = [picture(i) for i in range(3)]
        detector = fmlad.Detector.from_shots(shots, profile="foundation", backbones=backbones)
        expected = detector.predict(picture(9, defect=True)).score
        loaded = fmlad.Detector.load(detector.save(tmp_path / f"{save.__name__}.saved"))
        assert loaded.predict(picture(9, defect=True)).score == pytest.approx(expected, abs=1e-6)
