"""DINOv2 features through transformers (Oquab et al., TMLR 2024)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.roles import Pyramid
from fmlad.backbones.weights import folder_hash, locate, unavailable
from fmlad.errors import MissingDependencyError

LONGER_SIDE = 448  # px; 32 patches of 14 px
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, as DINOv2 was trained


def load(name: str, device: str = "cpu") -> DINOv2:
    """Builds the backbone from ``"dinov2:HUB_IDENTIFIER_OR_FOLDER"``.

    Raises:
        WeightsUnavailableError: The weights cannot be had, or are not a DINOv2 model.
        MissingDependencyError: transformers is not installed.
    """
    try:
        from safetensors import SafetensorError
        from transformers import Dinov2Model, Dinov2WithRegistersModel
    except ImportError as error:
        raise MissingDependencyError("DINOv2 needs the package transformers.") from error
    source = name.partition(":")[2]
    folder = locate(source, family="dinov2")
    if not folder.is_dir():
        why = f"{folder} is one file, and the config.json beside it is needed too"
        raise unavailable(source, why, "dinov2")
    kinds: dict[str, Any] = {
        "dinov2": Dinov2Model,
        "dinov2_with_registers": Dinov2WithRegistersModel,
    }
    kind = _model_type(folder)
    if kind not in kinds:
        raise unavailable(source, f"{folder} holds a {kind!r} model, not a DINOv2", "dinov2")
    try:
        # dtype: a half-precision checkpoint would otherwise make a half-precision CPU model.
        model, report = kinds[kind].from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise unavailable(source, f"{folder} cannot be loaded ({error})", "dinov2") from error
    if report["missing_keys"]:  # transformers would fill them with random numbers
        lacking = sorted(report["missing_keys"])[0]
        why = f"the checkpoint in {folder} lacks {lacking!r} and maybe more"
        raise unavailable(source, why, "dinov2")
    return DINOv2(name, model, folder_hash(folder), device)


class DINOv2:
    """:class:`~fmlad.backbones.roles.FeatureExtractor`: normalised patch tokens, one level.

    The level's stride is the patch size (14); pooled is the class token.
    """

    expensive = True

    def __init__(self, name: str, model: Any, weights_hash: str, device: str) -> None:
        self.name = name
        # Preprocessing and weights; the name is left out so that a moved folder still matches.
        self.fingerprint = f"dinov2 side={LONGER_SIDE} imagenet sha256={weights_hash}"
        self._model = model.eval().requires_grad_(False).to(device)
        self._patch = int(model.config.patch_size)
        self._prefix = 1 + int(getattr(model.config, "num_register_tokens", 0))
        self._device = device

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Pyramid:
        """``uint8 (B, 3, H, W)`` -> one level ``(B, C, h, w)`` at the patch stride."""
        size = self.input_size(images.shape[-2], images.shape[-1])
        pixels = images.to(self._device).float() / 255
        pixels = F.interpolate(pixels, size, mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = pixels.new_tensor(MEAN), pixels.new_tensor(STD)
        pixels = (pixels - mean[:, None, None]) / std[:, None, None]
        tokens = self._model(pixel_values=pixels).last_hidden_state
        rows, columns = size[0] // self._patch, size[1] // self._patch
        patches = tokens[:, self._prefix :].transpose(1, 2)
        level = patches.reshape(len(images), -1, rows, columns).contiguous()
        return Pyramid({self._patch: level}, tokens[:, 0])

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Longer side 448 px, aspect kept to within a patch, sides multiples of the patch size."""
        scale = LONGER_SIDE / max(height, width)
        patches = (max(1, round(side * scale / self._patch)) for side in (height, width))
        rows, columns = patches
        return rows * self._patch, columns * self._patch


def _model_type(folder: Path) -> str:
    import json

    try:
        return str(json.loads((folder / "config.json").read_text())["model_type"])
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown"
