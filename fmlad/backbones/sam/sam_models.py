"""Networks that answer prompts, behind one interface: encode an image once, then ask for masks.

SAM (Kirillov et al., ICCV 2023), SAM-HQ (Ke et al., NeurIPS 2023) and SAM 2 (Ravi et al., ICLR
2025) of transformers are here; the modules of the package segment-anything are in
:mod:`.sam_package`. Prompts and masks are in pixels of the encoded image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.common import normalised

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class EncodedImage:
    """An image after the encoder: what the mask decoder needs of it.

    ``size`` is the image's height and width, ``inner`` that in the network's input, unpadded.
    """

    size: tuple[int, int]
    inner: tuple[int, int]
    maps: tuple[Tensor, ...]


class SamNetwork(ABC):
    """A promptable network: geometry and colours are here, its modules in the subclasses.

    Attributes:
        kind: ``"sam"``, ``"sam_hq"`` or ``"sam2"``.
        side: Pixels on a side of its square input.
        details: What else changes its answers, for a fingerprint; empty for most.
    """

    details = ""

    def __init__(self, kind: str, side: int, device: str, dtype: torch.dtype) -> None:
        """``dtype``: of the image encoder; the decoder, and all that comes out, is float32."""
        self.kind, self.side = kind, side
        self._device, self._dtype = device, dtype
        if dtype != torch.float32:
            self.details = f" dtype={str(dtype).removeprefix('torch.')}"

    @torch.inference_mode()
    def encode(self, pixels: Pixels) -> EncodedImage:
        """Encodes uint8 ``(H, W, 3)`` RGB."""
        from PIL import Image

        size = (pixels.shape[0], pixels.shape[1])
        inner = self._inner(size)
        resized = Image.fromarray(pixels).resize((inner[1], inner[0]), Image.Resampling.BILINEAR)
        image = torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None]
        image = normalised(image, self._device)  # by ImageNet's colours: all of the family
        image = F.pad(image, (0, self.side - inner[1], 0, self.side - inner[0]))
        half = self._dtype != torch.float32
        with torch.autocast(torch.device(self._device).type, self._dtype, enabled=half):
            maps = self._embed(image)
        return EncodedImage(size, inner, tuple(one.float() for one in maps))

    @torch.inference_mode()
    def decode(
        self,
        encoded: EncodedImage,
        *,
        points: Floats | None = None,
        labels: Ints | None = None,
        boxes: Floats | None = None,
        several: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Masks for sets of points ``(n, p, 2) xy``, or for boxes ``(n, 4) xyxy``.

        Args:
            encoded: The image.
            points: p points for each of n masks.
            labels: ``(n, p)``: 1 on the object, 0 beside it; None: all are on it. Label -1, which
                the networks know, is one more token for the decoder and not the same as no point.
            boxes: One around each object.
            several: All masks that the network offers for an ambiguous prompt, or one.

        Returns:
            Logits ``(n, k, h, w)`` on the network's grid, and its own guess of each mask's overlap
            with the truth, ``(n, k)``.
        """
        spots = kinds = around = None
        if points is not None:
            spots = self._to_input(points, encoded)
            given = np.ones(points.shape[:2], np.int64) if labels is None else labels
            kinds = torch.from_numpy(given).to(self._device, torch.int)
        if boxes is not None:
            around = self._to_input(boxes, encoded)
        return self._answer(encoded.maps, spots, kinds, around, several)

    def enlarge(self, logits: Tensor, encoded: EncodedImage) -> Tensor:
        """Logits ``(m, h, w)`` of the network's grid on the image's pixels, ``(m, H, W)``."""
        maps = logits[:, None]
        if self.kind != "sam2":
            maps = F.interpolate(maps, (self.side, self.side), mode="bilinear", align_corners=False)
            maps = maps[..., : encoded.inner[0], : encoded.inner[1]]
        return F.interpolate(maps, encoded.size, mode="bilinear", align_corners=False)[:, 0]

    @abstractmethod
    def _embed(self, image: Tensor) -> tuple[Tensor, ...]:
        """The encoder's maps of a normalised image ``(1, 3, side, side)``."""

    @abstractmethod
    def _answer(
        self,
        maps: tuple[Tensor, ...],
        points: Tensor | None,
        labels: Tensor | None,
        boxes: Tensor | None,
        several: bool,
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`decode`, of prompts in pixels of the input."""

    def _inner(self, size: tuple[int, int]) -> tuple[int, int]:
        """SAM 2 squashes; the others bring the longer side to the input's and pad."""
        if self.kind == "sam2":
            return self.side, self.side
        scale = self.side / max(size)
        return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))

    def _to_input(self, places: Floats, encoded: EncodedImage) -> Tensor:
        """``(..., 2) xy`` or ``(..., 4) xyxy`` of the image in pixels of the input."""
        scale = np.array([encoded.inner[1] / encoded.size[1], encoded.inner[0] / encoded.size[0]])
        scaled = np.asarray(places, np.float64) * np.tile(scale, places.shape[-1] // 2)
        return torch.from_numpy(scaled.astype(np.float32)).to(self._device)


class TransformersSam(SamNetwork):
    """A model of transformers, told apart by its ``model_type``."""

    def __init__(self, model: Any, device: str, dtype: torch.dtype = torch.float32) -> None:
        size = model.config.prompt_encoder_config.image_size
        kind = model.config.model_type.removesuffix("_video")
        super().__init__(kind, int(size if isinstance(size, int) else size[0]), device, dtype)
        self._model = model.eval().requires_grad_(False).to(device)

    def _embed(self, image: Tensor) -> tuple[Tensor, ...]:
        embedded = self._model.get_image_embeddings(image)
        if self.kind == "sam":
            return (embedded,)
        if self.kind == "sam_hq":  # of the encoder's inner maps the decoder takes the first
            return embedded[0], embedded[1][0]
        return tuple(embedded)

    def _answer(
        self,
        maps: tuple[Tensor, ...],
        points: Tensor | None,
        labels: Tensor | None,
        boxes: Tensor | None,
        several: bool,
    ) -> tuple[Tensor, Tensor]:
        given: dict[str, Any] = {"multimask_output": several}
        if points is not None and labels is not None:
            given |= {"input_points": points[None], "input_labels": labels[None]}
        if boxes is not None:
            given["input_boxes"] = boxes[None]
        given["image_embeddings"] = list(maps) if self.kind == "sam2" else maps[0]
        if self.kind == "sam_hq":
            given["intermediate_embeddings"] = [maps[1]]
        out = self._model(**given)
        logits, quality = out.pred_masks[0], out.iou_scores[0]
        if self.kind == "sam_hq":
            # SAM-HQ refines the best of SAM's masks alone; transformers sorts them and offers all.
            logits, quality = logits[:, :1], quality[:, :1]
        return logits, quality
