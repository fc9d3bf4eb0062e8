"""DINOv2 and DINOv3 features through transformers or timm.

DINOv2: Oquab et al., TMLR 2024. DINOv3: Siméoni et al., arXiv:2508.10104.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass as checked
from torch import Tensor

from fmlad.backbones.cnn.sources import read_timm
from fmlad.backbones.colours import Colours, colours, preprocessor_colours
from fmlad.backbones.common import IMAGENET, STRICT, normalised, parse
from fmlad.backbones.hub import folder_hash, from_folder, locate, settings, unavailable
from fmlad.backbones.roles import Pyramid
from fmlad.errors import OptionError


@dataclass(frozen=True)
class Family:
    """A generation: its name, its ``model_type`` -> class in transformers, its default ``side``."""

    title: str
    kinds: Mapping[str, str]
    side: int  # pixels: 32 patches, so both cost the same and give grids of the same size


FAMILIES = {
    "dinov2": Family(
        "DINOv2",
        {"dinov2": "Dinov2Model", "dinov2_with_registers": "Dinov2WithRegistersModel"},
        448,
    ),
    "dinov3": Family(
        "DINOv3",
        {"dinov3_vit": "DINOv3ViTModel", "dinov3_convnext": "DINOv3ConvNextModel"},
        512,
    ),
}


@checked(frozen=True, config=STRICT)
class Preprocessing:
    """``side`` pixels of the input's longer side (aspect kept), or of both (``fit="squash"``)."""

    side: Annotated[int, Field(ge=1)] = 448
    fit: Literal["longer", "squash"] = "longer"


@dataclass(frozen=True)
class Network:
    """A loaded network, frozen, on its device.

    Attributes:
        encode: Normalised pixels ``(B, 3, H, W)``, sides multiples of the patch -> its features.
        patch: Pixels of a patch's side; of a ConvNeXt the stride of its last stage.
        colours: Mean and std of the pixels it was trained on.
    """

    module: torch.nn.Module
    encode: Callable[[Tensor], Pyramid]
    patch: int
    folder: Path
    colours: Colours


def load(name: str, device: str = "cpu") -> Dino:
    """Builds the backbone from ``"dinov2:SOURCE"`` or ``"dinov3:SOURCE#side=224,fit=squash"``.

    SOURCE is a hub identifier or local folder as transformers saves it (``facebook/dinov2-small``,
    ``facebook/dinov2-with-registers-small``, ``facebook/dinov3-vits16-pretrain-lvd1689m``,
    ``facebook/dinov3-convnext-tiny-pretrain-lvd1689m``) or as timm does
    (``timm/vit_small_patch14_dinov2.lvd142m``), or timm's name alone
    (``vit_small_patch16_dinov3.lvd1689m``). Options are those of :class:`Preprocessing`; of DINOv3
    ``side`` is 512 by default.

    Raises:
        WeightsUnavailableError: The weights cannot be had, or are not of that family.
        OptionError: An option that does not exist, or a value that does not fit.
    """
    family = name.partition(":")[0]
    source, preprocessing = parse(name, Preprocessing, side=FAMILIES[family].side)
    network = open_network(source, device, family)
    if preprocessing.side < network.patch:
        raise OptionError(
            f"side={preprocessing.side} px is less than a patch of {network.patch} px."
        )
    return Dino(name, network, preprocessing, device)


def open_network(source: str, device: str = "cpu", family: str = "dinov2") -> Network:
    """Loads the network alone, without our preprocessing, from a SOURCE as :func:`load` takes it.

    Raises:
        WeightsUnavailableError: The weights cannot be had, or are not of that family.
    """
    of_timm = re.fullmatch(rf"vit_\w+_{family}\w*\.\w+|convnext_\w+\.{family}_\w+", source)
    folder = locate(f"timm/{source}" if of_timm else source, family=family)
    if not folder.is_dir():
        why = f"{folder} is one file, and the config.json beside it is needed too"
        raise unavailable(source, why, family)
    found = _family_of(folder)
    if found not in (None, family):
        why = f"{folder} holds a {FAMILIES[found].title}, whose name is {found}:{source}"
        raise unavailable(source, why, family)
    read = _from_timm if "architecture" in settings(folder) else _from_transformers
    return read(folder, source, family, device)


