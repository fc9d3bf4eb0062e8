"""SAM, SAM-HQ and SAM 2 behind one interface: encode an image once, then answer prompts.

Papers: Kirillov et al., ICCV 2023; Ke et al., NeurIPS 2023; Ravi et al., ICLR 2025. The networks
are those of transformers. Prompts and masks are in pixels of the encoded image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.common import normalised

Floats = npt.NDArray[np.floating]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class EncodedImage:
    """An image after the encoder: what the mask decoder needs of it.

    ``size`` is the image's height and width, ``inner`` that in the network's input, unpadded.
    """

    size: tuple[int, int]
    inner: tuple[int, int]
    maps: tuple[Tensor, ...]


class TransformersSam:
    """A model of transformers, told apart by its ``model_type``, that answers prompts.

    ``side`` is the number of pixels on a side of the network's square input.
    """

    def __init__(self, model: Any, device: str) -> None:
        self._model = model.eval().requires_grad_(False).to(device)
        self.kind = model.config.model_type.removesuffix("_video")
        size = model.config.prompt_encoder_config.image_size
        self.side = int(size if isinstance(size, int) else size[0])
        self._device = device

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
        embedded = self._model.get_image_embeddings(image)
        if self.kind == "sam":
            embedded = (embedded,)
        elif self.kind == "sam_hq":  # of the encoder's inner maps the decoder takes the first
            embedded = (embedded[0], embedded[1][0])
        return EncodedImage(size, inner, tuple(embedded))

    @torch.inference_mode()
    def decode(
        self,
        encoded: EncodedImage,
        *,
        points: Floats | None = None,
        boxes: Floats | None = None,
        several: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Masks for points ``(n, 2) xy`` or boxes ``(n, 4) xyxy``, each on or around one object.

        ``several``: all that the network offers for an ambiguous prompt, or one.

        Returns:
            Logits ``(n, k, h, w)`` on the network's grid, and its own guess of each mask's overlap
            with the truth, ``(n, k)``.
        """
        given: dict[str, Any] = {"multimask_output": several}
        if points is not None:
            given["input_points"] = self._to_input(points, encoded)[None, :, None]
            given["input_labels"] = torch.ones(
                1, len(points), 1, dtype=torch.int, device=self._device
            )
        if boxes is not None:
            given["input_boxes"] = self._to_input(boxes, encoded)[None]
        maps = encoded.maps
        given["image_embeddings"] = list(maps) if self.kind == "sam2" else maps[0]
        if self.kind == "sam_hq":
            given["intermediate_embeddings"] = [maps[1]]
        out = self._model(**given)
        logits, quality = out.pred_masks[0], out.iou_scores[0]
        if self.kind == "sam_hq":
            # SAM-HQ refines the best of SAM's masks alone; transformers sorts them and offers all.
            logits, quality = logits[:, :1], quality[:, :1]
        return logits, quality

    def enlarge(self, logits: Tensor, encoded: EncodedImage) -> Tensor:
        """Logits ``(m, h, w)`` of the network's grid on the image's pixels, ``(m, H, W)``."""
        maps = logits[:, None]
        if self.kind != "sam2":
            maps = F.interpolate(maps, (self.side, self.side), mode="bilinear", align_corners=False)
            maps = maps[..., : encoded.inner[0], : encoded.inner[1]]
        return F.interpolate(maps, encoded.size, mode="bilinear", align_corners=False)[:, 0]

    def _inner(self, size: tuple[int, int]) -> tuple[int, int]:
        """SAM 2 squashes; the others bring the longer side to the input's and pad."""
        if self.kind == "sam2":
            return self.side, self.side
        scale = self.side / max(size)
        return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))

    def _to_input(self, places: Floats, encoded: EncodedImage) -> Tensor:
        """``(n, 2) xy`` or ``(n, 4) xyxy`` of the image in pixels of the input."""
        scale = np.array([encoded.inner[1] / encoded.size[1], encoded.inner[0] / encoded.size[0]])
        scaled = np.asarray(places, np.float64) * np.tile(scale, places.shape[1] // 2)
        return torch.from_numpy(scaled.astype(np.float32)).to(self._device)
