"""DINOv2 features through transformers or timm (Oquab et al., TMLR 2024)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass as checked
from torch import Tensor

from fmlad.backbones.common import STRICT, normalised, parse
from fmlad.backbones.hub import folder_hash, from_folder, loading, locate, settings, unavailable
from fmlad.backbones.roles import Pyramid
from fmlad.errors import OptionError

TIMM_MODEL = re.compile(r"vit_\w+_dinov2\.\w+")


@checked(frozen=True, config=STRICT)
class Preprocessing:
    """``side`` pixels of the input's longer side (aspect kept), or of both (``fit="squash"``)."""

    side: Annotated[int, Field(ge=1)] = 448
    fit: Literal["longer", "squash"] = "longer"


@dataclass(frozen=True)
class Network:
    """A loaded DINOv2, frozen, on its device.

    Attributes:
        tokens: Normalised pixels ``(B, 3, H, W)``, sides multiples of the patch -> tokens behind
            the last norm ``(B, prefix + h * w, C)``.
        patch: Pixels of a patch's side.
        prefix: How many tokens precede the patches; the first of them is the class token.
    """

    module: torch.nn.Module
    tokens: Callable[[Tensor], Tensor]
    patch: int
    prefix: int
    folder: Path


def load(name: str, device: str = "cpu") -> DINOv2:
    """Builds the backbone from ``"dinov2:SOURCE"`` or ``"dinov2:SOURCE#side=224,fit=squash"``.

    SOURCE is a hub identifier or local folder of a DINOv2, with or without registers, as
    transformers saves it (``facebook/dinov2-small``, ``facebook/dinov2-with-registers-small``) or
    as timm does (``timm/vit_small_patch14_dinov2.lvd142m``), or timm's name alone
    (``vit_small_patch14_reg4_dinov2.lvd142m``). Options are those of :class:`Preprocessing`.

    Raises:
        WeightsUnavailableError: The weights cannot be had, or are not a DINOv2 model.
        OptionError: An option that does not exist, or a value that does not fit.
    """
    source, preprocessing = parse(name, Preprocessing)
    network = open_network(source, device)
    if preprocessing.side < network.patch:
        raise OptionError(
            f"side={preprocessing.side} px is less than a patch of {network.patch} px."
        )
    return DINOv2(name, network, preprocessing, device)


def open_network(source: str, device: str = "cpu") -> Network:
    """Loads the network alone, without our preprocessing, from a SOURCE as :func:`load` takes it.

    Raises:
        WeightsUnavailableError: The weights cannot be had, or are not a DINOv2 model.
    """
    repository = f"timm/{source}" if TIMM_MODEL.fullmatch(source) else source
    folder = locate(repository, family="dinov2")
    if not folder.is_dir():
        why = f"{folder} is one file, and the config.json beside it is needed too"
        raise unavailable(source, why, "dinov2")
    read = _from_timm if "architecture" in settings(folder) else _from_transformers
    return read(folder, source, device)


class DINOv2:
    """:class:`~fmlad.backbones.roles.FeatureExtractor`: normalised patch tokens, one level.

    The level's stride is the patch size (14); pooled is the class token.
    """

    expensive = True

    def __init__(
        self, name: str, network: Network, preprocessing: Preprocessing, device: str = "cpu"
    ) -> None:
        """Wraps a loaded network, named as users write it."""
        self.name = name
        self._network, self._preprocessing, self._device = network, preprocessing, device
        # Preprocessing and weights; the name is left out so that a moved folder still matches.
        squashed = "" if preprocessing.fit == "longer" else f" fit={preprocessing.fit}"
        weights = folder_hash(network.folder)
        self.fingerprint = f"dinov2 side={preprocessing.side}{squashed} imagenet sha256={weights}"

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Pyramid:
        """``uint8 (B, 3, H, W)`` -> one level ``(B, C, h, w)`` at the patch stride."""
        size = self.input_size(images.shape[-2], images.shape[-1])
        network = self._network
        tokens = network.tokens(normalised(images, self._device, size))
        rows, columns = size[0] // network.patch, size[1] // network.patch
        patches = tokens[:, network.prefix :].transpose(1, 2)
        level = patches.reshape(len(images), -1, rows, columns).contiguous()
        return Pyramid({network.patch: level}, tokens[:, 0])

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of pixels of the network's input, multiples of the patch size.

        The aspect is kept to within a patch, unless both sides are the same by ``fit=squash``.
        """
        side, patch = self._preprocessing.side, self._network.patch
        longer = max(height, width)
        sides = (longer, longer) if self._preprocessing.fit == "squash" else (height, width)
        rows, columns = (max(1, round(s * side / longer / patch)) for s in sides)
        return rows * patch, columns * patch


def _from_transformers(folder: Path, source: str, device: str) -> Network:
    from transformers import Dinov2Model, Dinov2WithRegistersModel

    kinds = {"dinov2": Dinov2Model, "dinov2_with_registers": Dinov2WithRegistersModel}
    model = from_folder(kinds, folder, source, "dinov2").eval().requires_grad_(False).to(device)
    prefix = 1 + int(getattr(model.config, "num_register_tokens", 0))
    patch = int(model.config.patch_size)
    return Network(model, lambda x: model(pixel_values=x).last_hidden_state, patch, prefix, folder)


def _from_timm(folder: Path, source: str, device: str) -> Network:
    import timm

    architecture = str(settings(folder)["architecture"])
    if "dinov2" not in architecture:
        why = f"{folder} holds a {architecture!r} of timm's, not a DINOv2"
        raise unavailable(source, why, "dinov2")
    if not any(folder.glob("*.safetensors")):  # pickles are read by other rules in timm
        raise unavailable(source, f"{folder} has no model.safetensors", "dinov2")
    with loading(source, folder, "dinov2"):
        model: Any = timm.create_model(
            f"local-dir:{folder}", pretrained=True, num_classes=0, dynamic_img_size=True
        )
    model = model.float().eval().requires_grad_(False).to(device)
    patch, prefix = int(model.patch_embed.patch_size[0]), int(model.num_prefix_tokens)
    return Network(model, model.forward_features, patch, prefix, folder)
