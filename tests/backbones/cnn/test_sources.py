"""Weights of timm and torchvision: which files fit, and what is said of those that do not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from fmlad.backbones.cnn.cnn import load
from fmlad.backbones.cnn.sources import timm_network, torchvision_network
from fmlad.errors import OptionError, WeightsUnavailableError
from tests.backbones.cnn.tiny_networks import (
    photograph,
    save_timm,
    save_torchvision,
    stirred,
)


def same(one: torch.nn.Module, other: torch.nn.Module, without: str = "fc.") -> bool:
    state, expected = one.state_dict(), other.state_dict()
    names = [name for name in expected if not name.startswith(without)]
    return all(torch.equal(state[name], expected[name]) for name in names)


def test_a_folder_of_timms_keeps_its_normalisation_and_moves_no_seed(tmp_path: Path) -> None:
    network = save_timm(tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config["pretrained_cfg"] |= {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    loaded = timm_network(str(tmp_path / "m"))
    assert torch.equal(torch.rand(2), expected)
    assert same(loaded.module, network)
    pixels = torch.full((1, 3, 2, 2), 255.0)
    assert torch.equal(loaded.normalise(pixels), torch.full((1, 3, 2, 2), 2.0))
    assert not any(p.requires_grad for p in loaded.module.parameters())
    config["pretrained_cfg"]["std"] = [0.0]
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsUnavailableError, match="does not say the mean and std"):
        timm_network(str(tmp_path / "m"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("classes", [0, 7, 1000])
def test_a_file_fits_whatever_its_classifier(tmp_path: Path, suffix: str, classes: int) -> None:
    network = stirred(timm.create_model("resnet18", num_classes=classes))
    file = tmp_path / f"x{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": network.state_dict()}, file)
    else:
        save_file(network.state_dict(), file)
    assert same(timm_network(str(file), "resnet18").module, network)
    assert same(torchvision_network(str(file), "resnet18").module, network)
    with pytest.raises(OptionError, match=r"say of which network: timm:.*#model=NAME"):
        timm_network(str(file))


def test_older_folders_and_checkpoints_of_timms_are_read(tmp_path: Path) -> None:
    name = "swin_tiny_patch4_window7_224"
    network = save_timm(tmp_path / "m", name)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    flat = {**config, **config.pop("pretrained_cfg"), "mean": [0.5, 0.4, 0.3]}
    flat.pop("pretrained_cfg")
    (tmp_path / "m" / "config.json").write_text(json.dumps(flat))
    state = load_file(tmp_path / "m" / "model.safetensors")
    # Its authors' names: the classifier without a part, merging behind a stage and not before.
    older = {key.replace("head.fc.", "head."): tensor for key, tensor in state.items()}
    for stage in (1, 2, 3):
        for key in [k for k in older if k.startswith(f"layers.{stage}.downsample.")]:
            older[f"layers.{stage - 1}{key[8:]}"] = older.pop(key)
    save_file(older, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
    loaded = timm_network(str(tmp_path / "m"))
    assert same(loaded.module, network, without="nothing")
    assert "0.5, 0.4, 0.3" in loaded.fingerprint


@pytest.mark.parametrize("config", ["[]", "{", '{"architecture": "resnet18", "pretrained_cfg": 3}'])
def test_a_damaged_config_is_one_line(tmp_path: Path, config: str) -> None:
    save_timm(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(config)
    with pytest.raises(WeightsUnavailableError, match=r"config\.json of timm's|cannot be loaded"):
        timm_network(str(tmp_path / "m"))


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    network = save_timm(tmp_path / "m")
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    halves = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    save_file(halves, tmp_path / "m" / "model.safetensors")
    loaded = timm_network(str(tmp_path / "m")).module
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert same(loaded, network.half().float())


@pytest.mark.parametrize("family", ["timm", "torchvision"])
@pytest.mark.parametrize("wrong", ["lacks", "more", "shape", "other", "damaged", "code"])
def test_a_file_that_does_not_fit_is_one_line_that_says_why(
    tmp_path: Path, family: str, wrong: str
) -> None:
    file = tmp_path / "x.pth"
    state: dict[str, Any] = dict(save_torchvision(file).state_dict())
    words = "layer3.0.conv1.weight"
    if wrong == "lacks":
        state.pop("layer3.0.conv1.weight")
    elif wrong == "more":
        state["layer3.9.conv1.weight"] = torch.zeros(1)
        words = "layer3.9.conv1.weight"
    elif wrong == "shape":
        state["layer3.0.conv1.weight"] = torch.zeros(1, 2, 3, 3)
    elif wrong == "other":
        state = dict(save_torchvision(tmp_path / "y.pth", "mobilenet_v3_small").state_dict())
        words = "Missing key"
    torch.save(print if wrong == "code" else state, file)
    if wrong == "damaged":
        file.write_bytes(file.read_bytes()[:1000])
    if wrong in ("damaged", "code"):
        words = "cannot be read as a checkpoint of tensors alone"
    read: Any = {"timm": timm_network, "torchvision": torchvision_network}[family]
    with pytest.raises(WeightsUnavailableError, match=words) as caught:
        read(str(file), "resnet18")
    assert "\n" not in str(caught.value)


def test_a_deeper_network_is_not_taken_for_a_shallow_one(tmp_path: Path) -> None:
    save_torchvision(tmp_path / "x.pth", "resnet34")
    for read in (timm_network, torchvision_network):
        with pytest.raises(WeightsUnavailableError, match=r"layer1\.2\.conv1"):
            read(str(tmp_path / "x.pth"), "resnet18")


def test_a_folder_that_is_something_else_is_refused(tmp_path: Path) -> None:
    save_timm(tmp_path / "m")
    with pytest.raises(WeightsUnavailableError, match="they are of resnet18, and resnet34 was"):
        timm_network(str(tmp_path / "m"), "resnet34")
    (tmp_path / "m" / "model.safetensors").unlink()
    with pytest.raises(WeightsUnavailableError, match=r"no model\.safetensors"):
        timm_network(str(tmp_path / "m"))
    (tmp_path / "m" / "config.json").unlink()
    with pytest.raises(WeightsUnavailableError, match=r"no config\.json of timm's"):
        timm_network(str(tmp_path / "m"))
    with pytest.raises(WeightsUnavailableError, match="no file with a state dict"):
        torchvision_network(str(tmp_path / "m"), "resnet18")


def test_timms_own_name_stands_for_its_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMLAD_WEIGHTS", str(tmp_path))
    network = save_timm(tmp_path / "timm" / "resnet18.tv_in1k")
    for source in ("resnet18.tv_in1k", "timm/resnet18.tv_in1k"):
        assert same(timm_network(source).module, network)


def test_a_package_may_hold_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = save_timm(tmp_path / "tiny_net" / "resnet")
    info = tmp_path / "tiny_net-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: tiny-net\nVersion: 1\n")
    (info / "RECORD").write_text("tiny_net/resnet/config.json,,\ntiny_net/resnet/x,,\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert same(timm_network("wheel:tiny-net/tiny_net/resnet").module, network)


def test_a_network_of_one_size_alone_is_fed_that(tmp_path: Path) -> None:
    small = {"embed_dim": (32, 32, 32, 32), "depths": (1, 1, 1, 1), "stem_width": 8}
    save_timm(tmp_path / "maxvit", "maxvit_tiny_tf_224", **small)
    assert timm_network(str(tmp_path / "maxvit")).size == (224, 224)
    backbone = load(f"timm:{tmp_path / 'maxvit'}#side=224")
    assert backbone.encode(photograph(64, 100)).levels[8].shape == (1, 32, 28, 28)
    maps = backbone.build()(photograph(64, 100))
    assert [level.shape[-1] for level in maps] == [56, 28, 14]
    with pytest.raises(OptionError, match="takes inputs of 224 px alone"):
        load(f"timm:{tmp_path / 'maxvit'}#side=448")
    # Swin has one size too, but can be told to take others.
    save_timm(tmp_path / "swin", "swin_tiny_patch4_window7_224")
    assert timm_network(str(tmp_path / "swin")).size is None
