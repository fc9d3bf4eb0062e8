"""AnomalyDINO (Damm et al., WACV 2025) as anomalib has it, on any DINOv2 that fmlad reads."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fmlad.backbones.dino import open_network
from fmlad.bench.peers.base import RANDOM, MemoryPeer, anomalib, blaming, quiet_sampling, swapped
from fmlad.bench.peers.options import option
from fmlad.errors import UnknownNameError
from fmlad.training.loop import seeded

WEIGHTS = "facebook/dinov2-small"  # the ViT-S/14 of the paper, and of our own profiles
ARCHITECTURE = "vit_small_patch14_dinov2"  # of random weights
SIDE = 252  # anomalib; the paper has 448 and 672 on the shorter side
PASS = "FOLDER or hub name of a DINOv2 as transformers or timm saves it"


@dataclass(frozen=True)
class Options:
    """Of ``anomalib:anomaly-dino``."""

    weights: str | None = option(None, f"folder or hub name; None is {WEIGHTS}")
    backbone: str = option(ARCHITECTURE, "timm's name of a DINOv2, for random weights only")
    side: int = option(SIDE, "pixels of the squashed input", least=28, most=4096)
    neighbours: int = option(1, "nearest patches whose distances are averaged", least=1)
    masking: bool = option(False, "whether background patches are left out, by PCA")
    coreset: float = option(1.0, "share of patches that is kept; 1 is all", least=1e-6, most=1)


class AnomalyDino(MemoryPeer):
    """Cosine distance of each patch to the nearest one of the shots."""

    takes = Options

    def _build(self) -> None:
        chosen = self._options
        torch_model = anomalib("models.image.anomaly_dino.torch_model")
        lightning = anomalib("models.image.anomaly_dino.lightning_model")
        encoder = _encoder(self.name, chosen, self._device)

        def theirs(*, layers: Sequence[str], **_: Any) -> nn.Module:
            encoder.layer = layers[0]
            return encoder

        # Its constructor would always ask the hub for weights of its own.
        with swapped(torch_model, "TimmFeatureExtractor", theirs):
            model = torch_model.AnomalyDINOModel(
                num_neighbours=chosen.neighbours,
                encoder_name=ARCHITECTURE,  # gives a layer its name, and no more
                masking=chosen.masking,
                coreset_subsampling=chosen.coreset < 1,
                sampling_ratio=chosen.coreset,
            )
        self.model = model.to(self._device)
        sides = (chosen.side, chosen.side)
        self.transform = lightning.AnomalyDINO.configure_pre_processor(sides).transform

    def _learn(self, shots: Sequence[Tensor], held_out: Sequence[Tensor], word: str | None) -> None:
        with torch.no_grad(), quiet_sampling():
            self._embed(shots).fit()


class Encoder(nn.Module):
    """A DINOv2 in the place of anomalib's feature extractor: patch tokens by layer name."""

    def __init__(
        self,
        network: nn.Module,
        tokens: Callable[[Tensor], Tensor],
        patch: int,
        prefix: int,
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Wraps a loaded network.

        Args:
            network: The network, on its device.
            tokens: Pixels ``(B, 3, H, W)`` -> tokens behind the last norm.
            patch: Side of a patch in pixels.
            prefix: Number of tokens in front of the patches.
            around: In force while it runs.
        """
        super().__init__()
        self.network = network.eval()
        self.patch_size = patch
        self.layer = ""
        self._tokens, self._prefix, self._around = tokens, prefix, around

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """``(B, 3, H, W)`` -> patch tokens ``(B, h * w, C)`` under the layer's name."""
        with torch.no_grad(), self._around():
            return {self.layer: self._tokens(pixels)[:, self._prefix :]}

    def train(self, mode: bool = True) -> Encoder:
        """Stays as it is: only the memory learns."""
        return self


def _encoder(peer: str, options: Options, device: str) -> Encoder:
    import timm

    # anomalib switches off the antialiasing of position embeddings for the whole process; here that
    # ends with the call.
    vision_transformer: Any = importlib.import_module("timm.models.vision_transformer")
    resample = vision_transformer.resample_abs_pos_embed
    plain = partial(
        swapped, vision_transformer, "resample_abs_pos_embed", partial(resample, antialias=False)
    )
    if options.weights == RANDOM:
        known = timm.list_models("*dinov2*")
        if options.backbone not in known:
            raise UnknownNameError.of("DINOv2 of timm", options.backbone, known)
        with seeded(0, "cpu"):
            model: Any = timm.create_model(
                options.backbone, pretrained=False, num_classes=0, dynamic_img_size=True
            )
        model = model.eval().requires_grad_(False).to(device)
        patch, prefix = int(model.patch_embed.patch_size[0]), int(model.num_prefix_tokens)
        return Encoder(model, model.forward_features, patch, prefix, plain)
    with blaming(peer, PASS):
        network = open_network(options.weights or WEIGHTS, device)

    def patches(pixels: Tensor) -> Tensor:
        return network.encode(pixels).levels[network.patch].flatten(2).transpose(1, 2)

    return Encoder(network.module, patches, network.patch, 0, plain)
