"""DINOv2 features through transformers or timm (Oquab et al., TMLR 2024)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.hub import folder_hash, from_folder, locate, settings, unavailable
from fmlad.backbones.roles import Pyramid
from fmlad.errors import MissingDependencyError, OptionError

SIDE = 448  # px; 32 patches of 14 px
FITS = ("longer", "squash")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, as DINOv2 was trained
TIMM_MODEL = re.compile(r"vit_\w+_dinov2\.\w+")


def load(name: str, device: str = "cpu") -> DINOv2:
    """Builds the backbone from ``"dinov2:SOURCE"`` or ``"dinov2:SOURCE#side=224,fit=squash"``.

    SOURCE is a hub identifier or local folder of a DINOv2, with or without registers, as
    transformers saves it (``facebook/dinov2-small``, ``facebook/dinov2-with-registers-small``) or
    as timm does (``timm/vit_small_patch14_dinov2.lvd142m``), or timm's name alone
    (``vit_small_patch14_reg4_dinov2.lvd142m``).

    Options behind ``#``: ``side``, pixels of the network's input (default 448), and ``fit``,
    ``longer`` (default: that is the longer side, the aspect is kept) or ``squash`` (both sides).

    Raises:
        WeightsUnavailableError: The weights cannot be had, or are not a DINOv2 model.
        MissingDependencyError: transformers, or for timm's models timm, is not installed.
        OptionError: An option that does not exist, or a value that does not fit.
    """
    source, side, fit = _parse(name)
    network = open_network(source, device)
    patch, prefix = network.patch, network.prefix
    if side < patch:
        raise OptionError(f"side={side} px is less than a patch of {patch} px.")
    digest = folder_hash(network.folder)
    return DINOv2(name, network.tokens, (patch, prefix), digest, device, side=side, fit=fit)


@dataclass(frozen=True)
class Network:
    """A loaded DINOv2.

    Attributes:
        module: The network itself, frozen, on its device.
        tokens: Normalised pixels ``(B, 3, H, W)``, sides multiples of the patch -> tokens behind
            the last norm ``(B, prefix + h * w, C)``.
        patch: Pixels of a patch's side.
        prefix: How many tokens precede the patches; the first of them is the class token.
        folder: Where it came from.
    """

    module: torch.nn.Module
    tokens: Callable[[Tensor], Tensor]
    patch: int
    prefix: int
    folder: Path


def open_network(source: str, device: str = "cpu") -> Network:
    """Loads the network alone, without our preprocessing, from a SOURCE as :func:`load` takes it.

    Raises:
        WeightsUnavailableError: The weights cannot be had, or are not a DINOv2 model.
        MissingDependencyError: transformers, or for timm's models timm, is not installed.
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
        self,
        name: str,
        tokens: Callable[[Tensor], Tensor],
        layout: tuple[int, int],
        weights_hash: str,
        device: str = "cpu",
        *,
        side: int = SIDE,
        fit: str = "longer",
    ) -> None:
        """Wraps a loaded network.

        Args:
            name: As users write it.
            tokens: Pixels ``(B, 3, H, W)`` -> normalised tokens ``(B, prefix + h * w, C)``.
            layout: Pixels of a patch's side, and how many tokens precede the patches; the first
                of those is the class token.
            weights_hash: Of the weights and their configuration.
            device: Where it runs.
            side: Pixels of the input, see :func:`load`.
            fit: Which side that is.
        """
        self.name = name
        # Preprocessing and weights; the name is left out so that a moved folder still matches.
        squashed = "" if fit == "longer" else f" fit={fit}"
        self.fingerprint = f"dinov2 side={side}{squashed} imagenet sha256={weights_hash}"
        self._tokens = tokens
        self._patch, self._prefix = layout
        self._device = device
        self._side, self._fit = side, fit

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Pyramid:
        """``uint8 (B, 3, H, W)`` -> one level ``(B, C, h, w)`` at the patch stride."""
        size = self.input_size(images.shape[-2], images.shape[-1])
        pixels = images.to(self._device).float() / 255
        pixels = F.interpolate(pixels, size, mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = pixels.new_tensor(MEAN), pixels.new_tensor(STD)
        pixels = (pixels - mean[:, None, None]) / std[:, None, None]
        tokens = self._tokens(pixels)
        rows, columns = size[0] // self._patch, size[1] // self._patch
        patches = tokens[:, self._prefix :].transpose(1, 2)
        level = patches.reshape(len(images), -1, rows, columns).contiguous()
        return Pyramid({self._patch: level}, tokens[:, 0])

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of pixels of the network's input, multiples of the patch size.

        The aspect is kept to within a patch, unless it squashes.
        """
        longer = max(height, width)
        sides = (longer, longer) if self._fit == "squash" else (height, width)
        rows, columns = (max(1, round(s * self._side / longer / self._patch)) for s in sides)
        return rows * self._patch, columns * self._patch


def _from_transformers(folder: Path, source: str, device: str) -> Network:
    try:
        from transformers import Dinov2Model, Dinov2WithRegistersModel
    except ImportError as error:
        raise MissingDependencyError("DINOv2 needs the package transformers.") from error
    kinds = {"dinov2": Dinov2Model, "dinov2_with_registers": Dinov2WithRegistersModel}
    model = from_folder(kinds, folder, source, "dinov2")
    model = model.eval().requires_grad_(False).to(device)

    def tokens(pixels: Tensor) -> Tensor:
        found: Tensor = model(pixel_values=pixels).last_hidden_state
        return found

    prefix = 1 + int(getattr(model.config, "num_register_tokens", 0))
    return Network(model, tokens, int(model.config.patch_size), prefix, folder)


def _from_timm(folder: Path, source: str, device: str) -> Network:
    try:
        import timm
        from safetensors import SafetensorError
    except ImportError as error:
        raise MissingDependencyError("This DINOv2 needs the package timm.") from error
    architecture = str(settings(folder)["architecture"])
    if "dinov2" not in architecture:
        why = f"{folder} holds a {architecture!r} of timm's, not a DINOv2"
        raise unavailable(source, why, "dinov2")
    if not any(folder.glob("*.safetensors")):  # pickles are read by other rules in timm
        raise unavailable(source, f"{folder} has no model.safetensors", "dinov2")
    try:
        model: Any = timm.create_model(
            f"local-dir:{folder}", pretrained=True, num_classes=0, dynamic_img_size=True
        )
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, SafetensorError) as error:
        why = f"{folder} cannot be loaded ({' '.join(str(error).split())[:300]})"
        raise unavailable(source, why, "dinov2") from error
    model = model.float().eval().requires_grad_(False).to(device)

    def tokens(pixels: Tensor) -> Tensor:
        found: Tensor = model.forward_features(pixels)
        return found

    patch, prefix = int(model.patch_embed.patch_size[0]), int(model.num_prefix_tokens)
    return Network(model, tokens, patch, prefix, folder)


def _parse(name: str) -> tuple[str, int, str]:
    """Source, side and fit of a backbone's name."""
    source, _, options = name.partition(":")[2].partition("#")
    side, fit = SIDE, "longer"
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        if key == "side" and value.isdigit():
            side = int(value)
        elif key == "fit" and value in FITS:
            fit = value
        else:
            raise OptionError(
                f"The backbone {name!r} has an option {option!r}; expected side=PIXELS or "
                f"fit={'|'.join(FITS)}."
            )
    return source, side, fit
