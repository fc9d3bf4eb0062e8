"""PatchCore (Roth et al., CVPR 2022) as anomalib has it, on any timm CNN or on SqueezeNet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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
    MemoryPeer,
    anomalib,
    blaming,
    no_weights,
    quiet_sampling,
    swapped,
)
from fmlad.bench.peers.options import option
from fmlad.errors import OptionError, UnknownNameError
from fmlad.training.loop import seeded

BACKBONE = "wide_resnet50_2"  # paper and anomalib
STRIDES = (8, 16)  # paper and anomalib: layer2 and layer3 of their network
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
    layers: tuple[str, ...] = option((), "layers whose features are joined; () is strides 8 and 16")
    side: int = option(0, "pixels of the squashed input; 0 is the default", least=0, most=4096)
    coreset: float = option(0.1, "share of patches that is kept", least=1e-6, most=1)
    neighbours: int = option(9, "patches that weigh the image's score", least=1)


class PatchCore(MemoryPeer):
    """Distance of each patch to the nearest one in a coreset of the shots' patches."""

    takes = Options

    def _build(self) -> None:
        name, chosen = self.name, self._options
        torch_model = anomalib("models.image.patchcore.torch_model")
        lightning = anomalib("models.image.patchcore.lightning_model")
        network, squeezenet = _network(name, chosen)
        layers = chosen.layers or (SQUEEZENET_LAYERS if squeezenet else _default_layers(network))
        side = chosen.side or (SQUEEZENET_SIDE if squeezenet else SIDE)
        modules = dict(network.named_modules())
        if not layers or not modules.keys() >= set(layers):
            parts = ", ".join(part for part, _ in network.named_children())
            raise OptionError(
                f"{name}: layers is {list(layers)}; expected names of modules within this network, "
                f"whose parts are {parts}."
            )
        extractor = LayerOutputs(network.eval().requires_grad_(False), layers)
        # Its own extractor traces the network with torch.fx, which fails at padding that depends
        # on the size of the input, as all timm networks named tf_* have it.
        with swapped(torch_model, "TimmFeatureExtractor", lambda **_: extractor):
            self.model = torch_model.PatchcoreModel(
                layers=layers,
                backbone=chosen.backbone,
                pre_trained=False,
                num_neighbors=chosen.neighbours,
            )
        self.model = self.model.to(self._device)
        theirs = lightning.Patchcore.configure_pre_processor(image_size=(side, side)).transform
        self.transform = partial(caffe_pixels, side=side) if squeezenet else theirs

    def _learn(self, shots: Sequence[Tensor], held_out: Sequence[Tensor], word: str | None) -> None:
        model, share = self._embed(shots), self._options.coreset
        patches = sum(len(embedding) for embedding in model.embedding_store)
        if int(patches * share) < 1:
            raise OptionError(
                f"{self.name}: coreset is {share:g}, which keeps none of {patches} patches."
            )
        with quiet_sampling():
            model.subsample_embedding(share)


class LayerOutputs(nn.Module):
    """A CNN in the place of anomalib's feature extractor: what some of its modules put out."""

    class _Complete(Exception):
        """Ends a forward pass once every wanted module has run."""

    def __init__(self, network: nn.Module, layers: Sequence[str]) -> None:
        """Hooks into the modules of a network that have these names."""
        super().__init__()
        self.feature_extractor = network
        self._layers = layers
        self._outputs: dict[str, Tensor] = {}
        for layer in layers:
            network.get_submodule(layer).register_forward_hook(partial(self._keep, layer))

    def _keep(self, layer: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self._outputs[layer] = output
        if len(self._outputs) == len(set(self._layers)):
            raise self._Complete

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """``(B, 3, H, W)`` -> maps ``(B, C, h, w)`` by the name of the layer.

        Raises:
            OptionError: A layer takes no part in the forward pass, or puts out no maps.
        """
        self._outputs = {}
        with suppress(self._Complete), torch.no_grad():
            self.feature_extractor(pixels)
        for layer in self._layers:
            output = self._outputs.get(layer)
            if not isinstance(output, Tensor) or output.ndim != 4:
                raise OptionError(f"The layer {layer!r} gives no feature maps (B, C, h, w).")
        return self._outputs

    def train(self, mode: bool = True) -> LayerOutputs:
        """Stays as it is: only the memory learns."""
        return self


def _default_layers(network: nn.Module) -> tuple[str, ...]:
    """The modules with the last features of strides 8 and 16, as timm knows them."""
    found = getattr(network, "feature_info", [])
    return tuple(str(one["module"]) for one in found if one["reduction"] in STRIDES)


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

    name = backbone or BACKBONE
    if "." not in name and not timm.is_model(name):
        raise UnknownNameError.of("CNN of timm", name, timm.list_models())
    if weights is None:
        known = timm.get_pretrained_cfg(name)
        if known is None or not known.hf_hub_id:
            raise no_weights(peer, f"timm knows none for {name!r}", PASS)
        weights = str(known.hf_hub_id)
    place = Path(weights).expanduser()
    if weights == RANDOM or place.is_file():
        with seeded(0, "cpu"):
            network: nn.Module = timm.create_model(name, pretrained=False)
        if weights != RANDOM:
            _load_file(network, place, peer, PASS)
        return network
    tagged = "/" not in weights and "." in weights and not place.exists()
    folder = locate(f"timm/{weights}" if tagged else weights)
    held = str(settings(folder).get("architecture", "no model of timm's"))
    if backbone and held != backbone.partition(".")[0]:
        raise no_weights(peer, f"{folder} holds {held}, and {backbone} was asked for", PASS)
    if not any(folder.glob("*.safetensors")):  # pickles are read by other rules in timm
        raise no_weights(peer, f"{folder} has no model.safetensors", PASS)
    with _unfit(peer, f"{folder} cannot be loaded", PASS):
        network = timm.create_model(f"local-dir:{folder}", pretrained=True)
    return network.float()


def _load_file(network: nn.Module, file: Path, peer: str, passing: str) -> None:
    """Fills a network from a state dict, strictly."""
    if not file.is_file():
        raise no_weights(peer, f"there is no file {file}", passing)
    with _unfit(peer, f"{file} does not fit the network", passing):
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(file)
        else:
            state = read_tensors(file, str(file), "")
        network.load_state_dict(state)


@contextmanager
def _unfit(peer: str, what: str, passing: str) -> Iterator[None]:
    """Whatever a library raises of weights that do not fit, as one line."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, SafetensorError) as error:
        why = f"{what} ({' '.join(str(error).split())[:300]})"
        raise no_weights(peer, why, passing) from error
