"""PatchCore (Roth et al., CVPR 2022) as anomalib has it, on any timm CNN or on SqueezeNet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fmlad.backbones.hub import locate, read_tensors, settings
from fmlad.bench.peers.base import (
    RANDOM,
    Peer,
    anomalib,
    blaming,
    no_weights,
    quiet_sampling,
    seeded,
)
from fmlad.bench.peers.options import fill, option
from fmlad.errors import OptionError, UnknownNameError

BACKBONE = "wide_resnet50_2"  # paper and anomalib
LAYERS = ("layer2", "layer3")  # paper and anomalib: strides 8 and 16
SIDE = 256  # anomalib; the paper crops 224 out of 256

SQUEEZENET = "squeezenet"
SQUEEZENET_LAYERS = ("features.10", "features.12")  # ours: the last of its strides 8 and 16
SQUEEZENET_SIDE = 227
# What the ImageNet SqueezeNet 1.0 of its authors takes: BGR, 0..255, less the mean.
SQUEEZENET_MEAN = (104.0, 117.0, 123.0)

PASS = "FOLDER as timm saves it, FILE with a state dict (.pth, .safetensors) or timm's NAME.TAG"


@dataclass(frozen=True)
class Options:
    """Of ``anomalib:patchcore``."""

    backbone: str = option("", "timm's name of a CNN, or squeezenet; '' is that of the weights")
    weights: str | None = option(None, "folder, file or timm's NAME.TAG; None is timm's default")
    layers: tuple[str, ...] = option((), "layers whose features are joined; () is the default")
    side: int = option(0, "pixels of the squashed input; 0 is the default", least=0, most=4096)
    coreset: float = option(0.1, "share of patches that is kept", least=1e-6, most=1)
    neighbours: int = option(9, "patches that weigh the image's score", least=1)


class PatchCore(Peer):
    """Distance of each patch to the nearest one in a coreset of the shots' patches."""

    def __init__(self, name: str, options: Mapping[str, Any], device: str) -> None:
        """See :func:`fmlad.bench.peers.make_peer`."""
        chosen = fill(Options, options, name)
        torch_model = anomalib("models.image.patchcore.torch_model")
        lightning = anomalib("models.image.patchcore.lightning_model")
        super().__init__(name, device, chosen.weights)
        network, squeezenet = _network(name, chosen)
        layers = chosen.layers or (SQUEEZENET_LAYERS if squeezenet else LAYERS)
        side = chosen.side or (SQUEEZENET_SIDE if squeezenet else SIDE)
        try:
            self._model = torch_model.PatchcoreModel(
                layers=layers,
                backbone=network.eval().requires_grad_(False),
                pre_trained=False,
                num_neighbors=chosen.neighbours,
            )
        except ValueError as error:  # of torchvision, which cuts the network at its layers
            known = [layer for layer, _ in network.named_children()]
            raise OptionError(
                f"{name}: layers is {list(layers)}; expected names within this network, whose "
                f"parts are {', '.join(known)}."
            ) from error
        self._model = self._model.to(self._device)
        self._coreset = chosen.coreset
        theirs = lightning.Patchcore.configure_pre_processor(image_size=(side, side)).transform
        self._transform = partial(caffe_pixels, side=side) if squeezenet else theirs

    def _learn(self, shots: Sequence[Tensor], held_out: Sequence[Tensor], word: str | None) -> None:
        model = self._model
        model.memory_bank = torch.empty(0, device=self._device)
        model.embedding_store.clear()
        model.train()
        for shot in shots:
            model(shot)
        patches = sum(len(embedding) for embedding in model.embedding_store)
        if int(patches * self._coreset) < 1:
            raise OptionError(
                f"{self.name}: coreset is {self._coreset:g}, which keeps none of {patches} patches."
            )
        with quiet_sampling():
            model.subsample_embedding(self._coreset)

    def _memory(self) -> Iterable[Tensor]:
        return (self._model.memory_bank,)


def caffe_pixels(pixels: Tensor, side: int) -> Tensor:
    """RGB ``(3, H, W)`` in 0..1 to BGR ``(3, side, side)`` in 0..255 less the mean."""
    squashed = F.interpolate(pixels[None], (side, side), mode="bilinear", antialias=True)[0]
    return squashed.flip(0) * 255 - pixels.new_tensor(SQUEEZENET_MEAN)[:, None, None]


def _network(peer: str, options: Options) -> tuple[nn.Module, bool]:
    """The whole CNN on the CPU, and whether it is SqueezeNet."""
    if options.backbone == SQUEEZENET:
        return _squeezenet(peer, options.weights), True
    with blaming(peer, PASS):
        return _timm_network(peer, options.backbone, options.weights), False


def _squeezenet(peer: str, weights: str | None) -> nn.Module:
    from torchvision.models import squeezenet1_0

    passing = "FILE with the state dict of SqueezeNet 1.0 (.pth), trained on BGR 0..255 less a mean"
    if weights is None:
        raise no_weights(peer, "those of SqueezeNet have no default", passing)
    with seeded(0, "cpu"):
        network: nn.Module = squeezenet1_0(weights=None)
    if weights != RANDOM:
        with blaming(peer, passing):
            _load_file(network, Path(weights).expanduser(), peer, passing)
    return network


def _timm_network(peer: str, backbone: str, weights: str | None) -> nn.Module:
    import timm

    if backbone and "." not in backbone and not timm.is_model(backbone):
        raise UnknownNameError.of("CNN of timm", backbone, timm.list_models())
    if weights == RANDOM:
        with seeded(0, "cpu"):
            network: nn.Module = timm.create_model(backbone or BACKBONE, pretrained=False)
        return network
    if weights is None:
        known = timm.get_pretrained_cfg(backbone or BACKBONE)
        if known is None or not known.hf_hub_id:
            raise no_weights(peer, f"timm knows none for {backbone!r}", PASS)
        weights = str(known.hf_hub_id)
    place = Path(weights).expanduser()
    if place.is_file():
        network = timm.create_model(backbone or BACKBONE, pretrained=False)
        _load_file(network, place, peer, PASS)
        return network
    named = "/" not in weights and "." in weights and not place.exists()
    folder = locate(f"timm/{weights}" if named else weights)
    return _timm_folder(peer, folder, backbone)


def _timm_folder(peer: str, folder: Path, backbone: str) -> nn.Module:
    import timm
    from safetensors import SafetensorError

    held = str(settings(folder).get("architecture", "no model of timm's"))
    if backbone and held != backbone.partition(".")[0]:
        raise no_weights(peer, f"{folder} holds {held}, and {backbone} was asked for", PASS)
    if not any(folder.glob("*.safetensors")):  # pickles are read by other rules in timm
        raise no_weights(peer, f"{folder} has no model.safetensors", PASS)
    try:
        network: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, SafetensorError) as error:
        why = f"{folder} cannot be loaded ({' '.join(str(error).split())[:300]})"
        raise no_weights(peer, why, PASS) from error
    return network.float()


def _load_file(network: nn.Module, file: Path, peer: str, passing: str) -> None:
    """Fills a network from a state dict, strictly."""
    if not file.is_file():
        raise no_weights(peer, f"there is no file {file}", passing)
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(file)
        else:
            state = read_tensors(file, str(file), "")
        network.load_state_dict(state)
    except (OSError, ValueError, RuntimeError) as error:
        why = f"{file} does not fit the network ({' '.join(str(error).split())[:300]})"
        raise no_weights(peer, why, passing) from error