class Dino:
    """:class:`~fmlad.backbones.roles.FeatureExtractor`: a vision transformer's or a ConvNeXt's.

    Of a vision transformer one level, the patch tokens behind the last norm, at the patch's stride
    (14, DINOv3 16); pooled is the class token. Of a ConvNeXt the outputs of its stages at strides
    8, 16 and 32 (those at 4 hold little but colours and edges); pooled is the mean of the last,
    normalised.
    """

    expensive = True

    def __init__(
        self, name: str, network: Network, preprocessing: Preprocessing, device: str = "cpu"
    ) -> None:
        """Wraps a loaded network, named as users write it."""
        self.name = name
        self._network, self._preprocessing, self._device = network, preprocessing, device
        # Preprocessing and weights; the source is left out so that a moved folder still matches.
        family, side = name.partition(":")[0], preprocessing.side
        squashed = "" if preprocessing.fit == "longer" else f" fit={preprocessing.fit}"
        pixels = "imagenet" if network.colours == IMAGENET else f"colours={network.colours}"
        weights = folder_hash(network.folder)
        self.fingerprint = f"{family} side={side}{squashed} {pixels} sha256={weights}"

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Pyramid:
        """``uint8 (B, 3, H, W)`` -> levels ``(B, C, h, w)`` and pooled ``(B, C)``."""
        size = self.input_size(images.shape[-2], images.shape[-1])
        return self._network.encode(normalised(images, self._device, size, self._network.colours))

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of pixels of the network's input, multiples of the patch size.

        The aspect is kept to within a patch, unless both sides are the same by ``fit=squash``.
        """
        side, patch = self._preprocessing.side, self._network.patch
        longer = max(height, width)
        sides = (longer, longer) if self._preprocessing.fit == "squash" else (height, width)
        rows, columns = (max(1, round(s * side / longer / patch)) for s in sides)
        return rows * patch, columns * patch


# --- reading --------------------------------------------------------------------------------------


def _family_of(folder: Path) -> str | None:
    """The family of what a folder says that it holds; None: another network, or it says nothing."""
    config = settings(folder)
    kind, architecture = str(config.get("model_type")), _timm_name(config)
    known = (name for name, f in FAMILIES.items() if kind in f.kinds or name in architecture)
    return next(known, None)


def _timm_name(config: Mapping[str, Any]) -> str:
    """Architecture and tag; it is the tag that tells a ConvNeXt's training."""
    said = config.get("pretrained_cfg")
    tag = said.get("tag") if isinstance(said, dict) else None
    return f"{config.get('architecture', '')}.{tag or ''}".rstrip(".")


def _from_transformers(folder: Path, source: str, family: str, device: str) -> Network:
    import transformers

    kinds = {kind: getattr(transformers, name) for kind, name in FAMILIES[family].kinds.items()}
    model = from_folder(kinds, folder, source, family).eval().requires_grad_(False).to(device)
    pixels = preprocessor_colours(folder, source, family, IMAGENET)
    if not hasattr(model.config, "patch_size"):

        def stages(x: Tensor) -> Pyramid:
            out = model(pixel_values=x, output_hidden_states=True)
            return _of_stages(x, out.hidden_states[1:], out.pooler_output)

        return Network(model, stages, 2 ** (model.config.num_stages + 1), folder, pixels)
    prefix = 1 + int(getattr(model.config, "num_register_tokens", 0))
    patch = int(model.config.patch_size)

    def tokens(x: Tensor) -> Pyramid:
        return _of_tokens(x, model(pixel_values=x).last_hidden_state, patch, prefix)

    return Network(model, tokens, patch, folder, pixels)


def _from_timm(folder: Path, source: str, family: str, device: str) -> Network:
    config = settings(folder)
    if _family_of(folder) != family:
        why = f"{folder} holds a {_timm_name(config)!r} of timm's, not a {FAMILIES[family].title}"
        raise unavailable(source, why, family)
    file, name = folder / "model.safetensors", str(config["architecture"])
    if not file.is_file():  # pickles are read by other rules in timm
        raise unavailable(source, f"{folder} has no model.safetensors", family)
    of_stages = name.startswith("convnext")
    network, _ = read_timm(file, source, family, name, config)
    model: Any = network.to(device)
    said = model.pretrained_cfg
    pixels = colours(said.get("mean"), said.get("std"), folder / "config.json", source, family)
    if of_stages:

        def stages(x: Tensor) -> Pyramid:
            last, outputs = model.forward_intermediates(x)
            return _of_stages(x, outputs, model.forward_head(last, pre_logits=True))

        return Network(model, stages, int(model.feature_info[-1]["reduction"]), folder, pixels)
    patch, prefix = int(model.patch_embed.patch_size[0]), int(model.num_prefix_tokens)

    def tokens(x: Tensor) -> Pyramid:
        return _of_tokens(x, model.forward_features(x), patch, prefix)

    return Network(model, tokens, patch, folder, pixels)


def _of_tokens(pixels: Tensor, tokens: Tensor, patch: int, prefix: int) -> Pyramid:
    """From ``(B, prefix + h * w, C)``; the first of the prefix is the class token."""
    rows, columns = pixels.shape[-2] // patch, pixels.shape[-1] // patch
    patches = tokens[:, prefix:].transpose(1, 2)
    level = patches.reshape(len(pixels), -1, rows, columns).contiguous()
    return Pyramid({patch: level}, tokens[:, 0])


def _of_stages(pixels: Tensor, outputs: tuple[Tensor, ...], pooled: Tensor) -> Pyramid:
    """From the outputs of all stages ``(B, C, h, w)``, of which the first is left out."""
    levels = {pixels.shape[-1] // level.shape[-1]: level for level in outputs[1:]}
    return Pyramid(levels, pooled)
