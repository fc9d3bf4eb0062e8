"""PatchCore (Roth et al., CVPR 2022) as anomalib has it, on any timm CNN or a packaged network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fmlad.backbones.cnn.sources import builtin_network, timm_network
from fmlad.backbones.embedded.networks import caffe_pixels, lite_pixels
from fmlad.bench.peers.base import RANDOM, MemoryPeer, anomalib, blaming, quiet_sampling, swapped
from fmlad.bench.peers.options import option
from fmlad.errors import OptionError
from fmlad.training.loop import seeded

BACKBONE = "wide_resnet50_2"  # paper and anomalib
STRIDES = (8, 16)  # paper and anomalib: layer2 and layer3 of their network
SIDE = 256  # anomalib; the paper crops 224 out of 256

SQUEEZENET = "squeezenet"
SQUEEZENET_LAYERS = ("features.10", "features.12")  # ours: the last of its strides 8 and 16
SQUEEZENET_SIDE = 227  # its authors
# Networks whose weights come with fmlad or a package, and what makes their pixels of RGB 0..255.
PACKAGED = {
    SQUEEZENET: caffe_pixels,
    "efficientnet-lite0": lite_pixels,
    "efficientnet-lite2": lite_pixels,
}

PASS = "FOLDER as timm saves it, FILE with a state dict (.pth, .safetensors) or timm's NAME.TAG"


@dataclass(frozen=True)
class Options:
    """Of ``anomalib:patchcore``."""

    backbone: str = option(
        "", f"timm's name of a CNN, or {', '.join(PACKAGED)}; '' is that of the weights"
    )
    weights: str | None = option(None, "folder, file or timm's NAME.TAG; None is the default")
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
        network, squeezenet = _network(name, chosen), chosen.backbone == SQUEEZENET
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
        packaged = PACKAGED.get(chosen.backbone)
        self.transform = partial(packaged_pixels, packaged, side=side) if packaged else theirs

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


def packaged_pixels(normalise: Callable[[Tensor], Tensor], pixels: Tensor, side: int) -> Tensor:
    """RGB ``(3, H, W)`` in 0..1 -> what a packaged network takes, ``(3, side, side)``."""
    squashed = F.interpolate(pixels[None], (side, side), mode="bilinear", antialias=True)
    return normalise(255 * squashed)[0]


def _network(peer: str, options: Options) -> nn.Module:
    """The whole CNN on the CPU."""
    backbone, weights = options.backbone, options.weights
    if weights == RANDOM:
        return _random(backbone or BACKBONE)
    if backbone in PACKAGED:
        if weights is not None:
            raise OptionError(f"{peer}: {backbone} comes with its weights; leave weights out.")
        return builtin_network(f"{backbone}@1").module
    with blaming(peer, PASS):
        if weights is None:
            return timm_network(backbone or BACKBONE).module
        nameless = Path(weights).expanduser().is_file()
        return timm_network(weights, backbone or (BACKBONE if nameless else "")).module


def _random(name: str) -> nn.Module:
    import timm
    from torchvision.models import squeezenet1_0

    with seeded(0, "cpu"):
        network: nn.Module = (
            squeezenet1_0(weights=None)
            if name == SQUEEZENET
            else timm.create_model(name.replace("efficientnet-", "tf_efficientnet_"))
        )
    return network
